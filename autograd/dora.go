package autograd

import (
	"fmt"
	"iter"

	"mambatrain/autograd/kernel"
)

// rescale is the second half of DoRA (Liu et al. 2024). It scales y, the output of an adapted Linear without bias or of
// an adapted Embedding, so that the adapted weight has the norms given by the magnitude:
//
//	y·Magnitude/‖W + Scale·B·A‖ + b
//
// The norm is taken over each row of a Linear's weight and over each column of a table. The backward pass treats it as
// a constant, as in section 4.3 of the paper and in PEFT.
//
// Dropout applies only to the low-rank branch. PEFT also drops inputs of (Magnitude/‖·‖ − 1)·W·x, which costs a second
// product with W; both have the same expectation.
func rescale(y, w, b Var, lr LowRank, outputs OutputAxis) Var {
	g := y.Graph()
	return Apply(dora[float32]{float32(lr.Scale), outputs, lr.group()}, dora[float64]{lr.Scale, outputs, lr.group()},
		y, g.constant(w), g.constant(lr.A), g.constant(lr.B), lr.Magnitude, b)
}

// constant returns a new use of the parameter v for which no gradient is computed.
func (g *Graph) constant(v Var) Var {
	if v.v.param == nil {
		g.fail(fmt.Errorf("autograd: dora: weight, A, and B must be parameters"))
		return v
	}
	u := g.Param(v.v.param)
	u.v.need = false
	return u
}

// Inputs of dora.
const (
	doraY = iota
	doraW
	doraA
	doraB
	doraMagnitude
	doraBias
)

type dora[T kernel.Float] struct {
	scale T
	axis  OutputAxis // axis of w that runs over the outputs
	group group      // the outputs to rescale
}

func (dora[T]) Name() string { return "dora" }

func (o dora[T]) Shape(in [][]int) ([]int, error) {
	y, w, m, b := in[doraY], in[doraW], in[doraMagnitude], in[doraBias]
	if len(y) != 2 || len(w) != 2 || w[o.axis] != y[1] {
		return nil, fmt.Errorf("y is %v, w is %v: outputs differ", y, w)
	}
	if from, to := o.group.bounds(y[1]); len(m) != 1 || m[0] != to-from || to > y[1] {
		return nil, fmt.Errorf("magnitude is %v: want one number for each of %d outputs", m, to-from)
	}
	if b != nil && (len(b) != 1 || b[0] != y[1]) {
		return nil, fmt.Errorf("w is %v, bias is %v: want one number for each output", w, b)
	}
	return y, nil
}

// StateSize returns the number of outputs: the state is 1/‖W + Scale·B·A‖ of each.
func (dora[T]) StateSize(in [][]int) int { return in[doraMagnitude][0] }

func (o dora[T]) ScratchSize(in [][]int) int {
	return AdaptedWeight[T]{W: Array[T]{Shape: in[doraW]}, Outputs: o.axis}.scratchSize(in[doraA][0])
}

func (dora[T]) Saves(need []bool) []bool {
	return []bool{doraY: need[doraMagnitude], doraMagnitude: need[doraY], doraBias: false}
}

func (o dora[T]) Forward(c *Call[T]) {
	w := AdaptedWeight[T]{
		W: c.In[doraW], A: c.In[doraA].Mat(), B: c.In[doraB].Mat(), Scale: o.scale,
		From: o.group.from, To: o.group.to, Outputs: o.axis,
	}
	w.inverseNorms(c.State, c.Scratch(w.scratchSize(w.A.Rows)))
	y, out, m, b := c.In[doraY].Mat(), c.Out.Mat(), c.In[doraMagnitude].Data, c.In[doraBias]
	kernel.CopyMat(out, y)
	from, to := o.group.bounds(y.Cols)
	changed := c.Out.Columns(from, to)
	kernel.ScaleColumns(kernel.Set, changed, changed, m, c.State)
	if !b.Absent() {
		kernel.AddRow(out, b.Data)
	}
}

// With the norm constant: dy = dout·m/‖·‖, dm = Σ_t dout(t)·y(t)/‖·‖, db = Σ_t dout(t).
func (o dora[T]) Backward(c *Call[T]) {
	dout, m := c.DOut.Mat(), c.In[doraMagnitude].Data
	from, to := o.group.bounds(dout.Cols)
	if d := c.DIn[doraBias]; !d.Absent() {
		kernel.SumRows(d.Data, dout)
	}
	if d := c.DIn[doraMagnitude]; !d.Absent() {
		kernel.DotColumns(d.Data, c.DOut.Columns(from, to), c.In[doraY].Columns(from, to), c.State)
	}
	if c.DIn[doraY].Absent() {
		return
	}
	part := func(from, to int) (dy, d kernel.Mat[T]) {
		return c.DIn[doraY].Columns(from, to), c.DOut.Columns(from, to)
	}
	dy, d := part(from, to)
	kernel.ScaleColumns(kernel.Add, dy, d, m, c.State)
	for _, rest := range [...]group{{0, from}, {to, dout.Cols}} {
		if rest.from < rest.to {
			kernel.AddMat(part(rest.from, rest.to))
		}
	}
}

// OutputAxis is the axis of a weight that runs over the outputs. Each output has a norm.
type OutputAxis int

const (
	RowOutputs    OutputAxis = iota // a Linear's weight (out, in)
	ColumnOutputs                   // a table (v, m)
)

// AdaptedWeight is W + Scale·B·A, or W + Scale·(B·A)ᵀ for a table. It is never materialized as a whole.
type AdaptedWeight[T kernel.Float] struct {
	W     Array[T]      // (out, in), or (v, m) for a table; if Data is nil, it is read through Param
	A, B  kernel.Mat[T] // as in [LowRank]; both absent for no adapter
	Scale T
	// From and To limit the outputs of a Linear as in [LowRank].
	From, To int
	Outputs  OutputAxis
}

