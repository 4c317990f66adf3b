package autograd

import (
	"fmt"

	"mambatrain/autograd/kernel"
)

// LowRank is the adapter branch of a [Linear] or [Embedding]: Scale·B·A beside the frozen weight. Hu et al. 2021. The zero
// LowRank is no adapter.
type LowRank struct {
	A Var // (r, in)
	B Var // (out, r)
	// Scale is lora_alpha/r, or lora_alpha/√r.
	Scale float64
	// Dropout is the share of the branch's inputs that a training run drops.
	Dropout float64
	// From and To limit the branch to these outputs; B then has To−From rows. Zero for both means all.
	From, To int
	// Magnitude makes the branch DoRA (Liu et al. 2024): the adapted weight is rescaled so that its rows, for a table its
	// columns, have these norms. It has one number for each output of the branch, and is absent for plain LoRA.
	Magnitude Var
}

// Linear returns y = x·Wᵀ + b + Scale·(drop(x)·Aᵀ)·Bᵀ for x (rows, in), w (out, in) and b (out); y is (rows, out). The bias
// and the adapter may be absent.
func Linear(x, w, b Var, lr LowRank) Var {
	if lr.Magnitude.IsZero() {
		return Apply(newLinear[float32](lr), newLinear[float64](lr), x, w, b, lr.A, lr.B)
	}
	y := Apply(newLinear[float32](lr), newLinear[float64](lr), x, w, Var{}, lr.A, lr.B)
	return rescale(y, w, b, lr, false)
}

// group is the outputs that an adapter changes; the zero group is all of them.
type group struct{ from, to int }

func (lr LowRank) group() group { return group{lr.From, lr.To} }

func (g group) all() bool { return g.to == 0 }

// bounds is the group as a range of out outputs.
func (g group) bounds(out int) (from, to int) {
	if g.all() {
		return 0, out
	}
	return g.from, g.to
}

type linear[T kernel.Float] struct {
	scale   T
	dropout float64
	outputs group
}

func newLinear[T kernel.Float](lr LowRank) linear[T] {
	return linear[T]{T(lr.Scale), lr.Dropout, lr.group()}
}

func (linear[T]) Name() string { return "linear" }

func (o linear[T]) Shape(in [][]int) ([]int, error) {
	x, w, bias, a, b := in[0], in[1], in[2], in[3], in[4]
	if len(x) != 2 || len(w) != 2 || x[1] != w[1] {
		return nil, fmt.Errorf("x is %v, w is %v: inner sizes differ", x, w)
	}
	if bias != nil && (len(bias) != 1 || bias[0] != w[0]) {
		return nil, fmt.Errorf("w is %v, bias is %v: want one number for each output", w, bias)
	}
	if from, to := o.outputs.bounds(w[0]); a != nil && (len(a) != 2 || len(b) != 2 || a[1] != w[1] || b[0] != to-from || to > w[0] || a[0] != b[1]) {
		return nil, fmt.Errorf("w is %v, A is %v, B is %v: want (out, in), (r, in) and (out, r)", w, a, b)
	}
	return []int{x[0], w[0]}, nil
}

// StateSize: z = drop(x)·Aᵀ.
func (linear[T]) StateSize(in [][]int) int {
	if in[3] == nil {
		return 0
	}
	return in[0][0] * in[3][0]
}

func (linear[T]) ScratchSize(in [][]int) int {
	if in[3] == nil {
		return 0
	}
	return in[0][0] * (in[0][1] + in[3][0])
}

func (linear[T]) Saves(need []bool) []bool {
	dx, dw, da, db := need[0], need[1], need[3], need[4]
	return []bool{dw || da, dx, false, dx || da || db, dx || da || db}
}

func (o linear[T]) Forward(c *Call[T]) {
	x, y := c.In[0].Mat(), c.Out.Mat()
	if f, ok := o.fuse(c); ok {
		f.w.ForwardLoRA(kernel.Set, f32(y), f32(x), f.adapter, f.z)
		if b := c.In[2]; !b.Absent() {
			kernel.AddRow(y, b.Data)
		}
		return
	}
	project(y, x, c.In[1], c.In[2].Data)
	o.forwardLowRank(c)
}

func (o linear[T]) forwardLowRank(c *Call[T]) {
	a := c.In[3]
	if a.Absent() {
		return
	}
	z := o.z(c)
	kernel.MatMulNT(kernel.Set, z, 1, o.dropped(c, c.In[0].Mat()), a.Mat())
	from, to := o.outputs.bounds(c.Out.Shape[1])
	kernel.MatMulNT(kernel.Add, c.Out.Columns(from, to), o.scale, z, c.In[4].Mat())
}

