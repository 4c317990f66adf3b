package mamba

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"mambatrain/nn/weights"
)

// Tolerances of a correct float32 implementation. The reference was computed by transformers in float32, with sums in
// a different order.
const (
	valueAbs = 2e-5 // logits, hidden states, and recurrent states: |Δ| ≤ valueAbs + valueRel·|want|
	valueRel = 1e-5
	lossRel  = 1e-6 // losses
	gradRel  = 1e-4 // gradients, relative to the tensor's largest element
	// selfAbs is the maximum difference between two of our own ways to compute the same value.
	selfAbs = 5e-6
	// probAbs is the tolerance of probabilities after sampling controls, which are float32 in the reference.
	probAbs = 1e-6
)

// golden opens a reference case.
func golden(t testing.TB, parts ...string) *weights.Reader {
	t.Helper()
	f, err := weights.Open(filepath.Join(append([]string{"testdata", "golden"}, parts...)...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func floats(t testing.TB, f *weights.Reader, name string) []float32 {
	t.Helper()
	x, ok := f.Tensor(name)
	if !ok {
		t.Fatalf("%s: no tensor %s", f.Path(), name)
	}
	v, err := x.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// sequences reads an I64 matrix as rows, or returns nil if the file has no tensor with that name.
func sequences(t testing.TB, f *weights.Reader, name string) [][]int {
	t.Helper()
	x, ok := f.Tensor(name)
	if !ok {
		return nil
	}
	v, err := x.Ints()
	if err != nil {
		t.Fatal(err)
	}
	rows := make([][]int, x.Shape[0])
	for i := range rows {
		rows[i] = v[i*x.Shape[1] : (i+1)*x.Shape[1]]
	}
	return rows
}

func loadGolden(t testing.TB, name string) *Model {
	t.Helper()
	m, err := Load(filepath.Join("testdata", "golden", name), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// near fails unless |got − want| ≤ valueAbs + valueRel·|want|.
func near(t testing.TB, what string, got, want []float32) {
	t.Helper()
	within(t, what, got, want, valueAbs, valueRel)
}

func within(t testing.TB, what string, got, want []float32, abs, rel float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d elements, want %d", what, len(got), len(want))
	}
	worst, at := 0.0, -1
	for i := range got {
		if got[i] == want[i] {
			continue
		}
		d := math.Abs(float64(got[i])-float64(want[i])) / (abs + rel*math.Abs(float64(want[i])))
		if d > worst || math.IsNaN(d) {
			worst, at = d, i
		}
		if math.IsNaN(d) {
			break
		}
	}
	if at >= 0 && !(worst <= 1) {
		t.Errorf("%s: element %d is %v, want %v: %.1f times the tolerance", what, at, got[at], want[at], worst)
	}
}

func nearLoss(t testing.TB, what string, got, want float64) {
	t.Helper()
	if !(math.Abs(got-want) <= lossRel*math.Abs(want)) {
		t.Errorf("%s: loss %.8f, want %.8f", what, got, want)
	}
}

// cases lists the reference's forward cases for a model.
func cases(t testing.TB, model, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "golden", model, pattern+".safetensors"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases %s/%s: %v", model, pattern, err)
	}
	for i, p := range paths {
		paths[i] = strings.TrimSuffix(filepath.Base(p), ".safetensors")
	}
	return paths
}

// goldenModels are the reference's models, each a directory with cases: three of Mamba-1, computed by transformers
// 5.23.0, then FalconMamba and Mamba-2 by 5.24.0. The decoding of mamba2_groups was computed from the recurrence in
// double precision, because transformers does not limit Δ there.
var goldenModels = []string{"base", "variant", "nobias", "falcon", "falcon_variant", "mamba2", "mamba2_groups", "mamba2_nobias"}

func name(format string, args ...any) string { return fmt.Sprintf(format, args...) }
