package autograd_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	ag "mambatrain/autograd"
)

// small is the two-layer model of the gradient checks, in float32.
type small struct {
	params []*ag.Param
	prog   *ag.Program
}

func newSmall(t *testing.T, o ag.Options, m modelOptions) *small {
	t.Helper()
	build, shapes := model(m)
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

func (s *small) grads() []float32 {
	var all []float32
	for _, p := range s.params {
		all = append(all, p.GradFloat32s()...)
	}
	return all
}

func (s *small) zero() {
	for _, p := range s.params {
		p.ZeroGrad()
	}
}

// roundTolerance bounds the effect of the order of float32 sums in this model.
const roundTolerance = 1e-5

func near(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i, w := range want {
		if math.Abs(float64(got[i]-w)) > roundTolerance*(1+math.Abs(float64(w))) {
			t.Fatalf("%s: element %d is %v, want %v", what, i, got[i], w)
		}
	}
}

func slicesOf(b ag.Batch) []ag.Batch {
	var out []ag.Batch
	for i, s := range b.Starts {
		end := b.End(i)
		out = append(out, ag.Batch{Tokens: b.Tokens[s:end], Labels: b.Labels[s:end], Starts: []int{0}})
	}
	return out
}

// Documents packed into one run give the same loss and gradients as separate runs.
func TestPackedEqualsAlone(t *testing.T) {
	o := ag.Options{Rows: 64}
	packed, alone := newSmall(t, o, modelOptions{}), newSmall(t, o, modelOptions{})
	b := batch(9, 1, 14, 5)
	got := step(t, packed.prog, b)
	var sum float64
	tokens := 0
	for _, d := range slicesOf(b) {
		l := step(t, alone.prog, d)
		sum, tokens = sum+l.Sum, tokens+l.Tokens
	}
	if math.Abs(got.Sum-sum) > roundTolerance*sum || got.Tokens != tokens || tokens != b.Counted() {
		t.Fatalf("packed: %v over %d labels, alone: %v over %d, counted: %d", got.Sum, got.Tokens, sum, tokens, b.Counted())
	}
	near(t, "gradients", packed.grads(), alone.grads())
}

// A checkpointed run is bit-identical to one that keeps everything: a replay computes the same numbers, including
// dropout.
func TestCheckpointHasSameBits(t *testing.T) {
	kept, again := newSmall(t, ag.Options{Rows: 40}, modelOptions{dropout: 0.3}), newSmall(t, ag.Options{Rows: 40}, modelOptions{checkpoint: true, dropout: 0.3})
	for _, lengths := range [][]int{{40}, {3, 1, 20}} {
		b := batch(lengths...)
		kept.zero()
		again.zero()
		x, y := step(t, kept.prog, b), step(t, again.prog, b)
		if x.Sum != y.Sum || !slices.Equal(kept.grads(), again.grads()) {
			t.Fatalf("documents %v: loss %v and %v, or gradients differ", lengths, x.Sum, y.Sum)
		}
	}
	if kept.prog.Bytes() <= again.prog.Bytes() {
		t.Fatalf("checkpointing uses %d bytes, keeping everything %d", again.prog.Bytes(), kept.prog.Bytes())
	}
}

// A document split into two runs with carried state has the same loss as in one run, wherever it is split.
func TestCarryContinues(t *testing.T) {
	b := batch(30)
	whole := newSmall(t, ag.Options{Rows: 30}, modelOptions{})
	want, err := whole.prog.Eval(context.Background(), b)
	if err != nil {
		t.Fatal(err)
	}
	rows := slices.Clone(want.Rows)
	for _, cuts := range [][]int{{1}, {2, 3}, {29}, {10, 20}, {1, 2, 3, 4, 5}} {
		parts := newSmall(t, ag.Options{Rows: 30, Carry: true}, modelOptions{})
		var got []float64
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
			got, from = append(got, l.Rows...), to
		}
		for i, w := range rows {
			if math.Abs(got[i]-w) > roundTolerance*(1+w) {
				t.Fatalf("cut at %v: row %d has loss %v, want %v", cuts, i, got[i], w)
			}
		}
	}
}

// Truncated backpropagation through a carried state gives the same bits with and without checkpointing, and also after
// the state was saved and restored.
func TestCarryInTraining(t *testing.T) {
	b := batch(30)
	run := func(m modelOptions, disturb bool) ([]float32, float64) {
		s := newSmall(t, ag.Options{Rows: 30, Carry: true}, m)
		var sum float64
		for i, cut := range [][2]int{{0, 11}, {11, 17}, {17, 30}} {
			p := ag.Batch{Tokens: b.Tokens[cut[0]:cut[1]], Labels: b.Labels[cut[0]:cut[1]], Starts: []int{0}, Continues: i > 0}
			if disturb {
				aside := s.prog.Carried()
				if _, err := s.prog.Eval(context.Background(), batch(4, 5)); err != nil {
					t.Fatal(err)
				}
				if err := s.prog.SetCarried(aside); err != nil {
					t.Fatal(err)
				}
			}
			sum += step(t, s.prog, p).Sum
		}
		return s.grads(), sum
	}
	grads, sum := run(modelOptions{}, false)
	for _, m := range []modelOptions{{}, {checkpoint: true}} {
		for _, disturb := range []bool{false, true} {
			if g, l := run(m, disturb); l != sum || !slices.Equal(g, grads) {
				t.Fatalf("%+v, disturbed %v: loss %v, want %v, or gradients differ", m, disturb, l, sum)
			}
		}
	}
}