// z is the state: the branch's inputs times Aᵀ, (rows, r).
func (linear[T]) z(c *Call[T]) kernel.Mat[T] {
	r := c.In[3].Shape[0]
	return kernel.Dense(c.State[:c.Rows*r], c.Rows, r)
}

// fused is a frozen weight with an adapter that the kernels handle as one.
type fused struct {
	w       *kernel.Packed
	adapter kernel.Adapter
	z       kernel.Mat[float32]
}

// fuse says whether this call can be one product: the weight is packed and the branch has neither dropout nor a group.
func (o linear[T]) fuse(c *Call[T]) (fused, bool) {
	p := packed[T](c.In[1])
	if p == nil || c.In[3].Absent() || !o.outputs.all() || o.dropout > 0 && c.Training {
		return fused{}, false
	}
	return fused{p, kernel.Adapter{A: f32(c.In[3].Mat()), B: f32(c.In[4].Mat()), Scale: float32(o.scale)}, f32(o.z(c))}, true
}

func (linear[T]) Overwrites(i int) bool { return i == 0 }

// dx = dy·W + drop(dz·A) with dz = Scale·dy·B; dW = dyᵀ·x, db = Σ_t dy(t), dA = dzᵀ·drop(x), dB = Scale·dyᵀ·z.
func (o linear[T]) Backward(c *Call[T]) {
	dx, dw, db, dy := c.DIn[0], c.DIn[1], c.DIn[2], c.DOut.Mat()
	if !db.Absent() {
		kernel.SumRows(db.Data, dy)
	}
	if f, ok := o.fuse(c); ok {
		g := kernel.AdapterGrad{A: f32(c.DIn[3].Mat()), B: f32(c.DIn[4].Mat())}
		f.w.BackwardLoRA(c.Mode(0), f32(dx.Mat()), g, f32(dy), f32(c.In[0].Mat()), f.z, f.adapter)
		return
	}
	if !dx.Absent() {
		projectBack(c.Mode(0), dx.Mat(), dy, c.In[1])
	}
	if !dw.Absent() {
		kernel.MatMulTN(kernel.Add, dw.Mat(), 1, dy, c.In[0].Mat())
	}
	if !c.In[3].Absent() {
		o.backwardLowRank(c)
	}
}

func (o linear[T]) backwardLowRank(c *Call[T]) {
	dx, da, db := c.DIn[0], c.DIn[3], c.DIn[4]
	r, in := c.In[3].Shape[0], c.In[3].Shape[1]
	from, to := o.outputs.bounds(c.DOut.Shape[1])
	dy := c.DOut.Columns(from, to)
	if !db.Absent() {
		kernel.MatMulTN(kernel.Add, db.Mat(), o.scale, dy, o.z(c))
	}
	if dx.Absent() && da.Absent() {
		return
	}
	// dz lies behind the memory that dropped uses.
	scratch := c.Scratch(c.Rows * (in + r))
	dz := kernel.Dense(scratch[c.Rows*in:], c.Rows, r)
	kernel.MatMulNN(kernel.Set, dz, o.scale, dy, c.In[4].Mat())
	if !da.Absent() {
		kernel.MatMulTN(kernel.Add, da.Mat(), 1, dz, o.dropped(c, c.In[0].Mat()))
	}
	switch {
	case dx.Absent():
	case o.dropout == 0 || !c.Training:
		kernel.MatMulNN(kernel.Add, dx.Mat(), 1, dz, c.In[3].Mat())
	default:
		d := kernel.Dense(scratch[:c.Rows*in], c.Rows, in)
		kernel.MatMulNN(kernel.Set, d, 1, dz, c.In[3].Mat())
		drop(c, d, d, o.dropout, nil)
		kernel.AddMat(dx.Mat(), d)
	}
}

// dropped returns the branch's input: x itself, or in training with dropout a copy in scratch memory.
func (o linear[T]) dropped(c *Call[T], x kernel.Mat[T]) kernel.Mat[T] {
	if o.dropout == 0 || !c.Training {
		return x
	}
	d := kernel.Dense(c.Scratch(x.Rows*x.Cols), x.Rows, x.Cols)
	drop(c, d, x, o.dropout, nil)
	return d
}
