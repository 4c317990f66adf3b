package autograd

import (
	"fmt"
	"math"

	"mambatrain/autograd/kernel"
)

// rescale is the second half of DoRA (Liu et al. 2024): it brings y, the output of an adapted Linear without bias or of
// an adapted Embedding, to the norms that the magnitude says, y·Magnitude/‖W + Scale·B·A‖ + b. The norm runs along the
// rows of a Linear's weight, along the columns of a table. For the backward pass it is a constant, as section 4.3 of the
// paper proposes and PEFT does it.
//
// Dropout reaches the low-rank branch alone. PEFT drops inputs of (Magnitude/‖·‖ − 1)·W·x too, at the price of a second
// product with W; both have the same expectation.
func rescale(y, w, b Var, lr LowRank, outputs OutputAxis) Var {
	g := y.Graph()
	return Apply(dora[float32]{float32(lr.Scale), outputs, lr.group()}, dora[float64]{lr.Scale, outputs, lr.group()},
		y, g.constant(w), g.constant(lr.A), g.constant(lr.B), lr.Magnitude, b)
}

// constant is another use of the parameter v, for which no gradient is computed.
func (g *Graph) constant(v Var) Var {
	if v.v.param == nil {
		g.fail(fmt.Errorf("autograd: dora: weight, A and B have to be parameters"))
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
	axis  OutputAxis // of w
	group group      // the outputs that are rescaled
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

// StateSize: 1/‖W + Scale·B·A‖ of each output.
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
	for i, norm := range w.norms(c.Scratch(w.scratchSize(w.A.Rows))) {
		c.State[i] = T(InverseNorm(norm))
	}
	y, out, m, b := c.In[doraY].Mat(), c.Out.Mat(), c.In[doraMagnitude].Data, c.In[doraBias]
	kernel.CopyMat(out, y)
	from, to := o.group.bounds(y.Cols)
	kernel.For(y.Rows, rescaleGrain, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			row := out.Row(t)[from:to]
			for i, inv := range c.State {
				row[i] *= m[i] * inv
			}
		}
	})
	if !b.Absent() {
		kernel.AddRow(out, b.Data)
	}
}

// rescaleGrain is the number of rows that one task rescales.
const rescaleGrain = 16

// With the norm constant: dy = dout·m/‖·‖, dm = Σ_t dout(t)·y(t)/‖·‖, db = Σ_t dout(t).
func (o dora[T]) Backward(c *Call[T]) {
	dout, m := c.DOut.Mat(), c.In[doraMagnitude].Data
	from, to := o.group.bounds(dout.Cols)
	if d := c.DIn[doraBias]; !d.Absent() {
		kernel.SumRows(d.Data, dout)
	}
	if d := c.DIn[doraMagnitude]; !d.Absent() {
		addMagnitudeGrad(d.Data, c.DOut.Columns(from, to), c.In[doraY].Columns(from, to), c.State)
	}
	if c.DIn[doraY].Absent() {
		return
	}
	dy := c.DIn[doraY].Mat()
	kernel.For(dy.Rows, rescaleGrain, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			row, d := dy.Row(t), dout.Row(t)
			for i, x := range d {
				if i >= from && i < to {
					x *= m[i-from] * c.State[i-from]
				}
				row[i] += x
			}
		}
	})
}

// addMagnitudeGrad adds Σ_t dout(t, i)·y(t, i)·inverse(i) to dm(i), row after row for every i.
func addMagnitudeGrad[T kernel.Float](dm []T, dout, y kernel.Mat[T], inverse []T) {
	kernel.For(len(dm), 256, func(lo, hi int) {
		sums := make([]float64, hi-lo)
		for t := range dout.Rows {
			d, v := dout.Row(t)[lo:hi], y.Row(t)[lo:hi]
			for i := range sums {
				sums[i] += float64(d[i]) * float64(v[i])
			}
		}
		for i, s := range sums {
			dm[lo+i] += T(s) * inverse[lo+i]
		}
	})
}

// OutputAxis is the axis of a weight that runs over the outputs, each of which has a norm.
type OutputAxis int

const (
	RowOutputs    OutputAxis = iota // a Linear's weight (out, in)
	ColumnOutputs                   // a table (v, m)
)

// AdaptedWeight is W + Scale·B·A, for a table W + Scale·(B·A)ᵀ. It never exists as a whole.
type AdaptedWeight[T kernel.Float] struct {
	W     Array[T]      // (out, in), a table (v, m); without Data it is read through its Param
	A, B  kernel.Mat[T] // as in [LowRank]; both absent for W alone
	Scale T
	// From and To limit the outputs of a Linear as in [LowRank].
	From, To int
	Outputs  OutputAxis
}

// Norms returns the Euclidean norm of each output's weights: what DoRA's magnitude replaces.
func (w AdaptedWeight[T]) Norms() []float64 {
	return w.norms(make([]T, w.scratchSize(w.A.Rows)))
}

