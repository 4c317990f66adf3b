package autograd_test

import (
	"testing"

	ag "mambatrain/autograd"
	"mambatrain/autograd/gradtest"
)

func TestModelGrad(t *testing.T) {
	for name, checkpoint := range map[string]bool{"kept": false, "checkpointed": true} {
		build, shapes := model(modelOptions{checkpoint, 0.2})
		t.Run(name, func(t *testing.T) {
			check(t, build, shapes...)
		})
		t.Run(name+"/some frozen", func(t *testing.T) {
			gradtest.Check(t, gradtest.Options{Lengths: []int{5, 8}, Build: build, Frozen: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 15, 16, 20}}, shapes...)
		})
	}
}

// A value with two users that have nothing else to differentiate: Gorgonia adds these gradients.
func TestSharedValueGrad(t *testing.T) {
	check(t, func(g *ag.Graph, p []ag.Var) ag.Var {
		x := lookup(g, p[0])
		return ag.Add(ag.Columns(x, 0, 3), ag.Columns(x, 2, 5))
	}, []int{11, 5})
	check(t, func(g *ag.Graph, p []ag.Var) ag.Var {
		x := lookup(g, p[0])
		return ag.Add(x, x)
	}, []int{11, 5})
	check(t, func(g *ag.Graph, p []ag.Var) ag.Var {
		x := lookup(g, p[0])
		y := ag.Add(ag.Columns(x, 0, 3), ag.Columns(x, 2, 5))
		return ag.Add(y, ag.Add(ag.Columns(x, 1, 4), ag.Linear(x, p[1], ag.Var{}, ag.LowRank{})))
	}, []int{11, 5}, []int{3, 5})
}
