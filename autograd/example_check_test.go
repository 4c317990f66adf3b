package autograd_test

import (
	"testing"

	ag "mambatrain/autograd"
	"mambatrain/autograd/gradtest"
)

// The gradient check of a new operation: odd sizes, documents of several lengths.
func TestSwishGradient(t *testing.T) {
	gradtest.Check(t, gradtest.Options{
		Lengths: []int{1, 4, 2},
		Build: func(g *ag.Graph, p []ag.Var) ag.Var {
			return Swish(ag.Embedding(p[0], g.Tokens(), ag.LowRank{}))
		},
	}, []int{11, 5})
}
