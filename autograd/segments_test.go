package autograd_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"gorgonia.org/tensor"

	ag "mambatrain/autograd"
	"mambatrain/autograd/gradtest"
	"mambatrain/autograd/kernel"
)

// segmented is a model whose loss and gradients are compared between a whole batch and segments.
type segmented struct {
	build  func(g *ag.Graph, p []ag.Var) ag.Var
	shapes [][]int
}

func segmentedModels() map[string]segmented {
	of := func(o modelOptions) segmented {
		build, shapes := model(o)
		return segmented{build, shapes}
	}
	noisy := of(modelOptions{})
	noisy.build = func(g *ag.Graph, p []ag.Var) ag.Var {
		x := block(g, ag.Noise(lookup(g, p[0]), 5), p[2:], 0)
		return ag.CrossEntropy(ag.RMSNorm(x, p[1], 1e-5), p[0], ag.LowRank{}, ag.LossOptions{Smoothing: 0.2})
	}
	dora := of(modelOptions{})
	dora.shapes = append(dora.shapes, []int{2, 11}, []int{4, 2}, []int{4}, []int{2, 4}, []int{11, 2}, []int{11})
	dora.build = func(g *ag.Graph, p []ag.Var) ag.Var {
		q := p[len(p)-6:]
		adapted := func(q []ag.Var) ag.LowRank {
			return ag.LowRank{A: q[0], B: q[1], Magnitude: q[2], Scale: 1.5, Dropout: 0.25}
		}
		x := block(g, ag.Embedding(p[0], g.Tokens(), adapted(q)), p[2:], 0)
		return ag.CrossEntropy(ag.RMSNorm(x, p[1], 1e-5), p[0], adapted(q[3:]), ag.LossOptions{})
	}
	var two segmented
	two.build, two.shapes = model2(false)
	return map[string]segmented{
		"mamba1":       of(modelOptions{}),
		"dropout":      of(modelOptions{dropout: 0.5}),
		"checkpointed": of(modelOptions{checkpoint: true, dropout: 0.5}),
		"noise":        noisy,
		"dora table":   dora,
		"mamba2":       two,
	}
}

// compile builds the model in double precision, always with the same parameters.
func (s segmented) compile(t *testing.T, o ag.Options) (*ag.Program, []*ag.Param) {
	t.Helper()
	o.Float64 = true
	g := ag.NewGraph(o)
	var params []*ag.Param
	var vars []ag.Var
	for i, shape := range s.shapes {
		f := param(t, "p", uint64(i), shape...)
		wide := make([]float64, f.Size())
		for k, v := range f.Float32s() {
			wide[k] = float64(v)
		}
		p := ag.NewParam("p", tensor.New(tensor.WithShape(shape...), tensor.WithBacking(wide)))
		if err := p.Train(); err != nil {
			t.Fatal(err)
		}
		params, vars = append(params, p), append(vars, g.Param(p))
	}
	return compile(t, g, s.build(g, vars)), params
}

// segmentTolerance bounds the effect of the order of float64 sums, relative to the largest element of a gradient.
const segmentTolerance = 1e-12

// A batch in segments has the same loss and gradients as the whole batch, wherever documents and segments end.
func TestSegmentsEqualWhole(t *testing.T) {
	for name, m := range segmentedModels() {
		t.Run(name, func(t *testing.T) {
			for _, lengths := range [][]int{{23}, {9, 1, 14, 5}, {1, 1, 30}, {8, 8, 8}} {
				b := batch(lengths...)
				whole, want := m.compile(t, ag.Options{Rows: len(b.Tokens)})
				loss := step(t, whole, b)
				for _, rows := range []int{1, 2, 3, 7, 8, 16, 100} {
					prog, got := m.compile(t, ag.Options{Rows: rows, Segments: true})
					l := step(t, prog, b)
					if math.Abs(l.Sum-loss.Sum) > segmentTolerance*loss.Sum || l.Tokens != loss.Tokens {
						t.Fatalf("documents %v in segments of %d: loss %v of %d labels, want %v of %d", lengths, rows, l.Sum, l.Tokens, loss.Sum, loss.Tokens)
					}
					for i := range got {
						sameGradient(t, got[i].Grad.Float64s(), want[i].Grad.Float64s(), "documents %v in segments of %d: parameter %d", lengths, rows, i)
					}
				}
			}
		})
	}
}

