package trainer_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn/weights"
	"mambatrain/trainer"
)

// curveTolerance is the error of a correct float32 run, relative to each loss and gradient norm of the peer.
const curveTolerance = 5e-6

// curve is a deterministic training run by the peers; see testdata/train.
type curve struct {
	LR           float64   `json:"lr"`
	WeightDecay  float64   `json:"weight_decay"`
	WarmupSteps  float64   `json:"warmup_steps"`
	MaxGradNorm  float64   `json:"max_grad_norm"`
	Accumulate   int       `json:"accumulate"`
	Steps        int       `json:"steps"`
	Loss         []float64 `json:"loss"`
	GradNorm     []float64 `json:"grad_norm"`
	LearningRate []float64 `json:"learning_rate"`

	batches fixed
}

func readCurve(t *testing.T, dir string) curve {
	t.Helper()
	var c curve
	text, err := os.ReadFile(filepath.Join(dir, "curve.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	x, err := weights.Open(filepath.Join(dir, "batches.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	ids, shape := ints(t, x, "input_ids")
	labels, _ := ints(t, x, "labels")
	for i := range shape[0] {
		var b trainer.MicroBatch
		n := shape[1] * shape[2]
		b.Tokens, b.Labels = ids[i*n:(i+1)*n], labels[i*n:(i+1)*n]
		for d := range shape[1] {
			b.Starts = append(b.Starts, d*shape[2])
		}
		c.batches = append(c.batches, b)
	}
	return c
}

func ints(t *testing.T, x *weights.Reader, name string) ([]int, []int) {
	t.Helper()
	v, ok := x.Tensor(name)
	if !ok {
		t.Fatalf("no tensor %s", name)
	}
	data, err := v.Ints()
	if err != nil {
		t.Fatal(err)
	}
	return data, v.Shape
}

// fixed is a source that returns its micro-batches in order.
type fixed []trainer.MicroBatch

func (f fixed) Batches(int) (int, error)                                      { return len(f), nil }
func (f fixed) Batch(_ context.Context, _, i int) (trainer.MicroBatch, error) { return f[i], nil }

// follow trains the parameters and compares every step with the curve. If positive, segment is the number of rows
// computed at once.
func (c curve) follow(t *testing.T, m *mamba.Model, params []*ag.Param, rule string, segment int) {
	t.Helper()
	o := ag.Options{Rows: len(c.batches[0].Tokens)}
	if segment > 0 {
		o = ag.Options{Rows: segment, Segments: true}
	}
	o.Device = kernel.CurrentDevice() != nil
	g := ag.NewGraph(o)
	prog, err := g.Compile(m.Loss(g))
	if err != nil {
		t.Fatal(err)
	}
	s := trainer.Default()
	s.LearningRate, s.WeightDecay, s.WarmupSteps, s.MaxGradNorm = c.LR, c.WeightDecay, c.WarmupSteps, c.MaxGradNorm
	s.GradientAccumulationSteps, s.MaxSteps, s.DecayRule, s.SegmentTokens = c.Accumulate, c.Steps, rule, segment
	step := 0
	tr, err := trainer.New(s, trainer.Task{Params: params, Program: prog, Rows: o.Rows, Train: c.batches, Observer: func(e trainer.Event) {
		s, ok := e.(trainer.StepEvent)
		if !ok {
			return
		}
		for what, v := range map[string][2]float64{"loss": {s.Loss, c.Loss[step]}, "gradient norm": {s.GradNorm, c.GradNorm[step]}, "learning rate": {s.LearningRate, c.LearningRate[step]}} {
			if math.Abs(v[0]-v[1]) > curveTolerance*math.Abs(v[1]) {
				t.Errorf("step %d: %s is %.9g, the peer's %.9g", step+1, what, v[0], v[1])
			}
		}
		step++
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if step != c.Steps {
		t.Errorf("%d steps, want %d", step, c.Steps)
	}
}

// segmentations are the ways to compute the peers' batches: at once, and in segments that end in the middle of
// documents.
var segmentations = []int{0, 7}

// families are the models that have their own curves. Those of the base model ("") are in testdata/train itself.
var families = []string{"", "falcon", "mamba2", "mamba2_groups"}

// baseOf returns the path of a family's model.
func baseOf(family string) string {
	if family == "gguf" {
		return "../lora/testdata/models/Q4_K_M.gguf"
	}
	return filepath.Join("../mamba/testdata/golden", cmp.Or(family, "base"), "model")
}

// baseModel loads a family's model.
func baseModel(t *testing.T, family string) *mamba.Model {
	t.Helper()
	m, err := mamba.Load(baseOf(family), mamba.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// curvesOf returns the directory of a family's curves.
func curvesOf(family string) string { return filepath.Join("testdata/train", family) }

// eachCurve runs a test with each segmentation and with each family's model and directory of curves.
func eachCurve(t *testing.T, families []string, test func(t *testing.T, m *mamba.Model, dir string, segment int)) {
	for _, family := range families {
		for _, segment := range segmentations {
			t.Run(fmt.Sprintf("%s/segment_tokens %d", cmp.Or(family, "base"), segment), func(t *testing.T) {
				test(t, baseModel(t, family), curvesOf(family), segment)
			})
		}
	}
}

func TestFullTrainingMatchesPeer(t *testing.T) {
	eachCurve(t, families, followFull)
}

// followFull trains the whole model.
func followFull(t *testing.T, m *mamba.Model, dir string, segment int) {
	if err := trainer.SelectTrainable(m.Params(), nil); err != nil {
		t.Fatal(err)
	}
	readCurve(t, filepath.Join(dir, "full")).follow(t, m, m.Params(), "mamba", segment)
}

// For the gguf family, the peer's base is the dequantized file; here the base stays quantized.
func TestLoRATrainingMatchesPeer(t *testing.T) {
	eachCurve(t, append(families[:3:3], "gguf"), followLoRA)
}

// followLoRA trains the peer's initial adapter.
func followLoRA(t *testing.T, m *mamba.Model, dir string, segment int) {
	for _, p := range m.Params() {
		p.Freeze()
	}
	a, err := lora.Load(filepath.Join(dir, "lora", "adapter_init"), m)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Train(); err != nil {
		t.Fatal(err)
	}
	readCurve(t, filepath.Join(dir, "lora")).follow(t, m, append(m.Params(), a.Params()...), "mamba", segment)
}
