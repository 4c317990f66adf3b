package optim

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"gorgonia.org/tensor"

	ag "mambatrain/autograd"
	"mambatrain/nn/weights"
)

// scheduleTolerance allows for a different order of a few double-precision operations.
const scheduleTolerance = 1e-12

func TestSchedulesMatchTransformers(t *testing.T) {
	b, err := os.ReadFile("testdata/schedules.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Peak      float64 `json:"peak"`
		Warmup    int     `json:"warmup_steps"`
		Steps     int     `json:"steps"`
		Schedules map[string]struct {
			Arguments map[string]any `json:"arguments"`
			Rate      []float64      `json:"learning_rate"`
		} `json:"schedules"`
	}
	if err := json.Unmarshal(b, &golden); err != nil {
		t.Fatal(err)
	}
	for _, name := range scheduleNames() {
		want, ok := golden.Schedules[name]
		if !ok {
			t.Errorf("%s has no golden case", name)
		}
		s := Default()
		s.LRSchedulerType, s.LRSchedulerKwargs = name, want.Arguments
		s.LearningRate, s.WarmupSteps = golden.Peak, float64(golden.Warmup)
		schedule, err := NewSchedule(s, golden.Steps)
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range want.Rate {
			if got := golden.Peak * schedule(i); math.Abs(got-w) > scheduleTolerance*w+1e-18 {
				t.Errorf("%s: step %d: rate %v, want %v", name, i, got, w)
			}
		}
	}
}

func TestWarmupAsFraction(t *testing.T) {
	s := Default()
	s.WarmupSteps = 0.1
	if got := s.warmup(41); got != 5 {
		t.Errorf("a tenth of 41 steps is %d steps of warm-up, want 5", got)
	}
}

// optimizerTolerance is a few units in the last place of float32, the error that may accumulate over ten steps.
const optimizerTolerance = 2e-6

func TestOptimizersMatchTorch(t *testing.T) {
	f, err := weights.Open("testdata/optimizers.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	read := func(name string) []float32 {
		x, ok := f.Tensor(name)
		if !ok {
			t.Fatalf("no tensor %s", name)
		}
		v, err := x.Float32s()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for name, set := range map[string]func(*Config){
		"adamw_wd0.1":      func(s *Config) { s.AdamBeta2, s.WeightDecay = 0.95, 0.1 },
		"sgd":              func(s *Config) { s.Optim, s.WeightDecay = "sgd", 0.01 },
		"sgd_momentum0.9":  func(s *Config) { s.Optim, s.Momentum = "sgd", 0.9 },
		"sgd_nesterov0.9":  func(s *Config) { s.Optim, s.Momentum, s.Nesterov = "sgd", 0.9, true },
		"adafactor_lr1e-2": func(s *Config) { s.Optim = "adafactor" },
	} {
		s := Default()
		set(&s)
		matrix, vector := filled("matrix", read("start.matrix"), 7, 5), filled("vector", read("start.vector"), 6)
		params := []*ag.Param{matrix, vector}
		o, err := New(s, Groups(params, s, 1))
		if err != nil {
			t.Fatal(err)
		}
		for step := range 10 {
			for _, p := range params {
				n := p.Size()
				copy(p.GradFloat32s(), read("grad." + p.Name)[step*n:][:n])
			}
			if err := o.Step(1e-2, 1); err != nil {
				t.Fatal(err)
			}
			for _, p := range params {
				n := p.Size()
				near(t, name+" "+p.Name, p.Float32s(), read(name + "." + p.Name)[step*n:][:n], optimizerTolerance)
			}
		}
	}
}

// TestLion computes the published update by hand: Chen et al. 2023, algorithm 2.
func TestLion(t *testing.T) {
	s := Default()
	s.Optim, s.AdamBeta1, s.AdamBeta2, s.WeightDecay = "lion", 0.9, 0.99, 0.1
	p := filled("w", []float32{1, -2, 3}, 3)
	o, err := New(s, Groups([]*ag.Param{p}, s, 1))
	if err != nil {
		t.Fatal(err)
	}
	w, m := []float64{1, -2, 3}, make([]float64, 3)
	for step := range 5 {
		for i := range w {
			g := math.Sin(float64(3*step + i))
			if i == 2 {
				g = 0
			}
			p.GradFloat32s()[i] = float32(g)
			u := 0.0
			if c := 0.9*m[i] + 0.1*g; c != 0 {
				u = math.Copysign(1, c)
			}
			w[i] -= 0.01 * (u + 0.1*w[i])
			m[i] = 0.99*m[i] + 0.01*g
		}
		if err := o.Step(0.01, 1); err != nil {
			t.Fatal(err)
		}
	}
	near(t, "lion", p.Float32s(), []float32{float32(w[0]), float32(w[1]), float32(w[2])}, 1e-6)
}

// TestClippingScalesTheGradient compares an update from half the gradient with one that scales the gradient by a half,
// for every optimizer.
func TestClippingScalesTheGradient(t *testing.T) {
	for _, name := range names() {
		s := Default()
		s.Optim, s.WeightDecay = name, 0.1
		var got [2][]float32
		for i, scale := range []float64{1, 0.5} {
			p := filled("w", []float32{1, 2, 3, 4, 5, 6}, 2, 3)
			o, err := New(s, Groups([]*ag.Param{p}, s, 1))
			if err != nil {
				t.Fatal(err)
			}
			for step := range 3 {
				for j := range p.Size() {
					p.GradFloat32s()[j] = float32(math.Cos(float64(5*step+j)) / 2 / scale)
				}
				if err := o.Step(0.1, scale); err != nil {
					t.Fatal(err)
				}
			}
			got[i] = p.Float32s()
		}
		near(t, name, got[1], got[0], 1e-6)
	}
}

// filled returns a trainable parameter.
func filled(name string, v []float32, shape ...int) *ag.Param {
	p := ag.NewParam(name, tensor.New(tensor.WithShape(shape...), tensor.WithBacking(slices.Clone(v))))
	if err := p.Train(); err != nil {
		panic(err)
	}
	return p
}

// near compares slices with a tolerance relative to the largest element of want.
func near(t *testing.T, what string, got, want []float32, tolerance float64) {
	t.Helper()
	largest := 0.0
	for _, w := range want {
		largest = max(largest, math.Abs(float64(w)))
	}
	for i := range want {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= tolerance*largest) {
			t.Fatalf("%s: element %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

// TestNew_refused checks that parameters that the first step could not update are refused.
func TestNew_refused(t *testing.T) {
	wide := ag.NewParam("wide", tensor.New(tensor.WithShape(2, 3), tensor.Of(tensor.Float64)))
	if err := wide.Train(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*ag.Param{ag.Zeros("frozen", 2, 3), wide} {
		if _, err := New(Default(), []Group{{Params: []*ag.Param{p}, Rate: 1}}); err == nil {
			t.Errorf("%s is accepted", p.Name)
		}
	}
}
