package autograd_test

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	ag "mambatrain/autograd"
	"mambatrain/autograd/gradtest"
	"mambatrain/autograd/kernel"
)

var noLimit = [2]float64{0, math.Inf(1)}

// ssdSize is the size of an SSD in tests: heads, groups, channels per head, states.
type ssdSize struct{ h, g, p, n int }

func (s ssdSize) xbc() int { return s.h*s.p + 2*s.g*s.n }

// Row by row and in chunks; with one, two, and three groups; without limits and with limits that take effect.
func TestSSDGrad(t *testing.T) {
	for _, c := range []struct {
		ssdSize
		chunk int
		limit [2]float64
	}{
		{ssdSize{2, 1, 3, 2}, 0, noLimit}, {ssdSize{2, 1, 3, 2}, 4, [2]float64{0.5, 0.9}}, {ssdSize{4, 2, 2, 3}, 4, noLimit}, {ssdSize{3, 3, 1, 2}, 1, noLimit},
	} {
		check(t, func(g *ag.Graph, p []ag.Var) ag.Var {
			return ag.SSD(ag.SSDInput{XBC: lookup(g, p[0]), DT: lookup(g, p[1]), DTBias: p[2], ALog: p[3], D: p[4], Groups: c.g, State: c.n, Limit: c.limit, Chunk: c.chunk})
		}, []int{11, c.xbc()}, []int{11, c.h + 2}, []int{c.h}, []int{c.h}, []int{c.h})
	}
}

// The same value is used for both inputs, so their gradients share one buffer.
func TestSSDSharedInput(t *testing.T) {
	s := ssdSize{2, 1, 3, 2}
	check(t, func(g *ag.Graph, p []ag.Var) ag.Var {
		x := lookup(g, p[0])
		return ag.SSD(ag.SSDInput{XBC: x, DT: x, DTBias: p[1], ALog: p[2], D: p[3], Groups: s.g, State: s.n, Limit: noLimit, Chunk: 5})
	}, []int{11, s.xbc()}, []int{s.h}, []int{s.h}, []int{s.h})
}

// Documents longer than a chunk, with only some parameters trainable.
func TestSSDGradLong(t *testing.T) {
	s := ssdSize{2, 1, 2, 3}
	for _, frozen := range [][]int{nil, {1, 2, 3}, {0, 1, 2, 4}} {
		gradtest.Check(t, gradtest.Options{Lengths: []int{70, 30}, Frozen: frozen, Build: func(g *ag.Graph, p []ag.Var) ag.Var {
			return ag.SSD(ag.SSDInput{XBC: lookup(g, p[0]), DT: lookup(g, p[1]), DTBias: p[2], ALog: p[3], D: p[4], Groups: s.g, State: s.n, Limit: noLimit, Chunk: 16})
		}}, []int{11, s.xbc()}, []int{11, s.h}, []int{s.h}, []int{s.h}, []int{s.h})
	}
}

