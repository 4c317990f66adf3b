package lora_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn/weights"
)

// The golden cases were computed in float32 on a CPU with peft 0.21.2 and transformers 5.23.0, or 5.24.0 for
// FalconMamba and Mamba-2. Any correct float32 implementation meets the tolerances.
const (
	logitsAbs, logitsRel = 2e-5, 1e-5
	lossRel              = 1e-6
	gradRel              = 1e-4 // relative to the tensor's largest element
	mergedAbs            = 1e-6

	quantizedGradRel = 1e-5 // dequantized values are exact
)

// goldenCases maps the directories under testdata/golden to the models that they adapt.
var goldenCases = map[string]string{
	"seed_recipe": "base", "linear_only": "base", "rslora": "base", "patterns": "base", "some_layers": "base",
	"dora": "base", "variant_untied": "variant",
	"falcon/seed_recipe": "falcon", "falcon/patterns": "falcon", "falcon/dora": "falcon", "falcon/dt_proj": "falcon",
	"falcon/modules_to_save": "falcon", "falcon_variant/tied": "falcon_variant",
	"mamba2/seed_recipe": "mamba2", "mamba2/patterns": "mamba2", "mamba2/dora": "mamba2", "mamba2/modules_to_save": "mamba2",
	"mamba2_groups/untied": "mamba2_groups",
}

func model(t *testing.T, name string) *mamba.Model {
	t.Helper()
	m, err := mamba.Load(modelDir(name), mamba.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// modelDir returns the directory of a case's model, here or in package mamba.
func modelDir(name string) string {
	dir := filepath.Join("testdata", "models", name)
	if _, err := os.Stat(dir); err != nil {
		dir = filepath.Join("..", "mamba", "testdata", "golden", name, "model")
	}
	return dir
}

func TestGolden(t *testing.T) {
	for name, base := range goldenCases {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join("testdata", "golden", name)
			m := model(t, base)
			a, err := lora.Load(filepath.Join(dir, "adapter"), m)
			if err != nil {
				t.Fatal(err)
			}
			want := openTensors(t, filepath.Join(dir, "forward.safetensors"))
			compareForward(t, m, a, want)
			compareDirect(t, m, want)
			if err := a.Merge(); err != nil {
				t.Fatal(err)
			}
			compareDirect(t, m, want)
			compareMerged(t, m, openTensors(t, filepath.Join(dir, "merged.safetensors")))
		})
	}
}

// TestGolden_quantized checks that an adapter on a quantized base has the same logits, loss, and gradients as on the
// dequantized weights, within tighter tolerances than the ones above, and that it merges into them.
func TestGolden_quantized(t *testing.T) {
	dir := filepath.Join("testdata", "golden", "gguf", "Q4_K_M")
	m := model(t, "Q4_K_M.gguf")
	for _, s := range m.Slots() {
		if of, _, ok := s.Weight().Quantized(); ok != (s.Weight().Shape()[1] != 16) {
			t.Fatalf("%s is in blocks: %v, %v", s.Path, ok, of)
		}
	}
	a, err := lora.Load(filepath.Join(dir, "adapter"), m)
	if err != nil {
		t.Fatal(err)
	}
	want := openTensors(t, filepath.Join(dir, "forward.safetensors"))
	compareForward(t, m, a, want)
	compareGradients(t, a, want, quantizedGradRel)
	compareDirect(t, m, want)
	if err := a.Merge(); err != nil {
		t.Fatal(err)
	}
	compareDirect(t, m, want)
	compareMerged(t, m, openTensors(t, filepath.Join(dir, "merged.safetensors")))
}

// newGraph returns a graph on the process's device, if there is one.
func newGraph(rows int) *ag.Graph {
	return ag.NewGraph(ag.Options{Rows: rows, Device: kernel.CurrentDevice() != nil})
}

// compareForward checks logits, loss, and gradients of the graph.
func compareForward(t *testing.T, m *mamba.Model, a *lora.Adapter, want *weights.Reader) {
	t.Helper()
	if err := a.Train(); err != nil {
		t.Fatal(err)
	}
	batch := goldenBatch(t, want)
	g := newGraph(len(batch.Tokens))
	hidden := m.Forward(g)
	logits := m.Logits(hidden[len(hidden)-1])
	eval, err := g.Compile(ag.Var{}, logits)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := eval.Eval(context.Background(), batch); err != nil {
		t.Fatal(err)
	}
	near(t, "logits", eval.Float32s(logits), floats(t, want, "logits"), logitsAbs, logitsRel)

	g = newGraph(len(batch.Tokens))
	step, err := g.Compile(m.Loss(g))
	if err != nil {
		t.Fatal(err)
	}
	l, err := step.Step(context.Background(), ag.Step{Batch: batch, Scale: 1 / float64(batch.Counted())})
	if err != nil {
		t.Fatal(err)
	}
	mean, wanted := l.Sum/float64(l.Tokens), float64(floats(t, want, "loss")[0])
	if math.Abs(mean-wanted) > lossRel*wanted {
		t.Errorf("loss: got %.8f, want %.8f", mean, wanted)
	}
	compareGradients(t, a, want, gradRel)
}