// A batch in parts gets the same dropout as the whole.
func TestPartsHaveSameDropout(t *testing.T) {
	o, m := ag.Options{Rows: 64}, modelOptions{dropout: 0.5}
	whole, parts := newSmall(t, o, m), newSmall(t, o, m)
	b := batch(9, 1, 14, 5)
	want := step(t, whole.prog, b).Sum
	var got float64
	row := 0
	for _, d := range slicesOf(b) {
		l, err := parts.prog.Step(context.Background(), ag.Step{Batch: d, Scale: 1, Seed: 3, FirstRow: row})
		if err != nil {
			t.Fatal(err)
		}
		got, row = got+l.Sum, row+len(d.Tokens)
	}
	if math.Abs(got-want) > roundTolerance*want {
		t.Fatalf("in parts: %v, whole: %v", got, want)
	}
	near(t, "gradients", parts.grads(), whole.grads())
}

// Ready is called once for each parameter, when its gradient has its final value.
func TestReady(t *testing.T) {
	for _, c := range []struct {
		o ag.Options
		m modelOptions
	}{{o: ag.Options{Rows: 20}}, {ag.Options{Rows: 20}, modelOptions{checkpoint: true}}, {o: ag.Options{Rows: 7, Segments: true}}} {
		s := newSmall(t, c.o, c.m)
		early := map[*ag.Param][]float32{}
		_, err := s.prog.Step(context.Background(), ag.Step{Batch: batch(8, 12), Scale: 1, Ready: func(p *ag.Param) {
			if early[p] != nil {
				t.Errorf("%s was ready twice", p.Name)
			}
			early[p] = slices.Clone(p.GradFloat32s())
		}})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range s.params {
			if !slices.Equal(early[p], p.GradFloat32s()) {
				t.Errorf("a gradient of shape %v changed after it was ready", p.Shape())
			}
		}
	}
}