func TestSSDErrors(t *testing.T) {
	for name, c := range map[string]struct {
		groups, state int
		limit         [2]float64
		chunk         int
		want          string
	}{
		"groups do not divide heads": {2, 1, noLimit, 0, "2 groups of 1 states"},
		"no state":                   {1, 0, noLimit, 0, "1 groups of 0 states"},
		"too many states":            {1, 5, noLimit, 0, "1 groups of 5 states"},
		"limits in the wrong order":  {1, 2, [2]float64{0.2, 0.1}, 0, "time step limit is [0.2 0.1]"},
		"limit is not a number":      {1, 2, [2]float64{math.NaN(), 1}, 0, "time step limit is [NaN 1]"},
		"negative chunk":             {1, 2, noLimit, -1, "the chunk must not be negative"},
	} {
		g := ag.NewGraph(ag.Options{Rows: 8})
		head := func(seed uint64) ag.Var { return g.Param(param(t, "head", seed, 3)) }
		x := lookup(g, g.Param(param(t, "table", 1, 11, 10)))
		ag.SSD(ag.SSDInput{XBC: x, DT: x, DTBias: head(2), ALog: head(3), D: head(4), Groups: c.groups, State: c.state, Limit: c.limit, Chunk: c.chunk})
		if err := g.Err(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
	}
}

func TestGatedRMSNormGrad(t *testing.T) {
	for _, groups := range []int{1, 2, 3} {
		check(t, func(g *ag.Graph, p []ag.Var) ag.Var {
			return ag.GatedRMSNorm(lookup(g, p[0]), lookup(g, p[1]), p[2], groups, 1e-5)
		}, []int{11, 6}, []int{11, 9}, []int{6})
	}
	check(t, func(g *ag.Graph, p []ag.Var) ag.Var {
		x := lookup(g, p[0])
		return ag.GatedRMSNorm(x, x, p[1], 2, 1e-5)
	}, []int{11, 6}, []int{6})
}

func TestNormalizeGrad(t *testing.T) {
	check(t, func(g *ag.Graph, p []ag.Var) ag.Var {
		x := lookup(g, p[0])
		return ag.Add(ag.Normalize(x, 1e-5, 5, 2, 2), ag.Normalize(x, 1e-5, 9))
	}, []int{11, 9})
}

// block2 is a miniature Mamba-2 block: four heads of two channels in two groups of three states.
func block2(x ag.Var, p []ag.Var) ag.Var {
	const e, gn, heads = 8, 6, 4
	in := ag.Linear(ag.RMSNorm(x, p[0], 1e-5), p[1], ag.Var{}, ag.LowRank{})
	xbc := ag.Conv1d(ag.ConvInput{X: in, From: e, W: p[2], Bias: p[3], Act: kernel.SiLU})
	y := ag.SSD(ag.SSDInput{XBC: xbc, DT: in, DTBias: p[4], ALog: p[5], D: p[6], Groups: 2, State: 3, Limit: [2]float64{0.2, 2}, Chunk: 4})
	return ag.Add(x, ag.Linear(ag.GatedRMSNorm(y, in, p[7], 2, 1e-5), p[8], ag.Var{}, ag.LowRank{}))
}

var block2Shapes = [][]int{{5}, {32, 5}, {20, 1, 4}, {20}, {4}, {4}, {4}, {8}, {5, 8}}

func model2(checkpoint bool) (func(g *ag.Graph, p []ag.Var) ag.Var, [][]int) {
	shapes := append([][]int{{11, 5}}, block2Shapes...)
	shapes = append(shapes, block2Shapes...)
	return func(g *ag.Graph, p []ag.Var) ag.Var {
		x := lookup(g, p[0])
		for l := range 2 {
			in, q := x, p[1+l*len(block2Shapes):]
			if checkpoint {
				x = g.Checkpoint(func() ag.Var { return block2(in, q) })
			} else {
				x = block2(in, q)
			}
		}
		return ag.CrossEntropy(x, p[0], ag.LowRank{}, ag.LossOptions{})
	}, shapes
}

func TestModel2Grad(t *testing.T) {
	for name, checkpoint := range map[string]bool{"kept": false, "checkpointed": true} {
		t.Run(name, func(t *testing.T) {
			build, shapes := model2(checkpoint)
			gradtest.Check(t, gradtest.Options{Lengths: []int{5, 1, 9}, Build: build}, shapes...)
		})
	}
}

func newSmall2(t *testing.T, o ag.Options, checkpoint bool) *small {
	t.Helper()
	build, shapes := model2(checkpoint)
	s := &small{}
	g := ag.NewGraph(o)
	var vars []ag.Var
	for i, shape := range shapes {
		s.params = append(s.params, param(t, "p", uint64(i), shape...))
		vars = append(vars, g.Param(s.params[i]))
	}
	s.prog = compile(t, g, build(g, vars))
	return s
}

// The same properties for Mamba-2: packed documents equal separate ones, a checkpointed run is bit-identical to one
// that keeps everything, and a document split into two runs with carried state has the same loss as in one run.
func TestModel2Properties(t *testing.T) {
	packed, alone, again := newSmall2(t, ag.Options{Rows: 64}, false), newSmall2(t, ag.Options{Rows: 64}, false), newSmall2(t, ag.Options{Rows: 64}, true)
	b := batch(9, 1, 14, 5)
	got, same := step(t, packed.prog, b), step(t, again.prog, b)
	var sum float64
	for _, d := range slicesOf(b) {
		sum += step(t, alone.prog, d).Sum
	}
	if math.Abs(got.Sum-sum) > roundTolerance*sum {
		t.Fatalf("packed: %v, alone: %v", got.Sum, sum)
	}
	near(t, "gradients, packed and alone", packed.grads(), alone.grads())
	if same.Sum != got.Sum || !slices.Equal(packed.grads(), again.grads()) {
		t.Fatalf("checkpointed: loss %v, kept: %v, or gradients differ", same.Sum, got.Sum)
	}

	b = batch(30)
	whole := newSmall2(t, ag.Options{Rows: 30}, false)
	want, err := whole.prog.Eval(context.Background(), b)
	if err != nil {
		t.Fatal(err)
	}
	rows := slices.Clone(want.Rows)
	for _, cuts := range [][]int{{1}, {2, 3}, {29}, {10, 20}} {
		parts := newSmall2(t, ag.Options{Rows: 30, Carry: true}, false)
		from := 0
		for i, to := range append(slices.Clone(cuts), 30) {
			p := ag.Batch{Tokens: b.Tokens[from:to], Labels: b.Labels[from:to], Starts: []int{0}, Continues: i > 0}
			if to < 30 {
				p.Next, p.HasNext = b.Labels[to], true
			}
			l, err := parts.prog.Eval(context.Background(), p)
			if err != nil {
				t.Fatal(err)
			}
			for k, got := range l.Rows {
				if w := rows[from+k]; math.Abs(got-w) > roundTolerance*(1+w) {
					t.Fatalf("cut at %v: row %d has loss %v, want %v", cuts, from+k, got, w)
				}
			}
			from = to
		}
	}
}