// Norms returns the Euclidean norm of each output's weights, which DoRA replaces with the magnitude.
func (w AdaptedWeight[T]) Norms() []float64 {
	blocks := w.blocks(make([]T, w.scratchSize(w.A.Rows)))
	if w.Outputs == ColumnOutputs {
		return kernel.ColumnNorms(w.W.Shape[1], blocks)
	}
	return kernel.RowNorms(blocks)
}

// inverseNorms writes the InverseNorm of each output's norm to dst.
func (w AdaptedWeight[T]) inverseNorms(dst, scratch []T) {
	if w.Outputs == ColumnOutputs {
		kernel.InverseColumnNorms(dst, w.blocks(scratch))
	} else {
		kernel.InverseRowNorms(dst, w.blocks(scratch))
	}
}

// InverseNorm returns 1/norm, or 0 for a norm of 0. DoRA multiplies an output by its magnitude and by this number, so
// an output whose weights are all zero stays zero in training, in inference, and after merging. PEFT divides by the norm
// and gets NaN.
func InverseNorm(norm float64) float64 { return kernel.InverseNorm(norm) }

// normRows is the number of rows of a weight that are rebuilt at a time to compute norms.
const normRows = 64

// scratchSize returns the size of the scratch memory for blocks, given an adapter of rank r.
func (w AdaptedWeight[T]) scratchSize(r int) int {
	n := normRows * w.W.Shape[1]
	if w.Outputs == ColumnOutputs {
		n += r * w.W.Shape[1]
	}
	return n
}

// blocks yields the rows of the adapted weight, block by block; for a Linear, only those of outputs [From, To). A block
// is valid until the next one.
func (w AdaptedWeight[T]) blocks(scratch []T) iter.Seq[kernel.Mat[T]] {
	from, to := 0, w.W.Shape[0]
	if w.Outputs == RowOutputs {
		from, to = group{w.From, w.To}.bounds(to)
	}
	bt := w.transposedB(scratch[normRows*w.W.Shape[1]:])
	return func(yield func(kernel.Mat[T]) bool) {
		for i := from; i < to; i += normRows {
			block := w.rows(scratch, i, to)
			switch {
			case w.A.Rows == 0:
			case w.Outputs == ColumnOutputs:
				kernel.MatMulTN(kernel.Add, block, w.Scale, w.A.Slice(0, w.A.Rows, i, i+block.Rows), bt)
			default:
				kernel.MatMulNN(kernel.Add, block, w.Scale, w.B.Slice(i-from, i-from+block.Rows, 0, w.B.Cols), w.A)
			}
			if !yield(block) {
				return
			}
		}
	}
}

// transposedB returns Bᵀ for a table with an adapter.
func (w AdaptedWeight[T]) transposedB(scratch []T) (bt kernel.Mat[T]) {
	if w.Outputs == ColumnOutputs && w.A.Rows > 0 {
		bt = kernel.Dense(scratch, w.A.Rows, w.W.Shape[1])
		all := make([]int, bt.Rows)
		for i := range all {
			all[i] = i
		}
		kernel.GatherColumns(bt, w.B, all)
	}
	return bt
}

// rows copies up to normRows rows of W, from row i up to but not including row end, to scratch.
func (w AdaptedWeight[T]) rows(scratch []T, i, end int) kernel.Mat[T] {
	n, cols := min(normRows, end-i), w.W.Shape[1]
	block := kernel.Dense(scratch[:n*cols], n, cols)
	if w.W.Data == nil {
		w.W.Param.ReadRows(f32(block), i)
	} else {
		kernel.CopyMat(block, kernel.Dense(w.W.Data[i*cols:], n, cols))
	}
	return block
}

// headDora rescales the logits of [CrossEntropy], chunk by chunk.
type headDora[T kernel.Float] struct {
	magnitude, inverse []T           // (v)
	plain              kernel.Mat[T] // the chunk's logits before rescaling
}

// headDoraSize returns the size of the memory for chunks of n rows, given the shapes of the head and the magnitude.
func headDoraSize(n int, w, m []int) int {
	if m == nil {
		return 0
	}
	return n*w[0] + w[0] + normRows*w[1]
}

func newHeadDora[T kernel.Float](c *Call[T], scale T, n int, memory []T) *headDora[T] {
	v := c.In[lossW].Shape[0]
	d := &headDora[T]{magnitude: c.In[lossMagnitude].Data, inverse: memory[:v], plain: kernel.Dense(memory[v:v+n*v], n, v)}
	w := AdaptedWeight[T]{W: c.In[lossW], A: c.In[lossA].Mat(), B: c.In[lossB].Mat(), Scale: scale}
	w.inverseNorms(d.inverse, memory[v+n*v:])
	return d
}

// rescale rescales the logits to the magnitude. It does nothing if d is nil.
func (d *headDora[T]) rescale(logits kernel.Mat[T]) {
	if d == nil {
		return
	}
	kernel.CopyMat(top(d.plain, logits.Rows), logits)
	d.scale(logits)
}

// backward adds the magnitude's gradient to dm and replaces the gradient of the rescaled logits with that of the plain
// ones.
func (d *headDora[T]) backward(dm Array[T], dlogits kernel.Mat[T]) {
	if d == nil {
		return
	}
	if !dm.Absent() {
		kernel.DotColumns(dm.Data, dlogits, top(d.plain, dlogits.Rows), d.inverse)
	}
	d.scale(dlogits)
}

func (d *headDora[T]) scale(x kernel.Mat[T]) {
	kernel.ScaleColumns(kernel.Set, x, x, d.magnitude, d.inverse)
}
