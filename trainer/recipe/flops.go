package recipe

import (
	ag "mambatrain/autograd"
	"mambatrain/mamba"
)

// WorkOf counts one pass over documents of rows tokens in all, of which labels have something to predict. Backward counts
// the gradients that the trainable parameters ask for: no weight that is frozen has one, and no input below the first
// thing that trains.
func WorkOf(m *mamba.Model, rows, labels int) ag.Work {
	g := ag.NewGraph(ag.Options{Rows: rows})
	m.Loss(g)
	return g.Work(labels)
}