// compareGradients checks the gradients of the adapter's parameters, and that the file contains exactly these.
func compareGradients(t *testing.T, a *lora.Adapter, want *weights.Reader, tolerance float64) {
	t.Helper()
	params := map[string]*ag.Param{}
	for _, p := range a.Params() {
		params[p.Name] = p
	}
	for _, name := range want.Names() {
		if !strings.HasPrefix(name, "grad.") {
			continue
		}
		key := strings.Replace(strings.TrimPrefix(name, "grad."), ".default", "", 1)
		key = strings.Replace(key, "magnitude_vector.weight", "magnitude_vector", 1)
		if whole := strings.Replace(key, ".modules_to_save", "", 1); whole != key { // a parameter of the model itself
			key = strings.TrimPrefix(whole, "base_model.model.")
		}
		p := params[key]
		if p == nil {
			t.Errorf("%s: is not a parameter of the adapter", key)
			continue
		}
		delete(params, key)
		w := floats(t, want, name)
		largest := 0.0
		for _, x := range w {
			largest = math.Max(largest, math.Abs(float64(x)))
		}
		near(t, "gradient of "+key, p.GradFloat32s(), w, tolerance*largest, 0)
	}
	for name := range params {
		t.Errorf("%s: has no gradient in the golden case", name)
	}
}

// compareDirect checks the logits computed without a graph.
func compareDirect(t *testing.T, m *mamba.Model, want *weights.Reader) {
	t.Helper()
	near(t, "direct logits", directLogits(t, m, sequences(t, want, "input_ids")), floats(t, want, "logits"), logitsAbs, logitsRel)
}

func compareMerged(t *testing.T, m *mamba.Model, want *weights.Reader) {
	t.Helper()
	found := map[string]bool{}
	for _, p := range m.Params() {
		w, ok := want.Tensor(p.Name)
		if !ok {
			continue
		}
		found[p.Name] = true
		v, err := w.Float32s()
		if err != nil {
			t.Fatal(err)
		}
		near(t, "merged "+p.Name, p.Float32s(), v, mergedAbs, 0)
	}
	for _, name := range want.Names() {
		if !found[name] {
			t.Errorf("%s: is not in the merged model", name)
		}
	}
}

// directLogits returns the logits of all positions, one sequence after another.
func directLogits(t *testing.T, m *mamba.Model, ids [][]int) []float32 {
	t.Helper()
	out, err := m.Run(context.Background(), mamba.Input{IDs: ids}, mamba.Want{Logits: mamba.AllPositions})
	if err != nil {
		t.Fatal(err)
	}
	var v []float32
	for i := range out.Logits.Rows {
		v = append(v, out.Logits.Row(i)...)
	}
	return v
}

func goldenBatch(t *testing.T, want *weights.Reader) ag.Batch {
	t.Helper()
	var b ag.Batch
	labels := sequences(t, want, "labels")
	for i, ids := range sequences(t, want, "input_ids") {
		b.Starts = append(b.Starts, len(b.Tokens))
		b.Tokens, b.Labels = append(b.Tokens, ids...), append(b.Labels, labels[i]...)
	}
	return b
}

func sequences(t *testing.T, file *weights.Reader, name string) [][]int {
	t.Helper()
	x, ok := file.Tensor(name)
	if !ok {
		t.Fatalf("%s: is missing", name)
	}
	ids, err := x.Ints()
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]int
	for ; len(ids) > 0; ids = ids[x.Shape[1]:] {
		rows = append(rows, ids[:x.Shape[1]])
	}
	return rows
}

func floats(t *testing.T, file *weights.Reader, name string) []float32 {
	t.Helper()
	x, ok := file.Tensor(name)
	if !ok {
		t.Fatalf("%s: is missing", name)
	}
	v, err := x.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func openTensors(t *testing.T, path string) *weights.Reader {
	t.Helper()
	f, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// near fails at the first value with an error of more than abs + rel·|want|.
func near(t *testing.T, what string, got, want []float32, abs, rel float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d values, want %d", what, len(got), len(want))
		return
	}
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - float64(w)); !(d <= abs+rel*math.Abs(float64(w))) {
			t.Errorf("%s: at %d: got %v, want %v", what, i, got[i], w)
			return
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o666); err != nil {
		t.Fatal(err)
	}
}
