package autograd

import (
	"fmt"
	"slices"

	"mambatrain/autograd/kernel"
)

// SSDInput are the inputs of [SSD], with h heads of p channels and g groups of n states.
type SSDInput struct {
	XBC    Var // (rows, h·p + 2·g·n): the convolution's output: x, B, and C
	DT     Var // (rows, h or more): its last h columns are Δ before its bias and softplus
	DTBias Var // (h)
	ALog   Var // (h): A = −exp(ALog)
	D      Var // (h)

	// Start (h·p, n) is the initial state of each document, head after head; absent for zeros.
	Start Var

	Groups, State int        // g, n
	Limit         [2]float64 // of Δ; {0, +Inf} for no limit
	Chunk         int        // the maximum number of rows in a chunk; 0 selects the kernel's default
}

// SSD computes the state space duality of Mamba-2 for each document and head, starting from S = Start,
//
//	Δ(t) = clamp(softplus(DT(t) + DTBias), Limit)
//	S(t) = exp(Δ(t)·A)·S(t−1) + Δ(t)·x(t)·B(t)ᵀ
//	y(t) = S(t)·C(t) + D·x(t)
//
// and returns y (rows, h·p). Each group's B and C are shared by h/g neighboring heads. Dao & Gu 2024. Chunk affects
// results only through rounding.
func SSD(in SSDInput) Var {
	in.XBC.Graph().startsFrom(in.Start)
	o := ssdOptions{in.Groups, in.State, in.Limit, in.Chunk}
	return Apply(ssd[float32]{o}, ssd[float64]{o}, in.XBC, in.DT, in.DTBias, in.ALog, in.D, in.Start, in.XBC.Graph().first())
}

type ssdOptions struct {
	groups, state int
	limit         [2]float64
	chunk         int
}

type ssd[T kernel.Float] struct{ ssdOptions }

// Inputs of ssd.
const (
	ssdXBC = iota
	ssdDT
	ssdDTBias
	ssdALog
	ssdD
	ssdStart
	ssdFirst
)

func (ssd[T]) Name() string { return "ssd" }

func (o ssd[T]) Shape(in [][]int) ([]int, error) {
	xbc, dt, bias, a, d := in[ssdXBC], in[ssdDT], in[ssdDTBias], in[ssdALog], in[ssdD]
	if len(xbc) != 2 || len(dt) != 2 || len(bias) != 1 || len(a) != 1 || len(d) != 1 || a[0] != bias[0] || a[0] != d[0] || dt[1] < a[0] {
		return nil, fmt.Errorf("x, B, and C are %v, dt is %v, dt_bias is %v, A_log is %v, D is %v: want (rows, h·p + 2·g·n), (rows, h or more), and (h) three times", xbc, dt, bias, a, d)
	}
	heads, channels := a[0], xbc[1]-2*o.groups*o.state
	if o.groups < 1 || o.state < 1 || heads%o.groups != 0 || channels < heads || channels%heads != 0 {
		return nil, fmt.Errorf("x, B, and C are %v: want %d heads of some channels, and twice %d groups of %d states, where groups divide heads", xbc, heads, o.groups, o.state)
	}
	if lo, hi := o.limit[0], o.limit[1]; !(lo >= 0 && lo <= hi) {
		return nil, fmt.Errorf("time step limit is %v: want 0 ≤ lower ≤ upper", o.limit)
	}
	if o.chunk < 0 {
		return nil, fmt.Errorf("the chunk must not be negative, got %d", o.chunk)
	}
	if s := in[ssdStart]; s != nil && !slices.Equal(s, []int{channels, o.state}) {
		return nil, fmt.Errorf("the start state is %v, want (%d, %d)", s, channels, o.state)
	}
	return []int{xbc[0], channels}, nil
}

// channels returns h·p.
func (o ssd[T]) channels(in [][]int) int { return in[ssdXBC][1] - 2*o.groups*o.state }

// StateSize returns the size of the states before each chunk, except the first of a document.
func (o ssd[T]) StateSize(in [][]int) int {
	return kernel.SSDSaved(in[ssdXBC][0], o.CarrySize(in), o.chunk)
}

// CarrySize returns the size of the state after the last row.
func (o ssd[T]) CarrySize(in [][]int) int { return o.channels(in) * o.state }

