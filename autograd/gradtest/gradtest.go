// Package gradtest compares the gradients of operations with central differences in double precision.
package gradtest

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"gorgonia.org/tensor"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
)

// Options configure a check.
type Options struct {
	// Lengths are the lengths of the documents in the batch.
	Lengths []int
	// Vocabulary is the number of token ids and labels; 0 means 11.
	Vocabulary int
	// Seed determines the parameters, tokens, and labels.
	Seed uint64
	// Build records the graph and returns one of its values: (rows, width), or the scalar of a CrossEntropy. The
	// parameters have the shapes given to Check.
	Build func(g *ag.Graph, p []ag.Var) ag.Var
	// Frozen lists the indexes of parameters without a gradient.
	Frozen []int
	// Segment, if above 0, runs the graph in segments of that many rows.
	Segment int
}

// tolerance bounds the difference between a gradient and a central difference, relative to 1 + its magnitude. With a
// step of 1e-5, the error of central differences in float64 is about 1e-9.
const tolerance = 2e-6

// Check fails t unless every gradient of the loss agrees with a central difference. The loss is the scalar that Build
// returns, or the cross entropy of a fixed random projection of its rows.
func Check(t *testing.T, o Options, shapes ...[]int) {
	t.Helper()
	c := newCheck(t, o, shapes)
	c.step()
	// The losses below do not depend on the number of threads, and on values this small the threads only wait for each
	// other.
	defer kernel.SetThreads(kernel.Threads())
	kernel.SetThreads(1)
	for i, p := range c.params {
		if p.Grad == nil {
			continue
		}
		for _, k := range sample(p.Size(), c.rng) {
			got, want := p.Grad.Float64s()[k], c.difference(p, k)
			if math.Abs(got-want) > tolerance*(1+math.Abs(want)) || math.IsNaN(got) {
				t.Fatalf("%s: gradient of parameter %d %v at %d: got %.9g, central difference %.9g", t.Name(), i, p.Shape(), k, got, want)
			}
		}
	}
}

type check struct {
	t      *testing.T
	params []*ag.Param
	prog   *ag.Program
	batch  ag.Batch
	rng    *rand.Rand
}

func newCheck(t *testing.T, o Options, shapes [][]int) *check {
	c := &check{t: t, rng: rand.New(rand.NewPCG(o.Seed, 1))}
	for i, s := range shapes {
		p := ag.NewParam(fmt.Sprintf("p%d", i), tensor.New(tensor.WithShape(s...), tensor.WithBacking(normal(size(s), c.rng))))
		if err := p.Train(); err != nil {
			t.Fatal(err)
		}
		c.params = append(c.params, p)
	}
	for _, i := range o.Frozen {
		c.params[i].Freeze()
	}
	v := o.Vocabulary
	if v == 0 {
		v = 11
	}
	c.batch = Batch(o.Lengths, v, c.rng)
	// The graph has room for more rows than the batch, which must not matter.
	graph := ag.Options{Rows: len(c.batch.Tokens) + 3, Float64: true}
	if o.Segment > 0 {
		graph.Rows, graph.Segments = o.Segment, true
	}
	g := ag.NewGraph(graph)
	vars := make([]ag.Var, len(c.params))
	for i, p := range c.params {
		vars[i] = g.Param(p)
	}
	y := o.Build(g, vars)
	if g.Err() == nil && y.Shape() != nil {
		head := ag.NewParam("head", tensor.New(tensor.WithShape(v, y.Shape()[1]), tensor.WithBacking(normal(v*y.Shape()[1], c.rng))))
		y = ag.CrossEntropy(y, g.Param(head), ag.LowRank{}, ag.LossOptions{})
	}
	prog, err := g.Compile(y)
	if err != nil {
		t.Fatal(err)
	}
	c.prog = prog
	return c
}

// Batch returns documents of the given lengths with random tokens. About one label in five is NoLabel.
func Batch(lengths []int, vocabulary int, rng *rand.Rand) ag.Batch {
	var b ag.Batch
	for _, n := range lengths {
		b.Starts = append(b.Starts, len(b.Tokens))
		for range n {
			id := rng.IntN(vocabulary)
			b.Tokens, b.Labels = append(b.Tokens, id), append(b.Labels, id)
			if rng.IntN(5) == 0 {
				b.Labels[len(b.Labels)-1] = ag.NoLabel
			}
		}
	}
	return b
}

const scale = 0.25

func (c *check) step() {
	c.t.Helper()
	if _, err := c.prog.Step(context.Background(), ag.Step{Batch: c.batch, Scale: scale, Seed: 5}); err != nil {
		c.t.Fatal(err)
	}
}

// difference returns (L(p+h) − L(p−h)) / 2h, scaled like the gradients. It uses training runs, so that dropout applies,
// and preserves the gradients.
func (c *check) difference(p *ag.Param, k int) float64 {
	const h = 1e-5
	d := p.Value.Float64s()
	x := d[k]
	d[k] = x + h
	up := c.loss()
	d[k] = x - h
	down := c.loss()
	d[k] = x
	return scale * (up - down) / (2 * h)
}

func (c *check) loss() float64 {
	c.t.Helper()
	saved := make([][]float64, len(c.params))
	for i, p := range c.params {
		if p.Grad != nil {
			saved[i] = append(saved[i], p.Grad.Float64s()...)
		}
	}
	l, err := c.prog.Step(context.Background(), ag.Step{Batch: c.batch, Scale: scale, Seed: 5})
	if err != nil {
		c.t.Fatal(err)
	}
	for i, p := range c.params {
		if p.Grad != nil {
			copy(p.Grad.Float64s(), saved[i])
		}
	}
	return l.Sum
}

// sample returns all indexes of a small parameter, or forty of a large one.
func sample(n int, rng *rand.Rand) []int {
	if n <= 60 {
		all := make([]int, n)
		for i := range all {
			all[i] = i
		}
		return all
	}
	return rng.Perm(n)[:40]
}

func normal(n int, rng *rand.Rand) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = 0.5 * rng.NormFloat64()
	}
	return x
}

func size(s []int) int {
	n := 1
	for _, d := range s {
		n *= d
	}
	return n
}
