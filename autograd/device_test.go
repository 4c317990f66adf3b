//go:build unix

package autograd_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"gorgonia.org/tensor"

	ag "mambatrain/autograd"
	"mambatrain/autograd/devicetest"
	"mambatrain/autograd/kernel"
	"mambatrain/internal/quant"
)

// compileOn builds a model of the segment tests in float32, always with the same parameters. Only parameters whose
// index is in trained are trainable, or all if trained is nil.
func (s segmented) compileOn(t *testing.T, o ag.Options, trained []int) (*ag.Program, []*ag.Param) {
	t.Helper()
	g := ag.NewGraph(o)
	var params []*ag.Param
	var vars []ag.Var
	for i, shape := range s.shapes {
		p := param(t, "p", uint64(i), shape...)
		if trained != nil && !slices.Contains(trained, i) {
			p.Freeze()
		}
		params, vars = append(params, p), append(vars, g.Param(p))
	}
	return compile(t, g, s.build(g, vars)), params
}

func allGrads(params []*ag.Param) (all []float32) {
	for _, p := range params {
		all = append(all, p.GradFloat32s()...)
	}
	return all
}

// deviceModels returns the models of the segment tests, plus one with DoRA on a projection, a table, and the head.
func deviceModels() map[string]segmented {
	models := segmentedModels()
	models["dora"] = segmented{func(g *ag.Graph, p []ag.Var) ag.Var {
		x := ag.Embedding(p[0], g.Tokens(), ag.LowRank{A: p[1], B: p[2], Scale: 0.5, Magnitude: p[3]})
		x = ag.Linear(x, p[4], p[5], ag.LowRank{A: p[6], B: p[7], Scale: 0.5, Magnitude: p[8], From: 2, To: 5, Dropout: 0.3})
		x = ag.Normalize(x, 1e-5, 2, 4)
		return ag.CrossEntropy(x, p[9], ag.LowRank{A: p[10], B: p[11], Scale: 0.5, Magnitude: p[12]}, ag.LossOptions{Smoothing: 0.1})
	}, [][]int{{11, 4}, {2, 11}, {4, 2}, {4}, {6, 4}, {6}, {2, 4}, {3, 2}, {3}, {11, 6}, {2, 6}, {11, 2}, {11}}}
	return models
}

// A step on a device has the same loss and gradients as on the host: with everything trainable and with most of the
// model frozen, with one document and several, whole and in segments, twice in a row.
func TestDeviceEqualsHost(t *testing.T) {
	for name, m := range deviceModels() {
		for _, trained := range [][]int{nil, {1, 2, 6, 7, 11, 12}} {
			for _, o := range []ag.Options{{Rows: 40}, {Rows: 7, Segments: true}} {
				if name == "dora" && o.Segments {
					continue // it has no recurrent ops
				}
				t.Run(name, func(t *testing.T) {
					host, want := m.compileOn(t, o, trained)
					devicetest.Use(t)
					o.Device = true
					prog, got := m.compileOn(t, o, trained)
					for _, lengths := range [][]int{{23}, {9, 1, 14, 5}} {
						a, b := step(t, prog, batch(lengths...)), step(t, host, batch(lengths...))
						if math.Abs(a.Sum-b.Sum) > roundTolerance*b.Sum || a.Tokens != b.Tokens {
							t.Fatalf("loss %v of %d labels, want %v of %d", a.Sum, a.Tokens, b.Sum, b.Tokens)
						}
						near(t, "gradients", allGrads(got), allGrads(want))
						near32(t, "losses of rows", a.Rows, b.Rows)
					}
				})
			}
		}
	}
}

// An adapter on a frozen projection whose input needs no gradient, such as one that reads a frozen table, is trained on
// the device.
func TestDeviceAdapterOnFrozenInput(t *testing.T) {
	run := func(device bool) []float32 {
		params := []*ag.Param{param(t, "table", 1, 11, 4), param(t, "w", 2, 6, 4), param(t, "A", 3, 2, 4), param(t, "B", 4, 6, 2), param(t, "head", 5, 11, 6)}
		g := ag.NewGraph(ag.Options{Rows: 30, Device: device})
		var p []ag.Var
		for i, q := range params {
			if i != 2 && i != 3 {
				q.Freeze()
			}
			p = append(p, g.Param(q))
		}
		y := ag.Linear(lookup(g, p[0]), p[1], ag.Var{}, ag.LowRank{A: p[2], B: p[3], Scale: 0.5})
		step(t, compile(t, g, ag.CrossEntropy(y, p[4], ag.LowRank{}, ag.LossOptions{})), batch(13, 9))
		return allGrads(params[2:4])
	}
	want := run(false)
	devicetest.Use(t)
	near(t, "gradients", run(true), want)
}

func near32(t *testing.T, what string, got, want []float64) {
	t.Helper()
	narrow := func(x []float64) (y []float32) {
		for _, v := range x {
			y = append(y, float32(v))
		}
		return y
	}
	near(t, what, narrow(got), narrow(want))
}

