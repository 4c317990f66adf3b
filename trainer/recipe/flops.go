package recipe

import (
	ag "mambatrain/autograd"
	"mambatrain/mamba"
)

// WorkOf returns the work of one pass over documents with the given total numbers of tokens and labels. The backward
// part includes only the gradients that trainable parameters need: none for frozen weights, and none for inputs below
// the first trainable parameter.
func WorkOf(m *mamba.Model, rows, labels int) ag.Work {
	g := ag.NewGraph(ag.Options{Rows: rows})
	m.Loss(g)
	return g.Work(labels)
}