func (o ssd[T]) DeviceSizes(in [][]int) kernel.DeviceSizes {
	d := o.channels(in)
	return kernel.DeviceSizes{Rows: in[ssdXBC][0], Channels: d, SSDStates: o.state, SSDHead: d / in[ssdALog][0], SSDGroups: o.groups}
}

// Work counts the products for chunks of the maximum length, and within a chunk each pair of rows i ≥ j once.
func (o ssd[T]) Work(in [][]int, need []bool) Work {
	rows, chunk := in[ssdXBC][0], o.chunk
	if chunk == 0 {
		chunk = kernel.SSDChunk
	}
	pairs := float64(rows) * float64(min(rows, chunk)+1) / 2
	dp, gn := float64(o.channels(in)), float64(o.groups*o.state)
	states := 2 * float64(rows) * dp * float64(o.state) // one product with a state
	gram, channels := 2*pairs*gn, 2*pairs*dp
	w := Work{Forward: gram + channels + 2*states} // y within a chunk, y across chunks, and the new state
	if slices.Contains(need, true) {
		w.Backward = 3*gram + 2*channels + 4*states // C·B again, dB, dC; dy·u, du; the cross-chunk part of each, Λ
	}
	return w
}

// split returns views of x, B, and C in a.
func (o ssd[T]) split(a Array[T]) (x, b, c kernel.Mat[T]) {
	if a.Absent() {
		return x, b, c
	}
	w, gn := width(a.Shape), o.groups*o.state
	return a.Columns(0, w-2*gn), a.Columns(w-2*gn, w-gn), a.Columns(w-gn, w)
}

func (o ssd[T]) kernel(c *Call[T]) *kernel.SSD[T] {
	s := &kernel.SSD[T]{
		DTBias: c.In[ssdDTBias].Data, ALog: c.In[ssdALog].Data, D: c.In[ssdD].Data, Groups: o.groups, Limit: o.limit,
		First: c.In[ssdFirst].Ints, H0: c.CarryIn, Chunk: o.chunk,
	}
	s.X, s.B, s.C = o.split(c.In[ssdXBC])
	s.DT = lastColumns(c.In[ssdDT], len(s.ALog), 0)
	return s
}

func (o ssd[T]) Forward(c *Call[T]) {
	var saved []T
	if c.Training {
		saved = c.State
	}
	c.start(ssdStart)
	o.kernel(c).Forward(c.Out.Mat(), saved, c.CarryOut)
}

func (ssd[T]) Overwrites(i int) bool { return i == ssdXBC || i == ssdDT }

// With Λ(t) = ∂L/∂S(t), from the last row of each document to its first, and for each head:
//
//	Λ(t) = dy(t)·C(t)ᵀ + exp(Δ(t+1)·A)·Λ(t+1)    q(t) = exp(Δ(t)·A)·⟨Λ(t), S(t−1)⟩
//	dC = Σ_heads Sᵀ·dy   dB = Σ_heads Δ·Λᵀ·x   dx = Δ·Λ·B + D·dy   dD = Σ_t dy·x
//	dΔ = x·Λ·B + A·q   dDT = dΔ·σ(DT + DTBias) within the limits   dDTBias = Σ_t dDT
//	dALog = A·Σ_t Δ·q
//
// In a graph that runs in segments, Λ starts from the gradient of the carried-out state, and a carried-in state S(−1),
// or Start, has the gradient exp(Δ(0)·A)·Λ(0).
func (o ssd[T]) Backward(c *Call[T]) {
	s := o.kernel(c)
	g := kernel.SSDGrad[T]{DTBias: c.DIn[ssdDTBias].Data, ALog: c.DIn[ssdALog].Data, D: c.DIn[ssdD].Data, H0: c.DCarryIn}
	g.X, g.B, g.C = o.split(c.DIn[ssdXBC])
	fresh := c.Mode(ssdXBC) == kernel.Set
	g.Fresh.X, g.Fresh.B, g.Fresh.C, g.Fresh.DT = fresh, fresh, fresh, c.Mode(ssdDT) == kernel.Set
	if dt := c.DIn[ssdDT]; !dt.Absent() {
		g.DT = lastColumns(dt, len(s.ALog), 0)
		if g.Fresh.DT {
			kernel.ClearMat(dt.Columns(0, width(dt.Shape)-len(s.ALog)))
		}
	}
	s.Backward(g, c.DOut.Mat(), c.State, c.DCarryOut)
	c.startGrad(ssdStart)
}
