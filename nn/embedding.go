package nn

import (
	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
)

// Embedding is a table with one row per token id and an optional low-rank change.
type Embedding struct {
	Weight  *ag.Param // (v, m)
	LowRank *LowRank  // or nil
}

// Forward records the lookup of ids. The result is (rows, m).
func (e *Embedding) Forward(ids ag.Var) ag.Var {
	g := ids.Graph()
	return ag.Embedding(g.Param(e.Weight), ids, e.LowRank.record(g))
}

// Apply writes the rows for ids to y (len(ids), m). Every id must be within the table.
func (e *Embedding) Apply(y kernel.Mat[float32], ids []int) {
	e.Weight.Gather(y, ids)
	e.LowRank.lookup(e.Weight, y, ids)
}
