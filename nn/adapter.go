package nn

import (
	"math"
	"sync"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
)

// Adapter is a low-rank change of a weight, W + Scale·B·A, kept beside it. Hu et al. 2021.
//
// Beside a Linear (out, in), A is (r, in) and B is (out, r); beside an Embedding (v, m), A is (r, v), B is (m, r) and
// the change is Scale·(B·A)ᵀ. With a Magnitude it is DoRA (Liu et al. 2024): the adapted weight is rescaled so that
// each of its rows (Embedding: columns) has the norm that Magnitude says.
type Adapter struct {
	A, B      *ag.Param
	Scale     float64
	Dropout   float64   // share of the branch's inputs dropped while training; an Embedding's branch has none
	Magnitude *ag.Param // nil: plain LoRA; else (out), for an Embedding (m)
	// From and To bound the rows of a Linear's output that the adapter changes, To excluded; both 0: all rows. B has
	// To−From rows then.
	From, To int

	mu    sync.Mutex
	ratio []float32 // Magnitude over the adapted weight's norm; nil: not computed since the last Touch
}

// Rank is r.
func (a *Adapter) Rank() int { return a.A.Shape()[0] }

// Params lists the adapter's parameters: A, B and, for DoRA, Magnitude.
func (a *Adapter) Params() []*ag.Param {
	p := []*ag.Param{a.A, a.B}
	if a.Magnitude != nil {
		p = append(p, a.Magnitude)
	}
	return p
}

// Touch says that the adapter's or the base weight's values have changed since Apply last used them.
func (a *Adapter) Touch() {
	a.mu.Lock()
	a.ratio = nil
	a.mu.Unlock()
}

// record returns the adapter as the graph's operations take it; the zero value for nil.
func (a *Adapter) record(g *ag.Graph) ag.LowRank {
	if a == nil {
		return ag.LowRank{}
	}
	return ag.LowRank{A: g.Param(a.A), B: g.Param(a.B), Scale: a.Scale, Dropout: a.Dropout, Magnitude: g.Param(a.Magnitude), From: a.From, To: a.To}
}

// apply adds the branch of a Linear with weight w to y = x·Wᵀ.
func (a *Adapter) apply(w *ag.Param, y, x kernel.Mat[float32]) {
	if a == nil {
		return
	}
	down := kernel.Dense(make([]float32, x.Rows*a.Rank()), x.Rows, a.Rank())
	kernel.MatMulNT(kernel.Set, down, 1, x, matrix(a.A))
	if a.To > a.From {
		y = y.Slice(0, y.Rows, a.From, a.To)
	}
	kernel.MatMulNT(kernel.Add, y, float32(a.Scale), down, matrix(a.B))
	a.rescale(y, func() []float32 { return a.linearRatio(w) })
}

// lookup adds the branch of an Embedding with weight w to y, the table's rows of ids.
func (a *Adapter) lookup(w *ag.Param, y kernel.Mat[float32], ids []int) {
	if a == nil {
		return
	}
	down := kernel.Dense(make([]float32, len(ids)*a.Rank()), len(ids), a.Rank())
	table, v := a.A.Float32s(), a.A.Shape()[1]
	for t, id := range ids {
		row := down.Row(t)
		for k := range row {
			row[k] = table[k*v+id]
		}
	}
	kernel.MatMulNT(kernel.Add, y, float32(a.Scale), down, matrix(a.B))
	a.rescale(y, func() []float32 { return a.embeddingRatio(w) })
}

// rescales says whether the adapter changes what is there already, instead of adding to it.
func (a *Adapter) rescales() bool { return a != nil && a.Magnitude != nil }

func (a *Adapter) rescale(y kernel.Mat[float32], ratio func() []float32) {
	if !a.rescales() {
		return
	}
	a.mu.Lock()
	if a.ratio == nil {
		a.ratio = ratio()
	}
	scale := a.ratio
	a.mu.Unlock()
	for t := range y.Rows {
		row := y.Row(t)
		for i, s := range scale {
			row[i] *= s
		}
	}
}

// linearRatio returns Magnitude[i] / ‖W[i] + Scale·(B·A)[i]‖ for each output row i.
func (a *Adapter) linearRatio(w *ag.Param) []float32 {
	out, in := a.B.Shape()[0], w.Shape()[1]
	ratio, row := make([]float32, out), make([]float32, in)
	A, B, r := a.A.Float32s(), a.B.Float32s(), a.Rank()
	for i := range ratio {
		w.ReadRows(kernel.Dense(row, 1, in), a.From+i)
		for k, b := range B[i*r : (i+1)*r] {
			axpy(row, float32(a.Scale)*b, A[k*in:(k+1)*in])
		}
		ratio[i] = a.Magnitude.Float32s()[i] / float32(norm(row))
	}
	return ratio
}

// embeddingRatio returns Magnitude[j] / ‖(E + Scale·(B·A)ᵀ)[:, j]‖ for each feature j.
func (a *Adapter) embeddingRatio(w *ag.Param) []float32 {
	v, m, r := w.Shape()[0], w.Shape()[1], a.Rank()
	A, B := a.A.Float32s(), a.B.Float32s()
	row, squares := make([]float32, m), make([]float64, m)
	for id := range v {
		w.ReadRows(kernel.Dense(row, 1, m), id)
		for j := range row {
			x := float64(row[j])
			for k, b := range B[j*r : (j+1)*r] {
				x += a.Scale * float64(b) * float64(A[k*v+id])
			}
			squares[j] += x * x
		}
	}
	ratio := make([]float32, m)
	for j := range ratio {
		ratio[j] = float32(float64(a.Magnitude.Float32s()[j]) / math.Sqrt(squares[j]))
	}
	return ratio
}

func matrix(p *ag.Param) kernel.Mat[float32] {
	return kernel.Dense(p.Float32s(), p.Shape()[0], p.Shape()[1])
}

func axpy(y []float32, s float32, x []float32) {
	for i, v := range x {
		y[i] += s * v
	}
}

func norm(x []float32) float64 {
	sum := 0.0
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum)
}