// Eval gives the same loss as Step, except for dropout, and does not change the gradients.
func TestEvalLeavesGradients(t *testing.T) {
	s := newSmall(t, ag.Options{Rows: 20}, modelOptions{checkpoint: true})
	b := batch(8, 12)
	step(t, s.prog, b)
	before := s.grads()
	if _, err := s.prog.Eval(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(before, s.grads()) {
		t.Fatal("Eval changed gradients")
	}
}

func TestBatchErrors(t *testing.T) {
	s := newSmall(t, ag.Options{Rows: 8}, modelOptions{})
	ok := ag.Batch{Tokens: []int{1, 2, 3}, Labels: []int{1, 2, 3}, Starts: []int{0}}
	for name, spoil := range map[string]func(b *ag.Batch){
		"no rows":                  func(b *ag.Batch) { b.Tokens, b.Labels = nil, nil },
		"too long":                 func(b *ag.Batch) { b.Tokens, b.Labels = make([]int, 9), make([]int, 9) },
		"labels missing":           func(b *ag.Batch) { b.Labels = b.Labels[:2] },
		"no start":                 func(b *ag.Batch) { b.Starts = nil },
		"first start not 0":        func(b *ag.Batch) { b.Starts = []int{1} },
		"starts not ascending":     func(b *ag.Batch) { b.Starts = []int{0, 2, 2} },
		"start out of range":       func(b *ag.Batch) { b.Starts = []int{0, 3} },
		"label out of range":       func(b *ag.Batch) { b.Labels = []int{1, 2, 11} },
		"token out of range":       func(b *ag.Batch) { b.Tokens = []int{1, -1, 2} },
		"nothing to continue from": func(b *ag.Batch) { b.Continues = true },
	} {
		b := ok
		spoil(&b)
		if _, err := s.prog.Eval(context.Background(), b); err == nil || strings.Contains(err.Error(), "instruction") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := s.prog.Eval(context.Background(), ok); err != nil {
		t.Errorf("good batch after bad ones: %v", err)
	}
}

// A graph of embeddings does not run on those of the previous batch, nor drop the end of a row.
func TestBadEmbeds(t *testing.T) {
	g := ag.NewGraph(ag.Options{Rows: 4})
	prog := compile(t, g, ag.Var{}, ag.RMSNorm(g.Embeds(3), g.Param(param(t, "w", 1, 3)), 1e-5))
	for _, b := range []ag.Batch{{Tokens: []int{1, 2}, Starts: []int{0}}, {Embeds: make([]float32, 7), Starts: []int{0}}} {
		if _, err := prog.Eval(context.Background(), b); err == nil {
			t.Errorf("%d tokens and %d numbers: no error", len(b.Tokens), len(b.Embeds))
		}
	}
}

func TestCanceledRun(t *testing.T) {
	s := newSmall(t, ag.Options{Rows: 8}, modelOptions{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.prog.Eval(ctx, batch(8)); !errors.Is(err, context.Canceled) || err.Error() != "autograd: run: context canceled" {
		t.Errorf("Eval: got %v", err)
	}
	if _, err := s.prog.Step(ctx, ag.Step{Batch: batch(8), Scale: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("Step: got %v", err)
	}
}

// What cannot be compiled is an error, not a panic or a program that computes something else.
func TestCompile_refused(t *testing.T) {
	table := param(t, "table", 1, 11, 4)
	loss := func(g *ag.Graph, o ag.LossOptions, lr ag.LowRank) ag.Var {
		return ag.CrossEntropy(lookup(g, g.Param(table)), g.Param(table), lr, o)
	}
	other := ag.NewGraph(ag.Options{Rows: 4})
	of := loss(other, ag.LossOptions{}, ag.LowRank{})
	trained := param(t, "trained", 4, 11, 4)
	if err := trained.Train(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]func(g *ag.Graph) (ag.Var, []ag.Var){
		"the loss of another graph":   func(g *ag.Graph) (ag.Var, []ag.Var) { return of, nil },
		"a value of another graph":    func(g *ag.Graph) (ag.Var, []ag.Var) { return loss(g, ag.LossOptions{}, ag.LowRank{}), []ag.Var{of} },
		"a loss that is not a scalar": func(g *ag.Graph) (ag.Var, []ag.Var) { return lookup(g, g.Param(trained)), nil },
		"an absent value and no loss": func(g *ag.Graph) (ag.Var, []ag.Var) { return ag.Var{}, []ag.Var{{}} },
		"too much smoothing":          func(g *ag.Graph) (ag.Var, []ag.Var) { return loss(g, ag.LossOptions{Smoothing: 2}, ag.LowRank{}), nil },
		"noise with a negative scale": func(g *ag.Graph) (ag.Var, []ag.Var) { return ag.Noise(lookup(g, g.Param(table)), -1), nil },
		"embeddings of two widths":    func(g *ag.Graph) (ag.Var, []ag.Var) { return ag.Var{}, []ag.Var{g.Embeds(3), g.Embeds(4)} },
		"embeddings without a width":  func(g *ag.Graph) (ag.Var, []ag.Var) { return ag.Var{}, []ag.Var{g.Embeds(0)} },
		"a branch without A": func(g *ag.Graph) (ag.Var, []ag.Var) {
			return loss(g, ag.LossOptions{}, ag.LowRank{B: g.Param(param(t, "b", 3, 11, 2))}), nil
		},
		"dropout of everything": func(g *ag.Graph) (ag.Var, []ag.Var) {
			lr := ag.LowRank{A: g.Param(param(t, "a", 2, 2, 4)), B: g.Param(param(t, "b", 3, 11, 2)), Scale: 1, Dropout: 1}
			return loss(g, ag.LossOptions{}, lr), nil
		},
	} {
		g := ag.NewGraph(ag.Options{Rows: 4})
		of, keep := c(g)
		if _, err := g.Compile(of, keep...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	g := ag.NewGraph(ag.Options{Rows: -1})
	if _, err := g.Compile(loss(g, ag.LossOptions{}, ag.LowRank{})); err == nil {
		t.Error("a negative number of rows: no error")
	}
}

// A label that no row predicts: no row counts, and the loss and the gradients are 0.
func TestNoLabelsCounted(t *testing.T) {
	s := newSmall(t, ag.Options{Rows: 8}, modelOptions{})
	b := ag.Batch{Tokens: []int{1, 2, 3}, Labels: []int{4, ag.NoLabel, ag.NoLabel}, Starts: []int{0}}
	if l := step(t, s.prog, b); l.Sum != 0 || l.Tokens != 0 {
		t.Fatalf("got %v over %d labels", l.Sum, l.Tokens)
	}
	for i, v := range s.grads() {
		if v != 0 {
			t.Fatalf("gradient %d is %v", i, v)
		}
	}
}

func BenchmarkStepOverhead(b *testing.B) {
	t := &testing.T{}
	s := newSmall(t, ag.Options{Rows: 2}, modelOptions{checkpoint: true})
	bt := batch(2)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.prog.Step(context.Background(), ag.Step{Batch: bt, Scale: 1}); err != nil {
			b.Fatal(err)
		}
	}
}
