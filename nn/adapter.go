package nn

import (
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
	ratio []float32 // Magnitude over the adapted weight's norm; nil: not computed since the last Invalidate
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

// Invalidate drops what Apply has derived from the values of the adapter and of the base weight, which have changed.
func (a *Adapter) Invalidate() {
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
	a.rescale(y, w, false)
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
	a.rescale(y, w, true)
}

// rescales says whether the adapter changes what is there already, instead of adding to it.
func (a *Adapter) rescales() bool { return a != nil && a.Magnitude != nil }

func (a *Adapter) rescale(y kernel.Mat[float32], w *ag.Param, table bool) {
	if !a.rescales() {
		return
	}
	a.mu.Lock()
	if a.ratio == nil {
		a.ratio = a.ratios(w, table)
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

// ratios returns Magnitude over the norm of the adapted weight w, one for each output.
func (a *Adapter) ratios(w *ag.Param, table bool) []float32 {
	norms := ag.AdaptedWeight[float32]{
		W: ag.Array[float32]{Shape: w.Shape(), Param: w}, A: matrix(a.A), B: matrix(a.B),
		Scale: float32(a.Scale), From: a.From, To: a.To, Table: table,
	}.Norms()
	ratios := make([]float32, len(norms))
	for i, m := range a.Magnitude.Float32s() {
		ratios[i] = float32(float64(m) * ag.InverseNorm(norms[i]))
	}
	return ratios
}

func matrix(p *ag.Param) kernel.Mat[float32] {
	return kernel.Dense(p.Float32s(), p.Shape()[0], p.Shape()[1])
}
