package recipe

import (
	"context"
	"errors"
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
	dir := t.TempDir()
	m := quantizedMerge(t, dir)
	base := m.Base
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
			t.Errorf("%s has different blocks", p.Name)
		}
	}
	if _, err := m.Undo(t.Context(), file, filepath.Join(dir, "undone"), weights.DefaultShardBytes); err == nil || !strings.Contains(err.Error(), "was quantized") {
		t.Errorf("unmerge: %v", err)
	}
}

// quantizedMerge opens a base in blocks and an adapter that changes three of its matrices. The adapter is in dir.
func quantizedMerge(t *testing.T, dir string) *Merge {
	t.Helper()
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
	if err := a.Save(filepath.Join(dir, "adapter"), lora.SaveOptions{BaseModel: base}); err != nil {
		t.Fatal(err)
	}
	m, err := OpenMerge(t.Context(), nil, base, Share{filepath.Join(dir, "adapter"), 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// withMemory runs f as on a machine with the given memory.
func withMemory(t *testing.T, bytes int64, f func()) {
	t.Helper()
	defer func(before func() int64) { machineMemory = before }(machineMemory)
	machineMemory = func() int64 { return bytes }
	f()
}

// TestMerge_large merges into a base that does not fit in memory in float32. The file is the same, byte for byte, and
// the report has the difference from the adapted model.
func TestMerge_large(t *testing.T) {
	dir := t.TempDir()
	m := quantizedMerge(t, dir)
	describe := func(string, *mamba.GGUFOptions) error { return nil }
	write := func(name string) (MergeReport, string) {
		file := filepath.Join(dir, name)
		r, err := m.WriteGGUF(t.Context(), file, mamba.GGUFOptions{Type: "Q4_K_M"}, describe)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return r, string(b)
	}
	small, want := write("small.gguf")
	bytes, _, err := mamba.Footprint(m.config, mamba.LoadOptions{Precision: mamba.Float32, VocabSize: m.rows})
	if err != nil {
		t.Fatal(err)
	}
	withMemory(t, (bytes+ownMemory)/9*10-100, func() {
		r, got := write("large.gguf")
		if got != want {
			t.Error("the file differs from that of a machine with more memory")
		}
		if r.Difference != nil || r.Quantization == nil || r.Tensors != small.Tensors || r.Changed != 3 || !r.UntiedHead {
			t.Errorf("report %+v", r)
		} else if d := *r.Quantization - *small.Quantization; d < -*small.Difference || d > *small.Difference {
			t.Errorf("differs from the adapted model by %g, want %g give or take %g", *r.Quantization, *small.Quantization, *small.Difference)
		}
	})
	withMemory(t, (bytes+ownMemory)/9*10-100, func() {
		whole := filepath.Join(dir, "whole")
		if err := os.Mkdir(whole, 0o777); err != nil {
			t.Fatal(err)
		}
		r, err := m.Write(t.Context(), whole, mamba.SaveOptions{DType: weights.F32})
		if err != nil || !r.TooLarge || r.Difference != nil {
			t.Errorf("a directory: report %+v, %v", r, err)
		}
	})
}

// interrupted is a context that is canceled after some more questions for its error.
type interrupted struct {
	context.Context
	left int
}

func (c *interrupted) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// A merge that is interrupted at any tensor leaves the file that was there before, and no other.
func TestMerge_interrupted(t *testing.T) {
	dir := t.TempDir()
	m := quantizedMerge(t, dir)
	file := filepath.Join(dir, "merged.gguf")
	if err := os.WriteFile(file, []byte("before"), 0o666); err != nil {
		t.Fatal(err)
	}
	finished := false
	for n := 0; !finished && n < 1000; n = 2*n + 1 {
		ctx := &interrupted{t.Context(), 1 << 30}
		_, err := m.WriteGGUF(ctx, file, mamba.GGUFOptions{Type: "Q4_K_M"}, func(string, *mamba.GGUFOptions) error {
			ctx.left = n // from here on, tensors are written
			return nil
		})
		if _, statErr := os.Stat(file); err == nil || statErr != nil {
			finished = true
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("after %d tensors: %v", n, err)
		}
		checkUntouched(t, file)
	}
	if !finished {
		t.Error("no merge was complete")
	}
}

// checkUntouched reports an error unless a file is as it was and only the adapter is next to it.
func checkUntouched(t *testing.T, file string) {
	t.Helper()
	if b, err := os.ReadFile(file); string(b) != "before" {
		t.Errorf("the file is now %d bytes, %v", len(b), err)
	}
	list, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(list) != 2 {
		t.Errorf("%v, %v: want the adapter and the file", list, err)
	}
}