func sameGradient(t *testing.T, got, want []float64, format string, args ...any) {
	t.Helper()
	largest := 0.0
	for _, w := range want {
		largest = max(largest, math.Abs(w))
	}
	for k, w := range want {
		if math.Abs(got[k]-w) > segmentTolerance*largest {
			t.Fatalf(format+": gradient %d is %.17g, want %.17g", append(args, k, got[k], w)...)
		}
	}
}

// A batch in segments that continues the previous one, and is itself continued, gives the same result as in one run.
func TestSegmentsCarry(t *testing.T) {
	m := segmentedModels()["mamba1"]
	b := batch(31)
	run := func(o ag.Options) (grads [][]float64, sum float64) {
		prog, params := m.compile(t, o)
		for i, cut := range [][2]int{{0, 11}, {11, 24}, {24, 31}} {
			p := ag.Batch{Tokens: b.Tokens[cut[0]:cut[1]], Labels: b.Labels[cut[0]:cut[1]], Starts: []int{0}, Continues: i > 0}
			if cut[1] < 31 {
				p.Next, p.HasNext = b.Labels[cut[1]], true
			}
			sum += step(t, prog, p).Sum
		}
		for _, p := range params {
			grads = append(grads, p.Grad.Float64s())
		}
		return grads, sum
	}
	want, sum := run(ag.Options{Rows: 31, Carry: true})
	for _, rows := range []int{1, 4, 11, 12} {
		got, s := run(ag.Options{Rows: rows, Segments: true})
		if math.Abs(s-sum) > segmentTolerance*sum {
			t.Fatalf("segments of %d: loss %v, want %v", rows, s, sum)
		}
		for i := range got {
			sameGradient(t, got[i], want[i], "segments of %d: parameter %d", rows, i)
		}
	}
}

// States in a file give the same bits as states in memory, and progress increases to 1.
func TestSegmentStore(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "states"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, b := modelOptions{dropout: 0.3}, batch(9, 1, 30, 5)
	memory, disk := newSmall(t, ag.Options{Rows: 7, Segments: true}, m), newSmall(t, ag.Options{Rows: 7, Segments: true, SegmentStore: f}, m)
	share := 0.0
	for range 2 {
		x := step(t, memory.prog, b)
		y, err := disk.prog.Step(context.Background(), ag.Step{Batch: b, Scale: 1, Seed: 3, Progress: func(s float64) {
			if s <= share && share != 1 || s > 1 {
				t.Errorf("progress %v after %v", s, share)
			}
			share = s
		}})
		if err != nil {
			t.Fatal(err)
		}
		if x.Sum != y.Sum || !slices.Equal(memory.grads(), disk.grads()) || share != 1 {
			t.Fatalf("loss %v and %v, or gradients differ; progress %v", x.Sum, y.Sum, share)
		}
	}
}

type fullDisk struct{ *os.File }

var errFull = errors.New("no space left on device")

func (fullDisk) WriteAt([]byte, int64) (int, error) { return 0, errFull }

func TestSegmentStoreFails(t *testing.T) {
	s := newSmall(t, ag.Options{Rows: 7, Segments: true, SegmentStore: fullDisk{}}, modelOptions{})
	if _, err := s.prog.Step(context.Background(), ag.Step{Batch: batch(30), Scale: 1}); !errors.Is(err, errFull) {
		t.Fatalf("got error %v, want the store's", err)
	}
}