// Evaluation on a device gives the same counts as on the host, and kept values can be read.
func TestDeviceEval(t *testing.T) {
	run := func(device bool) (ag.Loss, []float32) {
		table, w, head := param(t, "table", 1, 11, 4), param(t, "w", 2, 6, 4), param(t, "head", 5, 11, 6)
		w.Freeze()
		g := ag.NewGraph(ag.Options{Rows: 30, Device: device})
		y := ag.Linear(lookup(g, g.Param(table)), g.Param(w), ag.Var{}, ag.LowRank{})
		p := compile(t, g, ag.CrossEntropy(y, g.Param(head), ag.LowRank{}, ag.LossOptions{}), y)
		l, err := p.Eval(context.Background(), batch(13, 9))
		if err != nil {
			t.Fatal(err)
		}
		return l, slices.Clone(p.Float32s(y))
	}
	want, values := run(false)
	devicetest.Use(t)
	got, fetched := run(true)
	if got.Correct != want.Correct || got.Tokens != want.Tokens || want.Correct == 0 {
		t.Errorf("%d of %d are right, want %d of %d", got.Correct, got.Tokens, want.Correct, want.Tokens)
	}
	near(t, "values", fetched, values)
}

// A frozen bfloat16 table and weight, both as loaded and packed only.
func TestDeviceBF16(t *testing.T) {
	bits := func(seed uint64, shape ...int) *ag.Param {
		w := param(t, "w", seed, shape...)
		h := make([]uint16, w.Size())
		kernel.ToBF16(h, w.Float32s())
		return ag.NewParam("w", tensor.New(tensor.WithShape(shape...), tensor.WithBacking(h)))
	}
	for _, packedOnly := range []bool{false, true} {
		run := func(device bool) []float32 {
			table, w, head := bits(1, 11, 5), bits(2, 7, 5), bits(3, 11, 7)
			norm := param(t, "norm", 4, 5)
			if packedOnly {
				w.PackOnly()
				table.PackOnly()
			}
			g := ag.NewGraph(ag.Options{Rows: 30, Device: device})
			x := ag.RMSNorm(lookup(g, g.Param(table)), g.Param(norm), 1e-5)
			y := ag.Linear(x, g.Param(w), ag.Var{}, ag.LowRank{})
			step(t, compile(t, g, ag.CrossEntropy(y, g.Param(head), ag.LowRank{}, ag.LossOptions{})), batch(13, 9))
			return norm.GradFloat32s()
		}
		want := run(false)
		devicetest.Use(t)
		got := run(true)
		for i, w := range want { // the host may round activations to bfloat16
			if math.Abs(float64(got[i]-w)) > 0.02*(1+math.Abs(float64(w))) {
				t.Errorf("gradient %d is %v, want %v", i, got[i], w)
			}
		}
		kernel.UseDevice(nil)
	}
}

// A program that carries state continues on a device as it does on the host, also from a state set with SetCarried.
func TestDeviceCarries(t *testing.T) {
	m, b := segmentedModels()["mamba1"], batch(20)
	first := ag.Batch{Tokens: b.Tokens[:9], Labels: b.Labels[:9], Starts: []int{0}, Next: b.Labels[9], HasNext: true}
	second := ag.Batch{Tokens: b.Tokens[9:], Labels: b.Labels[9:], Starts: []int{0}, Continues: true}
	run := func(device bool) (rows []float64, state []float32) {
		prog, _ := m.compileOn(t, ag.Options{Rows: 20, Carry: true, Device: device}, nil)
		if _, err := prog.Eval(context.Background(), first); err != nil {
			t.Fatal(err)
		}
		state = prog.Carried()
		for range 2 {
			l, err := prog.Eval(context.Background(), second)
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, l.Rows...)
			if err := prog.SetCarried(state); err != nil {
				t.Fatal(err)
			}
		}
		return rows, state
	}
	want, state := run(false)
	devicetest.Use(t)
	got, carried := run(true)
	near32(t, "losses", got, want)
	near(t, "states", carried, state)
}

// touches is an op that reads its input on the host.
type touches[T kernel.Float] struct{}

func (touches[T]) Name() string                    { return "touches" }
func (touches[T]) Shape(in [][]int) ([]int, error) { return in[0], nil }
func (touches[T]) Forward(c *ag.Call[T])           { c.Out.Data[0] = c.In[0].Data[0] }
func (touches[T]) Backward(*ag.Call[T])            {}

// Each run with an op that accesses a device array on the host ends with an error that names the op.
func TestDeviceArrayTouched(t *testing.T) {
	devicetest.Use(t)
	table := param(t, "table", 1, 11, 4)
	g := ag.NewGraph(ag.Options{Rows: 9, Device: true})
	y := ag.Apply(touches[float32]{}, touches[float64]{}, lookup(g, g.Param(table)))
	p := compile(t, g, ag.Var{}, y)
	for range 2 {
		_, err := p.Eval(context.Background(), batch(5))
		if err == nil || !strings.Contains(err.Error(), "touches") {
			t.Fatalf("got %v, want an error from the op", err)
		}
	}
}

