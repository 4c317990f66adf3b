package autograd_test

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"gorgonia.org/tensor"

	ag "mambatrain/autograd"
	"mambatrain/autograd/gradtest"
)

// The norm does not depend on the inputs, the bias, or the magnitude, so their gradients are plain derivatives.
func TestDoRAGrad(t *testing.T) {
	adapted := func(p []ag.Var, from, to int) ag.LowRank {
		return ag.LowRank{A: p[1], B: p[2], Magnitude: p[3], Scale: 1.5, Dropout: 0.25, From: from, To: to}
	}
	for name, c := range map[string]struct {
		build  func(g *ag.Graph, p []ag.Var) ag.Var
		shapes [][]int
	}{
		"linear": {func(g *ag.Graph, p []ag.Var) ag.Var {
			return ag.Linear(lookup(g, p[4]), p[0], p[5], adapted(p, 0, 0))
		}, [][]int{{70, 5}, {2, 5}, {70, 2}, {70}, {11, 5}, {70}}},
		"group": {func(g *ag.Graph, p []ag.Var) ag.Var {
			return ag.Linear(lookup(g, p[4]), p[0], ag.Var{}, adapted(p, 2, 5))
		}, [][]int{{7, 5}, {2, 5}, {3, 2}, {3}, {11, 5}}},
		"embedding": {func(g *ag.Graph, p []ag.Var) ag.Var {
			return ag.Embedding(p[0], g.Tokens(), adapted(p, 0, 0))
		}, [][]int{{11, 5}, {2, 11}, {5, 2}, {5}}},
		"head": {func(g *ag.Graph, p []ag.Var) ag.Var {
			return ag.CrossEntropy(lookup(g, p[4]), p[0], adapted(p, 0, 0), ag.LossOptions{})
		}, [][]int{{11, 5}, {2, 5}, {11, 2}, {11}, {11, 5}}},
	} {
		t.Run(name, func(t *testing.T) {
			gradtest.Check(t, gradtest.Options{Lengths: []int{3, 1, 9}, Frozen: []int{0, 1, 2}, Build: c.build}, c.shapes...)
		})
	}
}

// The gradients of W, A, and B are derivatives of the loss at a constant norm. To keep the quotient of magnitude and
// norm constant in the central differences, every change of a weight also rescales the magnitude.
func TestDoRAGradAtConstantNorm(t *testing.T) {
	const out, in, r, scale, h = 6, 5, 2, 1.5, 1e-5
	rng := rand.New(rand.NewPCG(4, 4))
	param := func(name string, shape ...int) *ag.Param {
		p := ag.NewParam(name, tensor.New(tensor.WithShape(shape...), tensor.Of(tensor.Float64)))
		for i, v := 0, p.Value.Float64s(); i < len(v); i++ {
			v[i] = rng.NormFloat64()
		}
		return p
	}
	for _, axis := range []string{"rows", "columns"} {
		w, a, b, m, x := param("w", out, in), param("a", r, in), param("b", out, r), param("m", out), param("x", 11, in)
		if axis == "columns" {
			w, a, b, m = param("w", 11, in), param("a", r, 11), param("b", in, r), param("m", in)
		}
		head := param("head", 11, m.Size())
		for _, p := range []*ag.Param{w, a, b} {
			if err := p.Train(); err != nil {
				t.Fatal(err)
			}
		}
		batch := gradtest.Batch([]int{4, 7}, 11, rng)
		g := ag.NewGraph(ag.Options{Rows: len(batch.Tokens), Float64: true})
		lr := ag.LowRank{A: g.Param(a), B: g.Param(b), Magnitude: g.Param(m), Scale: scale}
		var y ag.Var
		if axis == "rows" {
			y = ag.Linear(lookup(g, g.Param(x)), g.Param(w), ag.Var{}, lr)
		} else {
			y = ag.Embedding(g.Param(w), g.Tokens(), lr)
		}
		prog, err := g.Compile(ag.CrossEntropy(y, g.Param(head), ag.LowRank{}, ag.LossOptions{}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := prog.Step(context.Background(), ag.Step{Batch: batch, Scale: 1}); err != nil {
			t.Fatal(err)
		}
		norms := func() []float64 { return adaptedNorms(w, a, b, scale, axis) }
		before, magnitude := norms(), append([]float64(nil), m.Value.Float64s()...)
		loss := func() float64 {
			for i, n := range norms() {
				m.Value.Float64s()[i] = magnitude[i] * n / before[i]
			}
			l, err := prog.Eval(context.Background(), batch)
			if err != nil {
				t.Fatal(err)
			}
			return l.Sum
		}
		for _, p := range []*ag.Param{w, a, b} {
			for i, v := 0, p.Value.Float64s(); i < len(v); i++ {
				old := v[i]
				v[i] = old + h
				up := loss()
				v[i] = old - h
				down := loss()
				v[i] = old
				got, want := p.Grad.Float64s()[i], (up-down)/(2*h)
				if math.Abs(got-want) > 2e-6*(1+math.Abs(want)) {
					t.Fatalf("%s: gradient of %s at %d: got %.9g, central difference %.9g", axis, p.Name, i, got, want)
				}
			}
		}
	}
}

// adaptedNorms returns ‖w + scale·b·a‖ for each row, or for each column of a table.
func adaptedNorms(w, a, b *ag.Param, scale float64, axis string) []float64 {
	W, A, B := w.Value.Float64s(), a.Value.Float64s(), b.Value.Float64s()
	rows, cols, r := w.Shape()[0], w.Shape()[1], a.Shape()[0]
	norms := make([]float64, b.Shape()[0])
	for i := range rows {
		for j := range cols {
			x, k := W[i*cols+j], i
			for q := range r {
				if axis == "rows" {
					x += scale * B[i*r+q] * A[q*cols+j]
				} else {
					x += scale * B[j*r+q] * A[q*rows+i]
				}
			}
			if axis == "columns" {
				k = j
			}
			norms[k] += x * x
		}
	}
	for i, s := range norms {
		norms[i] = math.Sqrt(s)
	}
	return norms
}
