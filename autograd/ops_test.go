package autograd_test

import (
	"strings"
	"testing"

	ag "mambatrain/autograd"
	"mambatrain/autograd/gradtest"
	"mambatrain/autograd/kernel"
)

// Document lengths: several documents, odd lengths, and a single row.
var lengths = [][]int{{1}, {7}, {5, 1, 9}, {2, 17, 3, 1}}

func check(t *testing.T, build func(g *ag.Graph, p []ag.Var) ag.Var, shapes ...[]int) {
	t.Helper()
	for i, l := range lengths {
		if l[0] == 1 && len(l) == 1 {
			l = []int{2}
		}
		gradtest.Check(t, gradtest.Options{Lengths: l, Seed: uint64(i), Build: build}, shapes...)
	}
}

// lookup returns an input with a gradient for every row: the embedding of the tokens.
func lookup(g *ag.Graph, table ag.Var) ag.Var { return ag.Embedding(table, g.Tokens(), ag.LowRank{}) }

func TestEmbeddingGrad(t *testing.T) {
	check(t, func(g *ag.Graph, p []ag.Var) ag.Var { return lookup(g, p[0]) }, []int{11, 5})
}

func TestEmbeddingLowRankGrad(t *testing.T) {
	check(t, func(g *ag.Graph, p []ag.Var) ag.Var {
		return ag.Embedding(p[0], g.Tokens(), ag.LowRank{A: p[1], B: p[2], Scale: 1.5})
	}, []int{11, 5}, []int{3, 11}, []int{5, 3})
}

func TestLinearGrad(t *testing.T) {
	check(t, func(g *ag.Graph, p []ag.Var) ag.Var {
		return ag.Linear(lookup(g, p[0]), p[1], p[2], ag.LowRank{})
	}, []int{11, 5}, []int{7, 5}, []int{7})
}

func TestLinearLowRankGrad(t *testing.T) {
	for name, lr := range map[string]ag.LowRank{
		"plain":   {Scale: 2},
		"dropout": {Scale: 2, Dropout: 0.4},
		"group":   {Scale: 0.5, From: 2, To: 5},
	} {
		t.Run(name, func(t *testing.T) {
			out := 7
			if lr.To > 0 {
				out = lr.To - lr.From
			}
			check(t, func(g *ag.Graph, p []ag.Var) ag.Var {
				lr.A, lr.B = p[2], p[3]
				return ag.Linear(lookup(g, p[0]), p[1], ag.Var{}, lr)
			}, []int{11, 5}, []int{7, 5}, []int{3, 5}, []int{out, 3})
		})
	}
}

func TestRMSNormGrad(t *testing.T) {
	check(t, func(g *ag.Graph, p []ag.Var) ag.Var { return ag.RMSNorm(lookup(g, p[0]), p[1], 1e-5) }, []int{11, 6}, []int{6})
}

func TestConv1dGrad(t *testing.T) {
	for _, act := range []kernel.Activation{kernel.Identity, kernel.SiLU, kernel.GELU} {
		for _, k := range []int{1, 3, 4} {
			check(t, func(g *ag.Graph, p []ag.Var) ag.Var {
				return ag.Conv1d(ag.ConvInput{X: lookup(g, p[0]), W: p[1], Bias: p[2], Act: act})
			},
				[]int{11, 9}, []int{5, 1, k}, []int{5})
		}
	}
}

func TestConv1d_unknownActivation(t *testing.T) {
	g := ag.NewGraph(ag.Options{Rows: 8})
	x, w := lookup(g, g.Param(param(t, "table", 1, 11, 4))), g.Param(param(t, "w", 2, 4, 1, 4))
	ag.Conv1d(ag.ConvInput{X: x, W: w, Act: kernel.Sigmoid + 1})
	if err := g.Err(); err == nil || !strings.Contains(err.Error(), "unknown activation 7") {
		t.Errorf("got %v, want an error", err)
	}
}

func TestSelectiveScanGrad(t *testing.T) {
	const d, n = 5, 3
	for name, gated := range map[string]bool{"gated": true, "plain": false} {
		t.Run(name, func(t *testing.T) {
			check(t, func(g *ag.Graph, p []ag.Var) ag.Var {
				in := ag.ScanInput{U: lookup(g, p[0]), DT: lookup(g, p[1]), X: lookup(g, p[2]), ALog: p[4], D: p[5]}
				if gated {
					in.Z = lookup(g, p[3])
				} else {
					return ag.Add(ag.SelectiveScan(in), ag.Columns(lookup(g, p[3]), d, 2*d))
				}
				return ag.SelectiveScan(in)
			}, []int{11, d}, []int{11, d}, []int{11, 2*n + 2}, []int{11, 2 * d}, []int{d, n}, []int{d})
		})
	}
}

