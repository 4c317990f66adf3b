package autograd_test

import (
	"slices"
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
		for what, trained := range map[string][]int{
			"adapters of in_proj":            {11, 12, 25, 26},
			"adapters of the first out_proj": {14, 15},
			"adapters of the last out_proj":  {28, 29},
			"an A_log":                       {23},
			"the last norm":                  {1},
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				gradtest.Check(t, gradtest.Options{Lengths: []int{5, 8}, Build: build, Frozen: others(len(shapes), trained)}, shapes...)
			})
		}
	}
}

// A value with two users that differentiate nothing else: Gorgonia adds these gradients.
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

// others returns the numbers below n that are not in these.
func others(n int, these []int) []int {
	var out []int
	for i := range n {
		if !slices.Contains(these, i) {
			out = append(out, i)
		}
	}
	return out
}