// Eval of a batch in segments gives each row the same loss as Eval of the whole.
func TestSegmentsEval(t *testing.T) {
	b := batch(9, 1, 30, 5)
	eval := func(o ag.Options) ag.Loss {
		l, err := newSmall(t, o, modelOptions{}).prog.Eval(context.Background(), b)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	want := eval(ag.Options{Rows: 45})
	for _, rows := range []int{1, 7, 44} {
		got := eval(ag.Options{Rows: rows, Segments: true})
		if got.Tokens != want.Tokens || got.Correct != want.Correct || len(got.Rows) != len(want.Rows) {
			t.Fatalf("segments of %d: %+v, want %+v", rows, got, want)
		}
		for i, w := range want.Rows {
			if math.Abs(got.Rows[i]-w) > roundTolerance*(1+w) {
				t.Fatalf("segments of %d: row %d has loss %v, want %v", rows, i, got.Rows[i], w)
			}
		}
	}
}

// The gradients of the documents' start states, and of everything else, agree with central differences.
func TestStartGrad(t *testing.T) {
	for name, segment := range map[string]int{"whole": 40, "segments": 4} {
		t.Run(name, func(t *testing.T) {
			const d, n = 4, 3
			gradtest.Check(t, gradtest.Options{Lengths: []int{5, 1, 9}, Segment: segment, Build: func(g *ag.Graph, p []ag.Var) ag.Var {
				u := ag.Conv1d(ag.ConvInput{X: lookup(g, p[0]), W: p[1], Bias: p[2], Start: p[3], Act: kernel.SiLU})
				return ag.SelectiveScan(ag.ScanInput{U: u, DT: lookup(g, p[4]), X: lookup(g, p[5]), ALog: p[6], D: p[7], Start: p[8]})
			}}, []int{11, d}, []int{d, 1, 4}, []int{d}, []int{3, d}, []int{11, d}, []int{11, 2 * n}, []int{d, n}, []int{d}, []int{d, n})
			const heads, groups, channels = 4, 2, 2
			gradtest.Check(t, gradtest.Options{Lengths: []int{5, 1, 9}, Segment: segment, Build: func(g *ag.Graph, p []ag.Var) ag.Var {
				return ag.SSD(ag.SSDInput{XBC: lookup(g, p[0]), DT: lookup(g, p[1]), DTBias: p[2], ALog: p[3], D: p[4], Start: p[5], Groups: groups, State: n, Limit: noLimit, Chunk: 3})
			}}, []int{11, heads*channels + 2*groups*n}, []int{11, heads}, []int{heads}, []int{heads}, []int{heads}, []int{heads * channels, n})
		})
	}
}

// Only the start states are trainable.
func TestStartGradAlone(t *testing.T) {
	const d, n = 4, 3
	gradtest.Check(t, gradtest.Options{Lengths: []int{5, 1, 9}, Segment: 4, Frozen: []int{0, 1, 2, 4, 5, 6, 7}, Build: func(g *ag.Graph, p []ag.Var) ag.Var {
		u := ag.Conv1d(ag.ConvInput{X: lookup(g, p[0]), W: p[1], Bias: p[2], Start: p[3], Act: kernel.SiLU})
		return ag.SelectiveScan(ag.ScanInput{U: u, DT: lookup(g, p[4]), X: lookup(g, p[5]), ALog: p[6], D: p[7], Start: p[8]})
	}}, []int{11, d}, []int{d, 1, 4}, []int{d}, []int{3, d}, []int{11, d}, []int{11, 2 * n}, []int{d, n}, []int{d}, []int{d, n})
}

func TestStartNeedsSegments(t *testing.T) {
	g := ag.NewGraph(ag.Options{Rows: 8})
	x, w := lookup(g, g.Param(param(t, "table", 1, 11, 4))), g.Param(param(t, "w", 2, 4, 1, 4))
	ag.Conv1d(ag.ConvInput{X: x, W: w, Start: g.Param(param(t, "start", 3, 3, 4))})
	if g.Err() == nil {
		t.Fatal("no error")
	}
}

// An invalid batch is rejected, whatever its length.
func TestSegmentsBatchErrors(t *testing.T) {
	s := newSmall(t, ag.Options{Rows: 3, Segments: true}, modelOptions{})
	b := batch(10)
	b.Starts = []int{0, 12}
	if _, err := s.prog.Step(context.Background(), ag.Step{Batch: b, Scale: 1}); err == nil {
		t.Fatal("a document beyond the batch: no error")
	}
}
