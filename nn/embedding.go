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
	for t, id := range ids {
		readRow(y.Row(t), e.Weight, id)
	}
	e.Adapter.lookup(e.Weight, y, ids)
}

// readRow copies row i of a matrix to dst, widening bfloat16.
func readRow(dst []float32, w *ag.Param, i int) {
	n := len(dst)
	if w.IsBF16() {
		kernel.WidenBF16(dst, w.BF16s()[i*n:(i+1)*n])
		return
	}
	copy(dst, w.Float32s()[i*n:(i+1)*n])
}
