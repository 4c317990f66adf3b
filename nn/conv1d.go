package nn

import (
	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
)

// Conv1d is a causal convolution of every channel with its own k taps, followed by an activation. The last tap meets
// the current row.
type Conv1d struct {
	Weight *ag.Param // (d, 1, k)
	Bias   *ag.Param // (d), nil: none
	Act    kernel.Activation
	From   int // the first of the columns that Forward reads
	// Start (k−1, d) has the inputs before a document's first row. Nil: zeros.
	Start *ag.Param
}

// width is k, the number of taps.
func (c *Conv1d) width() int { return c.Weight.Shape()[2] }

// Forward records the layer for d columns of x; the result is (rows, d).
func (c *Conv1d) Forward(x ag.Var) ag.Var {
	g := x.Graph()
	return ag.Conv1d(ag.ConvInput{X: x, From: c.From, W: g.Param(c.Weight), Bias: g.Param(c.Bias), Start: g.Param(c.Start), Act: c.Act})
}

// StateSize is the number of inputs that the next rows depend on: k−1 of each channel.
func (c *Conv1d) StateSize() int { return c.Weight.Shape()[0] * (c.width() - 1) }

// StartPlace is the place of Start.
func (c *Conv1d) StartPlace() Start {
	return Start{Param: &c.Start, Shape: []int{c.width() - 1, c.Weight.Shape()[0]}}
}

// Params lists weight and bias.
func (c *Conv1d) Params() []*ag.Param {
	if c.Bias == nil {
		return []*ag.Param{c.Weight}
	}
	return []*ag.Param{c.Weight, c.Bias}
}

// Kernel returns the layer as the kernel that runs it.
func (c *Conv1d) Kernel() kernel.Conv[float32] {
	k := kernel.Conv[float32]{W: c.Weight.Float32s(), K: c.width(), Act: c.Act}
	if c.Bias != nil {
		k.Bias = c.Bias.Float32s()
	}
	return k
}
