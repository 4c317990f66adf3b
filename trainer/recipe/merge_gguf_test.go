package recipe

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn/weights"
)

// TestMerge_quantized checks that, for a base in blocks, weights that the adapter does not change keep their bytes, and
// those that it changes are the float32 merge, quantized once. Both differences are reported.
func TestMerge_quantized(t *testing.T) {
	base := filepath.Join("..", "..", "lora", "testdata", "models", "Q4_K_M.gguf")
	model, err := LoadModel(t.Context(), base, "", LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := *DefaultLoRA()
	c.TargetModules = lora.ParseTargets("in_proj, embeddings")
	a, err := NewAdapter(model.Model, c, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range a.Params() {
		for i := range p.Float32s() {
			p.Float32s()[i] += float32(i%7-3) * 1e-3
		}
	}
	dir := t.TempDir()
	if err := a.Save(filepath.Join(dir, "adapter"), lora.SaveOptions{BaseModel: base}); err != nil {
		t.Fatal(err)
	}
	m, err := OpenMerge(t.Context(), nil, base, Share{filepath.Join(dir, "adapter"), 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	file := filepath.Join(dir, "merged.gguf")
	described := ""
	r, err := m.WriteGGUF(t.Context(), file, mamba.GGUFOptions{Type: "Q4_K_M"}, func(dir string, _ *mamba.GGUFOptions) error {
		described = dir
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Changed != 3 || !r.UntiedHead || r.Difference == nil || r.Quantization == nil || !(*r.Difference < 1e-4 && *r.Quantization > 1e-2) {
		t.Errorf("report %+v, %v, %v", r, r.Difference, r.Quantization)
	}
	if _, err := os.Stat(described); err == nil {
		t.Errorf("%s is left", described)
	}
	if err := os.Mkdir(filepath.Join(dir, "whole"), 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Write(t.Context(), filepath.Join(dir, "whole"), mamba.SaveOptions{DType: weights.F32}); err != nil {
		t.Fatal(err)
	}
	want, err := mamba.Load(filepath.Join(dir, "whole"), mamba.LoadOptions{Precision: mamba.Q4})
	if err != nil {
		t.Fatal(err)
	}
	got, err := mamba.Load(file, mamba.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	before, err := mamba.Load(base, mamba.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	old := map[string]string{}
	for _, p := range before.Params() {
		_, blocks, _ := p.Quantized()
		old[p.Name] = string(blocks)
	}
	for i, p := range got.Params() {
		_, blocks, _ := p.Quantized()
		expected := old[p.Name]
		if strings.Contains(p.Name, "in_proj") || strings.Contains(p.Name, "embeddings") {
			_, b, _ := want.Params()[i].Quantized()
			expected = string(b)
		}
		if p.Name == "lm_head.weight" {
			expected = old["backbone.embeddings.weight"]
		}
		if string(blocks) != expected {
			t.Errorf("%s has other blocks", p.Name)
		}
	}
	if _, err := m.Undo(t.Context(), file, filepath.Join(dir, "undone"), mamba.SaveOptions{}); err == nil || !strings.Contains(err.Error(), "was quantized") {
		t.Errorf("unmerge: %v", err)
	}
}