// The same value is used for several inputs, so their gradients share one buffer.
func TestSelectiveScanSharedInput(t *testing.T) {
	const d, n = 6, 3
	check(t, func(g *ag.Graph, p []ag.Var) ag.Var {
		x := lookup(g, p[0])
		return ag.SelectiveScan(ag.ScanInput{U: x, DT: x, X: x, Z: x, ALog: p[1], D: p[2]})
	}, []int{11, d}, []int{d, n}, []int{d})
}

// A document longer than a chunk of the scan's saved states.
func TestSelectiveScanGradLong(t *testing.T) {
	const d, n = 2, 3
	gradtest.Check(t, gradtest.Options{Lengths: []int{70, 150}, Build: func(g *ag.Graph, p []ag.Var) ag.Var {
		return ag.SelectiveScan(ag.ScanInput{U: lookup(g, p[0]), DT: lookup(g, p[1]), X: lookup(g, p[2]), ALog: p[3], D: p[4]})
	}}, []int{11, d}, []int{11, d}, []int{11, 2 * n}, []int{d, n}, []int{d})
}

func TestNoiseGrad(t *testing.T) {
	check(t, func(g *ag.Graph, p []ag.Var) ag.Var {
		x := ag.Noise(lookup(g, p[0]), 5)
		return ag.Add(x, ag.Noise(x, 3))
	}, []int{11, 5})
}

func TestCrossEntropyGrad(t *testing.T) {
	for name, smoothing := range map[string]float64{"plain": 0, "smoothed": 0.1} {
		t.Run(name, func(t *testing.T) {
			check(t, func(g *ag.Graph, p []ag.Var) ag.Var {
				return ag.CrossEntropy(lookup(g, p[0]), p[1], ag.LowRank{A: p[2], B: p[3], Scale: 0.7}, ag.LossOptions{Smoothing: smoothing})
			}, []int{11, 5}, []int{11, 5}, []int{2, 5}, []int{11, 2})
		})
	}
}

// block is a miniature Mamba block with all the fan-out of the real one.
func block(g *ag.Graph, x ag.Var, p []ag.Var, dropout float64) ag.Var {
	const r = 2
	xz := ag.Linear(ag.RMSNorm(x, p[0], 1e-5), p[1], ag.Var{}, ag.LowRank{A: p[9], B: p[10], Scale: 1, Dropout: dropout})
	u := ag.Conv1d(ag.ConvInput{X: xz, W: p[2], Bias: p[3], Act: kernel.SiLU})
	s := ag.Linear(u, p[4], ag.Var{}, ag.LowRank{})
	dt := ag.Linear(ag.Columns(s, 0, r), p[5], p[6], ag.LowRank{})
	y := ag.SelectiveScan(ag.ScanInput{U: u, DT: dt, X: s, Z: xz, ALog: p[7], D: p[8]})
	return ag.Add(x, ag.Linear(y, p[11], ag.Var{}, ag.LowRank{A: p[12], B: p[13], Scale: 1}))
}

var blockShapes = [][]int{{4}, {12, 4}, {6, 1, 4}, {6}, {8, 6}, {6, 2}, {6}, {6, 3}, {6}, {2, 4}, {12, 2}, {4, 6}, {2, 6}, {4, 2}}

// modelOptions select the variant of the miniature model.
type modelOptions struct {
	checkpoint bool
	dropout    float64
}

func model(o modelOptions) (func(g *ag.Graph, p []ag.Var) ag.Var, [][]int) {
	shapes := append([][]int{{11, 4}, {4}}, blockShapes...)
	shapes = append(shapes, blockShapes...)
	return func(g *ag.Graph, p []ag.Var) ag.Var {
		x := lookup(g, p[0])
		for l := range 2 {
			q := p[2+l*len(blockShapes):]
			if o.checkpoint {
				in := x
				x = g.Checkpoint(func() ag.Var { return block(g, in, q, o.dropout) })
			} else {
				x = block(g, x, q, o.dropout)
			}
		}
		return ag.CrossEntropy(ag.RMSNorm(x, p[1], 1e-5), p[0], ag.LowRank{}, ag.LossOptions{})
	}, shapes
}
