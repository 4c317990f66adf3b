package autograd

import (
	"fmt"

	"mambatrain/autograd/kernel"
)

// ConvInput are the inputs of [Conv1d], with d channels and k taps.
type ConvInput struct {
	X    Var // (rows, d or more); columns [From, From+d) are used
	From int
	W    Var // (d, 1, k)
	Bias Var // (d), or absent
	// Start (k−1, d) is the input before a document's first row; absent for zeros.
	Start Var
	Act   kernel.Activation
}

// Conv1d returns the causal depthwise convolution over each document of a batch, (rows, d):
//
//	y(t) = act(b + Σ_j w(j)∘x(t−k+1+j))
//
// Gu & Dao 2023, figure 3.
func Conv1d(in ConvInput) Var {
	g := in.X.Graph()
	g.startsFrom(in.Start)
	return Apply(conv1d[float32]{in.From, in.Act}, conv1d[float64]{in.From, in.Act}, in.X, in.W, in.Bias, in.Start, g.first())
}

type conv1d[T kernel.Float] struct {
	from int
	act  kernel.Activation
}

// Inputs of conv1d.
const (
	convX = iota
	convW
	convBias
	convStart
	convFirst
)

func (conv1d[T]) Name() string { return "conv1d" }

func (o conv1d[T]) Shape(in [][]int) ([]int, error) {
	x, w, b := in[convX], in[convW], in[convBias]
	if len(x) != 2 || len(w) != 3 || w[1] != 1 || o.from < 0 || x[1] < o.from+w[0] || b != nil && (len(b) != 1 || b[0] != w[0]) {
		return nil, fmt.Errorf("x is %v starting at column %d, w is %v, bias is %v: want (rows, d or more), (d, 1, k), and (d)", x, o.from, w, b)
	}
	if s := in[convStart]; s != nil && (len(s) != 2 || s[0] != w[2]-1 || s[1] != w[0]) {
		return nil, fmt.Errorf("the start state is %v, want (%d, %d)", s, w[2]-1, w[0])
	}
	if o.act > kernel.Sigmoid {
		return nil, fmt.Errorf("unknown activation %d", o.act)
	}
	return []int{x[0], w[0]}, nil
}

// CarrySize returns the size of the last k−1 inputs of a document that may continue.
func (conv1d[T]) CarrySize(in [][]int) int { return in[convW][0] * (in[convW][2] - 1) }

func (o conv1d[T]) DeviceSizes(in [][]int) kernel.DeviceSizes {
	return kernel.DeviceSizes{Rows: in[convX][0], Channels: in[convW][0], ConvTaps: in[convW][2], Activation: o.act}
}

func (o conv1d[T]) kernel(c *Call[T]) (kernel.Conv[T], kernel.Mat[T]) {
	w := c.In[convW]
	return kernel.Conv[T]{W: w.Data, Bias: c.In[convBias].Data, K: w.Shape[2], Act: o.act}, c.In[convX].Columns(o.from, o.from+w.Shape[0])
}

func (o conv1d[T]) Forward(c *Call[T]) {
	c.start(convStart)
	conv, x := o.kernel(c)
	conv.Forward(c.Out.Mat(), x, c.In[convFirst].Ints, c.CarryIn)
	if c.CarryOut != nil {
		conv.Tail(c.CarryOut, x, c.In[convFirst].Ints, c.CarryIn)
	}
}

// With s the pre-activation, ds = dy·act'(s), and each sum over the rows of one document:
//
//	db = Σ_t ds(t)   dw(j) = Σ_t ds(t)∘x(t−k+1+j)   dx(t) = Σ_j w(j)∘ds(t+k−1−j)
//
// s is recomputed, which is cheaper than storing it. In a graph that runs in segments, carried-in rows get their dx,
// and carried-out rows also get the gradient of their copy. In other graphs, backpropagation is truncated there.
func (o conv1d[T]) Backward(c *Call[T]) {
	conv, x := o.kernel(c)
	g := kernel.ConvGrad[T]{X: c.DIn[convX].Columns(o.from, o.from+x.Cols), W: c.DIn[convW].Data, Bias: c.DIn[convBias].Data, Carry: c.DCarryIn}
	conv.Backward(g, c.DOut.Mat(), x, c.In[convFirst].Ints, c.CarryIn, c.DCarryOut)
	c.startGrad(convStart)
}
