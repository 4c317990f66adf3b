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
func rescale(y, w, b Var, lr LowRank, axis normAxis) Var {
	g := y.Graph()
	return Apply(dora[float32]{float32(lr.Scale), axis, lr.group()}, dora[float64]{lr.Scale, axis, lr.group()},
		y, g.constant(w), g.constant(lr.A), g.constant(lr.B), lr.Magnitude, b)
}

// constant is another use of the parameter v, for which nobody computes a gradient.
func (g *Graph) constant(v Var) Var {
	if v.v.param == nil {
		g.fail(fmt.Errorf("autograd: dora: weight, A and B have to be parameters"))
		return v
	}
	u := g.Param(v.v.param)
	u.v.need = false
	return u
}

// normAxis says along what a weight's norms run.
type normAxis int

const (
	alongRows    normAxis = iota // one norm for each row of a Linear's weight (out, in)
	alongColumns                 // one for each column of a table (v, m)
)

type dora[T kernel.Float] struct {
	scale   T
	axis    normAxis
	outputs group // those that are rescaled
}

func (dora[T]) Name() string { return "dora" }

func (o dora[T]) Shape(in [][]int) ([]int, error) {
	y, w, m, b := in[0], in[1], in[4], in[5]
	if len(y) != 2 || len(w) != 2 || w[o.axis] != y[1] {
		return nil, fmt.Errorf("y is %v, w is %v: outputs differ", y, w)
	}
	if from, to := o.outputs.bounds(y[1]); len(m) != 1 || m[0] != to-from || to > y[1] {
		return nil, fmt.Errorf("magnitude is %v: want one number for each of %d outputs", m, to-from)
	}
	if b != nil && (len(b) != 1 || b[0] != y[1]) {
		return nil, fmt.Errorf("w is %v, bias is %v: want one number for each output", w, b)
	}
	return y, nil
}

// StateSize: 1/‖W + Scale·B·A‖ of each output.
func (dora[T]) StateSize(in [][]int) int { return in[4][0] }

func (o dora[T]) ScratchSize(in [][]int) int { return normScratch(in[1], in[2], o.axis) }

func (dora[T]) Saves(need []bool) []bool {
	return []bool{need[4], false, false, false, need[0], false}
}

func (o dora[T]) Forward(c *Call[T]) {
	inverseNorms(c.State, c.In[1], c.In[2], c.In[3], o, c.Scratch)
	y, out, m, b := c.In[0].Mat(), c.Out.Mat(), c.In[4].Data, c.In[5]
	kernel.CopyMat(out, y)
	from, to := o.outputs.bounds(y.Cols)
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
	dout, m := c.DOut.Mat(), c.In[4].Data
	from, to := o.outputs.bounds(dout.Cols)
	if d := c.DIn[5]; !d.Absent() {
		kernel.SumRows(d.Data, dout)
	}
	if d := c.DIn[4]; !d.Absent() {
		addMagnitudeGrad(d.Data, c.DOut.Columns(from, to), c.In[0].Columns(from, to), c.State)
	}
	if c.DIn[0].Absent() {
		return
	}
	dy := c.DIn[0].Mat()
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

// normRows is how many rows of a weight are rebuilt at once for their norms.
const normRows = 64

// normScratch is the memory that inverseNorms asks for, given the shapes of w and A.
func normScratch(w, a []int, axis normAxis) int {
	n := normRows * w[1]
	if axis == alongColumns {
		n += a[0] * w[1]
	}
	return n
}

// inverseNorms fills inv with 1/‖w + Scale·B·A‖, 0 where the norm is 0. The adapted weight never exists as a whole.
func inverseNorms[T kernel.Float](inv []T, w, a, b Array[T], o dora[T], scratch func(int) []T) {
	s := scratch(normScratch(w.Shape, a.Shape, o.axis))
	rows, cols := w.Shape[0], w.Shape[1]
	squares := make([]float64, len(inv))
	if o.axis == alongColumns {
		bt := kernel.Dense(s[normRows*cols:], a.Shape[0], cols)
		transpose(bt, b.Mat())
		for i := 0; i < rows; i += normRows {
			block := kernel.Dense(s[:min(normRows, rows-i)*cols], min(normRows, rows-i), cols)
			weightRows(block, w, i)
			kernel.MatMulTN(kernel.Add, block, o.scale, a.Columns(i, i+block.Rows), bt)
			addColumnSquares(squares, block)
		}
	} else {
		from, to := o.outputs.bounds(rows)
		for i := from; i < to; i += normRows {
			block := kernel.Dense(s[:min(normRows, to-i)*cols], min(normRows, to-i), cols)
			weightRows(block, w, i)
			kernel.MatMulNN(kernel.Add, block, o.scale, kernel.Dense(b.Data[(i-from)*a.Shape[0]:], block.Rows, a.Shape[0]), a.Mat())
			rowSquares(squares[i-from:], block)
		}
	}
	for i, x := range squares {
		inv[i] = 0
		if x > 0 {
			inv[i] = T(1 / math.Sqrt(x))
		}
	}
}

// weightRows copies the rows of w from row i on into block.
func weightRows[T kernel.Float](block kernel.Mat[T], w Array[T], i int) {
	if w.Data == nil {
		w.Param.ReadRows(f32(block), i)
		return
	}
	copy(block.Data, w.Data[i*block.Cols:(i+block.Rows)*block.Cols])
}

func transpose[T kernel.Float](y, x kernel.Mat[T]) {
	for i := range x.Rows {
		for j, v := range x.Row(i) {
			y.Row(j)[i] = v
		}
	}
}

func rowSquares[T kernel.Float](sums []float64, x kernel.Mat[T]) {
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

// headDoraSize is the memory for chunks of n rows, given the shapes of the head, A and the magnitude.
func headDoraSize(n int, w, a, m []int) int {
	if m == nil {
		return 0
	}
	return n*w[0] + w[0] + normScratch(w, a, alongRows)
}

func newHeadDora[T kernel.Float](c *Call[T], scale T, n int, memory []T) *headDora[T] {
	v := c.In[1].Shape[0]
	d := &headDora[T]{magnitude: c.In[5].Data, inverse: memory[:v], plain: kernel.Dense(memory[v:v+n*v], n, v)}
	inverseNorms(d.inverse, c.In[1], c.In[3], c.In[4], dora[T]{scale: scale}, func(int) []T { return memory[v+n*v:] })
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
