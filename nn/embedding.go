package nn

import (
	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
)

// Embedding is a table with one row for each token id, with an optional adapter beside it.
type Embedding struct {
	Weight  *ag.Param // (v, m)
	Adapter *Adapter  // nil: none
}

// Forward records the lookup of ids; the result is (rows, m).
func (e *Embedding) Forward(ids ag.Var) ag.Var {
	g := ids.Graph()
	return ag.Embedding(g.Param(e.Weight), ids, e.Adapter.record(g))
}

// Apply writes the rows of ids to y (len(ids), m). Every id must be a row of the table.
func (e *Embedding) Apply(y kernel.Mat[float32], ids []int) {
	gather(y, e.Weight, ids)
	e.Adapter.lookup(e.Weight, y, ids)
}

// gather writes rows ids of the matrix w to y, widening bfloat16, wherever w keeps them.
func gather(y kernel.Mat[float32], w *ag.Param, ids []int) {
	switch {
	case w.Value == nil:
		w.Packed().Gather(y, ids)
	case w.IsBF16():
		for t, id := range ids {
			kernel.WidenBF16(y.Row(t), w.BF16s()[id*y.Cols:(id+1)*y.Cols])
		}
	default:
		kernel.Gather(y, matrix(w), ids)
	}
}

// readRow copies row i of the matrix w to dst.
func readRow(dst []float32, w *ag.Param, i int) {
	gather(kernel.Dense(dst, 1, len(dst)), w, []int{i})
}
