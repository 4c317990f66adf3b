package nn

import (
	"sync"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
)

// LowRank is the change that LoRA (Hu et al. 2021) makes to a layer's weight, W + Scale·B·A, stored separately from the
// weight. [ag.LowRank] lists the other parts of LoRA.
//
// For a Linear (out, in), A is (r, in) and B is (out, r). For an Embedding (v, m), A is (r, v), B is (m, r), and the
// change is Scale·(B·A)ᵀ. With a Magnitude it is DoRA (Liu et al. 2024): the adapted weight is rescaled so that its
// rows, or its columns for an Embedding, have these norms.
type LowRank struct {
	A, B      *ag.Param
	Scale     float64
	Dropout   float64   // fraction of the branch's inputs dropped in training; not used for an Embedding
	Magnitude *ag.Param // nil for plain LoRA; else (out), or (m) for an Embedding
	// From and To limit the change to outputs [From, To) of a Linear; B then has To−From rows. Both 0 means all
	// outputs.
	From, To int

	mu     sync.Mutex
	ratios []float32 // Magnitude divided by the adapted weight's norms; nil until computed
}

// Rank returns r.
func (lr *LowRank) Rank() int { return lr.A.Shape()[0] }

// Params returns A, B and, for DoRA, Magnitude.
func (lr *LowRank) Params() []*ag.Param {
	p := []*ag.Param{lr.A, lr.B}
	if lr.Magnitude != nil {
		p = append(p, lr.Magnitude)
	}
	return p
}

// Invalidate drops what Apply has cached. Call it after changing the values of lr or of the base weight.
func (lr *LowRank) Invalidate() {
	lr.mu.Lock()
	lr.ratios = nil
	lr.mu.Unlock()
}

// record returns lr in the form that the graph's operations take, or the zero value if lr is nil.
func (lr *LowRank) record(g *ag.Graph) ag.LowRank {
	if lr == nil {
		return ag.LowRank{}
	}
	return ag.LowRank{A: g.Param(lr.A), B: g.Param(lr.B), Scale: lr.Scale, Dropout: lr.Dropout, Magnitude: g.Param(lr.Magnitude), From: lr.From, To: lr.To}
}

// apply adds the branch of a Linear with weight w to y = x·Wᵀ.
func (lr *LowRank) apply(w *ag.Param, y, x kernel.Mat[float32]) {
	if lr == nil {
		return
	}
	down := kernel.Dense(make([]float32, x.Rows*lr.Rank()), x.Rows, lr.Rank())
	kernel.MatMulNT(kernel.Set, down, 1, x, matrix(lr.A))
	if lr.To > lr.From {
		y = y.Slice(0, y.Rows, lr.From, lr.To)
	}
	kernel.MatMulNT(kernel.Add, y, float32(lr.Scale), down, matrix(lr.B))
	lr.rescale(y, w, ag.RowOutputs)
}

// lookup adds the branch of an Embedding with weight w to y, the rows of the table for ids.
func (lr *LowRank) lookup(w *ag.Param, y kernel.Mat[float32], ids []int) {
	if lr == nil {
		return
	}
	down := kernel.Dense(make([]float32, len(ids)*lr.Rank()), len(ids), lr.Rank())
	table, v := lr.A.Float32s(), lr.A.Shape()[1]
	for t, id := range ids {
		row := down.Row(t)
		for k := range row {
			row[k] = table[k*v+id]
		}
	}
	kernel.MatMulNT(kernel.Add, y, float32(lr.Scale), down, matrix(lr.B))
	lr.rescale(y, w, ag.ColumnOutputs)
}

// rescales reports whether lr rescales the output, in addition to adding to it.
func (lr *LowRank) rescales() bool { return lr != nil && lr.Magnitude != nil }

// rescale scales y, the output of the adapted weight w, to the norms in Magnitude.
func (lr *LowRank) rescale(y kernel.Mat[float32], w *ag.Param, outputs ag.OutputAxis) {
	if !lr.rescales() {
		return
	}
	ratios := lr.normRatios(w, outputs)
	for t := range y.Rows {
		row := y.Row(t)
		for i, s := range ratios {
			row[i] *= s
		}
	}
}

// normRatios returns, for each output, Magnitude divided by the norm of the adapted weight w.
func (lr *LowRank) normRatios(w *ag.Param, outputs ag.OutputAxis) []float32 {
	lr.mu.Lock()
	defer lr.mu.Unlock()
	if lr.ratios != nil {
		return lr.ratios
	}
	norms := ag.AdaptedWeight[float32]{
		W: ag.Array[float32]{Shape: w.Shape(), Param: w}, A: matrix(lr.A), B: matrix(lr.B),
		Scale: float32(lr.Scale), From: lr.From, To: lr.To, Outputs: outputs,
	}.Norms()
	lr.ratios = make([]float32, len(norms))
	for i, m := range lr.Magnitude.Float32s() {
		lr.ratios[i] = float32(float64(m) * ag.InverseNorm(norms[i]))
	}
	return lr.ratios
}

func matrix(p *ag.Param) kernel.Mat[float32] {
	return kernel.Dense(p.Float32s(), p.Shape()[0], p.Shape()[1])
}
