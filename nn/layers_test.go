package nn

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
)

// sameAbs bounds the difference between a layer in a graph and the same layer applied directly, in float32.
const sameAbs = 1e-5

func random(n int) []float32 {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

func param(name string, r *rand.Rand, shape ...int) *ag.Param {
	p := ag.Zeros(name, shape...)
	Normal(p, 0.5, r)
	return p
}

// eval runs a graph of one layer on embeddings of the given width.
func eval(t *testing.T, x []float32, width int, layer func(x ag.Var) ag.Var) []float32 {
	t.Helper()
	rows := len(x) / width
	g := ag.NewGraph(ag.Options{Rows: rows})
	y := layer(g.Embeds(width))
	p, err := g.Compile(ag.Var{}, y)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Eval(context.Background(), ag.Batch{Embeds: x, Starts: []int{0}}); err != nil {
		t.Fatal(err)
	}
	return p.Float32s(y)
}

func close(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i := range want {
		if d := math.Abs(float64(got[i] - want[i])); !(d <= sameAbs*(1+math.Abs(float64(want[i])))) {
			t.Fatalf("%s: element %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

// TestLinear compares the graph and the direct call with the definition in float64: with frozen and trainable weights,
// plain, with a bias, and with adapters.
func TestLinear(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const rows, in, out, rank = 5, 13, 17, 3
	x := random(rows * in)
	adapters := map[string]*LowRank{
		"plain":     nil,
		"adapter":   {A: param("A", r, rank, in), B: param("B", r, out, rank), Scale: 0.7},
		"row group": {A: param("A", r, rank, in), B: param("B", r, 6, rank), Scale: 0.7, From: 4, To: 10},
	}
	for what, a := range adapters {
		for _, bias := range []*ag.Param{nil, param("b", r, out)} {
			for _, train := range []bool{false, true} {
				l := &Linear{Weight: param("w", r, out, in), Bias: bias, LowRank: a}
				if train {
					l.Weight.Train()
				}
				want := linearByHand(l, x, rows)
				got := make([]float32, rows*out)
				l.Apply(kernel.Dense(got, rows, out), kernel.Dense(x, rows, in))
				close(t, what+" applied", got, want)
				close(t, what+" recorded", eval(t, x, in, l.Forward), want)
			}
		}
	}
}

func linearByHand(l *Linear, x []float32, rows int) []float32 {
	out, in := l.Out(), l.In()
	y := make([]float32, rows*out)
	for t := range rows {
		for i := range out {
			sum := 0.0
			for j := range in {
				sum += adaptedWeight(l, i, j) * float64(x[t*in+j])
			}
			if l.Bias != nil {
				sum += float64(l.Bias.Float32s()[i])
			}
			y[t*out+i] = float32(sum)
		}
	}
	return y
}

// adaptedWeight returns W[i, j] + Scale·(B·A)[i, j].
func adaptedWeight(l *Linear, i, j int) float64 {
	w := float64(l.Weight.Float32s()[i*l.In()+j])
	a := l.LowRank
	if a == nil || a.To > 0 && (i < a.From || i >= a.To) {
		return w
	}
	for k := range a.Rank() {
		w += a.Scale * float64(a.B.Float32s()[(i-a.From)*a.Rank()+k]) * float64(a.A.Float32s()[k*l.In()+j])
	}
	return w
}

// TestDoRA checks that the rows of the adapted weight have the norms given by Magnitude.
func TestDoRA(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	const in, out, rank = 13, 17, 3
	l := &Linear{Weight: param("w", r, out, in), LowRank: &LowRank{A: param("A", r, rank, in), B: param("B", r, out, rank), Scale: 0.7, Magnitude: param("m", r, out)}}
	for range 2 { // the second time with changed values
		x := make([]float32, in*in) // the identity, so the rows of y are the columns of the adapted weight
		for j := range in {
			x[j*in+j] = 1
		}
		y := make([]float32, in*out)
		l.Apply(kernel.Dense(y, in, out), kernel.Dense(x, in, in))
		for i := range out {
			square := 0.0
			for j := range in {
				square += float64(y[j*out+i]) * float64(y[j*out+i])
			}
			if want := math.Abs(float64(l.LowRank.Magnitude.Float32s()[i])); math.Abs(math.Sqrt(square)-want) > sameAbs {
				t.Fatalf("row %d has norm %v, want %v", i, math.Sqrt(square), want)
			}
		}
		Normal(l.LowRank.B, 1, r)
		l.LowRank.Invalidate()
	}
}

// TestDoRA_rowOfZeros checks that an output whose adapted weight is zero is zero, whatever its magnitude, with and
// without a graph.
func TestDoRA_rowOfZeros(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 6))
	const rows, in, out, rank, zero = 5, 13, 17, 3, 3
	dora := func(in int) *LowRank {
		a := &LowRank{A: param("A", r, rank, in), B: param("B", r, out, rank), Scale: 0.7, Magnitude: param("m", r, out)}
		clear(a.B.Float32s()[zero*rank : (zero+1)*rank])
		return a
	}
	x := random(rows * in)
	l := &Linear{Weight: param("w", r, out, in), LowRank: dora(in)}
	clear(l.Weight.Float32s()[zero*in : (zero+1)*in])
	want := slices.Clone(eval(t, x, in, l.Forward))
	y := kernel.Dense(make([]float32, rows*out), rows, out)
	l.Apply(y, kernel.Dense(x, rows, in))
	close(t, "linear", y.Data, want)

	e := &Embedding{Weight: param("e", r, 11, out), LowRank: dora(11)}
	for id := range 11 {
		e.Weight.Float32s()[id*out+zero] = 0
	}
	z := kernel.Dense(make([]float32, 3*out), 3, out)
	e.Apply(z, []int{4, 0, 10})
	for t0 := range 3 {
		if y.Row(t0)[zero] != 0 || z.Row(t0)[zero] != 0 {
			t.Errorf("row %d: linear gives %v, embedding %v, want 0", t0, y.Row(t0)[zero], z.Row(t0)[zero])
		}
	}
}

// TestGatedRMSNorm compares the graph and the direct call with the definition: each group has its own mean, and the
// gate comes before the norm.
func TestGatedRMSNorm(t *testing.T) {
	const rows, d, groups = 5, 12, 3
	n := &GatedRMSNorm{Weight: param("w", rand.New(rand.NewPCG(5, 8)), d), Groups: groups, Eps: 0.01}
	yz := random(rows * 2 * d) // each row contains y, then z
	want := make([]float32, rows*d)
	for i := range rows {
		v := make([]float64, d)
		for j := range v {
			y, z := float64(yz[i*2*d+j]), float64(yz[i*2*d+d+j])
			v[j] = y * z / (1 + math.Exp(-z))
		}
		for j := range v {
			square := 0.0
			for k := range d / groups {
				x := v[j/(d/groups)*(d/groups)+k]
				square += x * x / (d / groups)
			}
			want[i*d+j] = float32(float64(n.Weight.Float32s()[j]) * v[j] / math.Sqrt(square+n.Eps))
		}
	}
	both := kernel.Dense(yz, rows, 2*d)
	got := kernel.Dense(make([]float32, rows*d), rows, d)
	n.Apply(got, both.Slice(0, rows, 0, d), both.Slice(0, rows, d, 2*d))
	close(t, "applied", got.Data, want)
	close(t, "recorded", eval(t, yz, 2*d, func(x ag.Var) ag.Var { return n.Forward(ag.Columns(x, 0, d), ag.Columns(x, d, 2*d)) }), want)
}

// TestEmbedding compares the direct lookup and the graph with the definition, with and without an adapter.
func TestEmbedding(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	const v, m, rank = 11, 6, 2
	ids := []int{3, 3, 0, 10, 7}
	e := &Embedding{Weight: param("e", r, v, m)}
	for _, a := range []*LowRank{nil, {A: param("A", r, rank, v), B: param("B", r, m, rank), Scale: 1.5}} {
		e.LowRank = a
		want := make([]float32, len(ids)*m)
		for t, id := range ids {
			for j := range m {
				x := float64(e.Weight.Float32s()[id*m+j])
				if a != nil {
					for k := range rank {
						x += a.Scale * float64(a.A.Float32s()[k*v+id]) * float64(a.B.Float32s()[j*rank+k])
					}
				}
				want[t*m+j] = float32(x)
			}
		}
		got := make([]float32, len(ids)*m)
		e.Apply(kernel.Dense(got, len(ids), m), ids)
		close(t, "applied", got, want)

		g := ag.NewGraph(ag.Options{Rows: len(ids)})
		y := e.Forward(g.Tokens())
		p, err := g.Compile(ag.Var{}, y)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Eval(context.Background(), ag.Batch{Tokens: ids, Starts: []int{0}}); err != nil {
			t.Fatal(err)
		}
		close(t, "recorded", p.Float32s(y), want)
	}
}

// TestInitializers checks the moments and bounds of large samples, and that the same source gives the same bits.
func TestInitializers(t *testing.T) {
	const n = 200_000
	sd := func(p *ag.Param) float64 {
		sum := 0.0
		for _, x := range p.Float32s() {
			sum += float64(x) * float64(x)
		}
		return math.Sqrt(sum / n)
	}
	p, q := ag.Zeros("p", n), ag.Zeros("q", n)
	Normal(p, 0.02, rand.New(rand.NewPCG(1, 2)))
	Normal(q, 0.02, rand.New(rand.NewPCG(1, 2)))
	for i := range n {
		if p.Float32s()[i] != q.Float32s()[i] {
			t.Fatal("the same source gives different draws")
		}
	}
	// The standard error of a standard deviation estimated from n draws is 1/√(2n) of it; allow four.
	if got := sd(p); math.Abs(got-0.02) > 0.02*4/math.Sqrt(2*n) {
		t.Errorf("standard deviation %v, want 0.02", got)
	}
	FanIn(p, 16, rand.New(rand.NewPCG(1, 2)))
	for _, x := range p.Float32s() {
		if math.Abs(float64(x)) > 0.25 {
			t.Fatalf("%v lies outside ±1/√16", x)
		}
	}
	if got, want := sd(p), 0.25/math.Sqrt(3); math.Abs(got-want) > 0.01*want {
		t.Errorf("standard deviation %v, want %v", got, want)
	}
}
