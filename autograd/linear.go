package autograd

import (
	"fmt"

	"mambatrain/autograd/kernel"
)

// Linear returns y = x·Wᵀ + b + Scale·(drop(x)·Aᵀ)·Bᵀ for x (rows, in), w (out, in), and b (out); y is (rows, out). The
// bias and the low-rank branch are optional.
func Linear(x, w, b Var, lr LowRank) Var {
	op32, op64 := linear[float32]{newBranchConstants[float32](lr)}, linear[float64]{newBranchConstants[float64](lr)}
	if lr.Magnitude.absent() {
		return Apply(op32, op64, x, w, b, lr.A, lr.B)
	}
	y := Apply(op32, op64, x, w, Var{}, lr.A, lr.B)
	return rescale(y, w, b, lr, RowOutputs)
}

type linear[T kernel.Float] struct{ low branchConstants[T] }

// Inputs of linear.
const (
	linearX = iota
	linearW
	linearBias
	linearA
	linearB
)

func (linear[T]) Name() string { return "linear" }

func (o linear[T]) Shape(in [][]int) ([]int, error) {
	x, w, bias := in[linearX], in[linearW], in[linearBias]
	if err := checkProjection(x, w); err != nil {
		return nil, err
	}
	if bias != nil && (len(bias) != 1 || bias[0] != w[0]) {
		return nil, fmt.Errorf("w is %v, bias is %v: want one number for each output", w, bias)
	}
	return []int{x[0], w[0]}, o.low.check(w, in[linearA], in[linearB])
}

// StateSize returns the size of the branch's z.
func (linear[T]) StateSize(in [][]int) int {
	if in[linearA] == nil {
		return 0
	}
	return in[linearX][0] * in[linearA][0]
}

// ScratchSize returns the size of the branch's spare and dz.
func (linear[T]) ScratchSize(in [][]int) int {
	if in[linearA] == nil {
		return 0
	}
	return in[linearX][0] * (in[linearX][1] + in[linearA][0])
}

func (linear[T]) Work(in [][]int, need []bool) Work {
	return projectionWork(in[linearX][0], in[linearW], in[linearA], in[linearB], [4]bool{need[linearX], need[linearW], need[linearA], need[linearB]})
}

func (linear[T]) Saves(need []bool) []bool {
	dx, dw, da, db := need[linearX], need[linearW], need[linearA], need[linearB]
	return []bool{linearX: dw || da, linearW: dx, linearA: dx || da || db, linearB: dx || da || db}
}

func (o linear[T]) Forward(c *Call[T]) {
	x, y, w, bias := c.In[linearX].Mat(), c.Out.Mat(), c.In[linearW], c.In[linearBias].Data
	l := o.branch(c)
	if p := l.fused(c, w); p != nil {
		adapter, _ := l.kernel()
		p.ForwardLoRA(kernel.Set, f32(y), f32(x), adapter, f32(l.z))
		if bias != nil {
			kernel.AddRow(y, bias)
		}
		return
	}
	project(y, x, w, bias)
	l.forward(c, y, x)
}

// branch returns the inputs and memory of the low-rank branch, or the zero branch if there is none.
func (o linear[T]) branch(c *Call[T]) branch[T] {
	if c.In[linearA].Absent() {
		return branch[T]{}
	}
	a := c.In[linearA].Mat()
	scratch := c.Scratch(c.Rows * (a.Cols + a.Rows))
	return branch[T]{
		branchConstants: o.low, a: a, b: c.In[linearB].Mat(), da: c.DIn[linearA].Mat(), db: c.DIn[linearB].Mat(),
		z:     kernel.Dense(c.State[:c.Rows*a.Rows], c.Rows, a.Rows),
		spare: kernel.Dense(scratch[:c.Rows*a.Cols], c.Rows, a.Cols),
		dz:    kernel.Dense(scratch[c.Rows*a.Cols:], c.Rows, a.Rows),
	}
}

func (linear[T]) Overwrites(i int) bool { return i == linearX }

// dx = dy·W, dW = dyᵀ·x, and db = Σ_t dy(t). The branch adds its part of dx.
func (o linear[T]) Backward(c *Call[T]) {
	x, w, dy := c.In[linearX].Mat(), c.In[linearW], c.DOut.Mat()
	dx, dw, db := c.DIn[linearX].Mat(), c.DIn[linearW].Mat(), c.DIn[linearBias]
	if !db.Absent() {
		kernel.SumRows(db.Data, dy)
	}
	if !dw.Absent() {
		kernel.MatMulTN(kernel.Add, dw, 1, dy, x)
	}
	l := o.branch(c)
	if dx.Absent() && l.da.Absent() && l.db.Absent() {
		return
	}
	if p := l.fused(c, w); p != nil {
		adapter, grad := l.kernel()
		p.BackwardLoRA(c.Mode(linearX), f32(dx), grad, f32(dy), f32(x), f32(l.z), adapter)
		return
	}
	if !dx.Absent() {
		projectBack(c.Mode(linearX), dx, dy, w)
	}
	l.backward(c, dx, dy, x)
}