// InverseNorm returns 1/norm, and 0 for a norm of 0. DoRA multiplies an output by its magnitude and by this number, so an
// output whose weights are all zero has no direction and stays zero: in training, in inference and when it is merged. PEFT
// divides by the norm and gets NaN there.
func InverseNorm(norm float64) float64 {
	if norm == 0 {
		return 0
	}
	return 1 / norm
}

// normRows is how many rows of a weight are rebuilt at once for their norms.
const normRows = 64

// scratchSize is the memory that norms needs for an adapter of rank r.
func (w AdaptedWeight[T]) scratchSize(r int) int {
	n := normRows * w.W.Shape[1]
	if w.Outputs == ColumnOutputs {
		n += r * w.W.Shape[1]
	}
	return n
}

func (w AdaptedWeight[T]) norms(scratch []T) []float64 {
	if w.Outputs == ColumnOutputs {
		return w.columnNorms(scratch)
	}
	from, to := group{w.From, w.To}.bounds(w.W.Shape[0])
	norms := make([]float64, to-from)
	for i := from; i < to; i += normRows {
		block := w.rows(scratch, i, to)
		if w.A.Rows > 0 {
			kernel.MatMulNN(kernel.Add, block, w.Scale, w.B.Slice(i-from, i-from+block.Rows, 0, w.B.Cols), w.A)
		}
		addRowSquares(norms[i-from:], block)
	}
	return roots(norms)
}

func (w AdaptedWeight[T]) columnNorms(scratch []T) []float64 {
	rows, cols := w.W.Shape[0], w.W.Shape[1]
	norms := make([]float64, cols)
	bt := kernel.Dense(scratch[normRows*cols:], w.A.Rows, cols)
	transpose(bt, w.B)
	for i := 0; i < rows; i += normRows {
		block := w.rows(scratch, i, rows)
		if w.A.Rows > 0 {
			kernel.MatMulTN(kernel.Add, block, w.Scale, w.A.Slice(0, w.A.Rows, i, i+block.Rows), bt)
		}
		addColumnSquares(norms, block)
	}
	return roots(norms)
}

// rows copies the next rows of W from row i on, none of them at or after end, into scratch.
func (w AdaptedWeight[T]) rows(scratch []T, i, end int) kernel.Mat[T] {
	n, cols := min(normRows, end-i), w.W.Shape[1]
	block := kernel.Dense(scratch[:n*cols], n, cols)
	if w.W.Data == nil {
		w.W.Param.ReadRows(f32(block), i)
	} else {
		copy(block.Data, w.W.Data[i*cols:(i+n)*cols])
	}
	return block
}

func roots(squares []float64) []float64 {
	for i, x := range squares {
		squares[i] = math.Sqrt(x)
	}
	return squares
}

func transpose[T kernel.Float](y, x kernel.Mat[T]) {
	for i := range x.Rows {
		for j, v := range x.Row(i) {
			y.Row(j)[i] = v
		}
	}
}

func addRowSquares[T kernel.Float](sums []float64, x kernel.Mat[T]) {
	kernel.For(x.Rows, 8, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			for _, v := range x.Row(i) {
				sums[i] += float64(v) * float64(v)
			}
		}
	})
}

func addColumnSquares[T kernel.Float](sums []float64, x kernel.Mat[T]) {
	kernel.For(x.Cols, 64, func(lo, hi int) {
		for i := range x.Rows {
			for j, v := range x.Row(i)[lo:hi] {
				sums[lo+j] += float64(v) * float64(v)
			}
		}
	})
}

// headDora rescales the logits of one chunk after another in [CrossEntropy].
type headDora[T kernel.Float] struct {
	magnitude, inverse []T           // (v)
	plain              kernel.Mat[T] // the chunk's logits before
}

// headDoraSize is the memory for chunks of n rows, given the shapes of the head and the magnitude.
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
	for i, norm := range w.norms(memory[v+n*v:]) {
		d.inverse[i] = T(InverseNorm(norm))
	}
	return d
}

// rescale brings the logits to the magnitude; nil does nothing.
func (d *headDora[T]) rescale(logits kernel.Mat[T]) {
	if d == nil {
		return
	}
	kernel.CopyMat(top(d.plain, logits.Rows), logits)
	d.scale(logits)
}

// backward adds the magnitude's gradient to dm and turns the gradient of the rescaled logits into that of the plain ones.
func (d *headDora[T]) backward(dm Array[T], dlogits kernel.Mat[T]) {
	if d == nil {
		return
	}
	if !dm.Absent() {
		addMagnitudeGrad(dm.Data, dlogits, top(d.plain, dlogits.Rows), d.inverse)
	}
	d.scale(dlogits)
}

func (d *headDora[T]) scale(x kernel.Mat[T]) {
	kernel.For(x.Rows, rescaleGrain, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			for i, row := 0, x.Row(t); i < len(row); i++ {
				row[i] *= d.magnitude[i] * d.inverse[i]
			}
		}
	})
}