// An unsupported size, a lack of memory, and a lost device cause errors that name the device.
func TestDeviceErrors(t *testing.T) {
	m := segmentedModels()["mamba1"]
	build := func() (*ag.Program, error) {
		g := ag.NewGraph(ag.Options{Rows: 9, Device: true})
		var vars []ag.Var
		for i, shape := range m.shapes {
			vars = append(vars, g.Param(param(t, "p", uint64(i), shape...)))
		}
		loss := m.build(g, vars)
		return g.Compile(loss)
	}
	if _, err := build(); err == nil || !strings.Contains(err.Error(), "no device") {
		t.Errorf("without a device: got %v", err)
	}
	d := devicetest.Use(t)
	no := errors.New("3 states are too few")
	d.Refuses = func(s kernel.DeviceSizes) error {
		if s.ScanStates == 3 {
			return no
		}
		return nil
	}
	if _, err := build(); !errors.Is(err, no) || !strings.Contains(err.Error(), "test device: selective_scan") {
		t.Errorf("refused: got %v", err)
	}
	d.Refuses = nil
	d.SetLimit(100)
	if _, err := build(); !errors.Is(err, kernel.ErrDeviceMemory) || !strings.Contains(err.Error(), "test device") {
		t.Errorf("no room: got %v", err)
	}
	d.SetLimit(0)
	p, err := build()
	if err != nil {
		t.Fatal(err)
	}
	d.Fails = kernel.ErrDeviceLost
	if _, err := p.Step(context.Background(), ag.Step{Batch: batch(5), Scale: 1}); !errors.Is(err, kernel.ErrDeviceLost) {
		t.Errorf("lost: got %v", err)
	}
}

// The estimate of a graph, together with the values and gradients of its parameters, is exactly the memory that it uses on
// a device, including the scratch memory of kernels.
func TestDeviceEstimate(t *testing.T) {
	for name, m := range segmentedModels() {
		if name == "noise" {
			continue // it also uses temporary memory, which a device allocates as needed
		}
		for _, o := range []ag.Options{{Rows: 20, Device: true}, {Rows: 7, Segments: true, Device: true}} {
			device := func(limit int) {
				d := devicetest.Use(t)
				d.Needs = func(s kernel.DeviceSizes) int {
					return s.Rows * s.Channels * max(s.ScanStates, s.SSDStates*s.SSDHead*s.SSDGroups)
				}
				d.SetLimit(limit)
			}
			graph := func() (g *ag.Graph, loss ag.Var, params int) {
				g = ag.NewGraph(o)
				var vars []ag.Var
				for i, shape := range m.shapes {
					p := param(t, "p", uint64(i), shape...)
					vars, params = append(vars, g.Param(p)), params+2*p.Size()
				}
				return g, m.build(g, vars), params
			}
			run := func() error {
				g, loss, _ := graph()
				p, err := g.Compile(loss)
				if err == nil {
					_, err = p.Step(context.Background(), ag.Step{Batch: batch(15), Scale: 1})
				}
				return err
			}
			device(0)
			g, loss, params := graph()
			bytes, err := g.Estimate(loss)
			if err != nil {
				t.Fatal(err)
			}
			need := int(bytes/4) + params
			device(need)
			if err := run(); err != nil {
				t.Errorf("%s %+v: with the estimated memory: %v", name, o, err)
			}
			device(need - 1)
			if !errors.Is(run(), kernel.ErrDeviceMemory) {
				t.Errorf("%s %+v: with one element less there is no error", name, o)
			}
		}
	}
}

// Ready reports each parameter once, after the host has its gradient.
func TestDeviceReady(t *testing.T) {
	devicetest.Use(t)
	prog, params := segmentedModels()["mamba1"].compileOn(t, ag.Options{Rows: 30, Device: true}, nil)
	var got []*ag.Param
	_, err := prog.Step(context.Background(), ag.Step{Batch: batch(20), Scale: 1, Ready: func(p *ag.Param) {
		if !slices.ContainsFunc(p.GradFloat32s(), func(x float32) bool { return x != 0 }) {
			t.Errorf("%v is ready without a gradient", p.Shape())
		}
		got = append(got, p)
	}})
	if err != nil || len(got) != len(params) {
		t.Errorf("%d of %d parameters are ready, error %v", len(got), len(params), err)
	}
}

// A quantized weight is float32 on a device.
func TestDeviceQuantized(t *testing.T) {
	run := func(device bool) []float32 {
		table := param(t, "table", 1, 11, 32)
		w, err := ag.NewQuantized("w", quant.Q8_0, quant.Q8_0.Encode(param(t, "w", 2, 7, 32).Float32s()), 7, 32)
		if err != nil {
			t.Fatal(err)
		}
		g := ag.NewGraph(ag.Options{Rows: 30, Device: device})
		y := ag.Linear(lookup(g, g.Param(table)), g.Param(w), ag.Var{}, ag.LowRank{})
		step(t, compile(t, g, ag.CrossEntropy(y, g.Param(param(t, "head", 3, 11, 7)), ag.LowRank{}, ag.LossOptions{})), batch(13, 9))
		return table.GradFloat32s()
	}
	want := run(false)
	devicetest.Use(t)
	near(t, "gradients", run(true), want)
}
