package mamba

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mambatrain/internal/quant"
	"mambatrain/nn/weights"
)

// blockModel saves a small model of a family, with or without a tied head, whose rows are multiples of 256 elements.
func blockModel(t *testing.T, family string, tied bool) string {
	t.Helper()
	c, err := Preset(map[string]string{"mamba": "130m", "mamba2": "mamba2-130m", "falcon_mamba": "falcon-7b"}[family])
	if err != nil {
		t.Fatal(err)
	}
	c.VocabSize, c.HiddenSize, c.IntermediateSize, c.NumHiddenLayers, c.TimeStepRank, c.StateSize = 40, 256, 512, 2, 48, 16
	c.TieWordEmbeddings = tied
	if family == "mamba2" {
		c.NumHeads, c.HeadDim, c.NGroups = 8, 64, 1
	}
	if family == "falcon_mamba" {
		c.TimeStepRank = 64
	}
	m, err := New(c, InitMambaSSM, rand.New(rand.NewPCG(3, 4)), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := m.Save(dir, SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestLoad_quantized checks that weights quantized on loading equal those in a GGUF file of that type, block for
// block, and that a file's blocks are kept unless another form is requested.
func TestLoad_quantized(t *testing.T) {
	for _, c := range []struct {
		family string
		tied   bool
	}{{"mamba", true}, {"mamba", false}, {"mamba2", true}, {"falcon_mamba", false}} {
		dir := blockModel(t, c.family, c.tied)
		for precision, file := range map[Precision]GGUFType{Q8: GGUFQ8, Q4: ggufQ4} {
			path := filepath.Join(t.TempDir(), "x.gguf")
			if _, err := ExportGGUF(ctx, dir, path, GGUFOptions{Type: file}); err != nil {
				t.Fatal(err)
			}
			want := loadFile(t, path).Params()
			for _, from := range []struct {
				path string
				LoadOptions
			}{{dir, LoadOptions{Precision: precision}}, {dir, LoadOptions{Precision: precision, Packed: true}}, {path, LoadOptions{Precision: precision}}} {
				m, err := Load(from.path, from.LoadOptions)
				if err != nil {
					t.Fatal(err)
				}
				for i, p := range m.Params() {
					of, blocks, _ := p.Quantized()
					wantOf, wantBlocks, quantized := want[i].Quantized()
					columns := p.Shape()[len(p.Shape())-1]
					if isMatrix(p.Name, p.Shape()) && columns%32 == 0 != quantized {
						t.Errorf("%s: %s is quantized: %v", file, p.Name, quantized)
					}
					if of != wantOf || !slices.Equal(blocks, wantBlocks) {
						t.Errorf("%s %v: %s is in %v, or its blocks differ from those in %v", file, from, p.Name, of, wantOf)
					}
					if !quantized && !strings.HasSuffix(p.Name, ".A_log") && !slices.Equal(p.Float32Copy(), want[i].Float32Copy()) {
						t.Errorf("%s %v: %s differs", file, from, p.Name)
					}
				}
			}
			for _, other := range []Precision{Float32, BF16} {
				m, err := Load(path, LoadOptions{Precision: other})
				if err != nil {
					t.Fatal(err)
				}
				for i, p := range m.Params() {
					if _, _, ok := p.Quantized(); ok || p.IsBF16() != (other == BF16 && isMatrix(p.Name, p.Shape())) {
						t.Errorf("%s as %s: %s has a different form", file, other, p.Name)
					}
					if other == Float32 && !slices.Equal(p.Float32s(), want[i].Float32Copy()) {
						t.Errorf("%s as %s: the values of %s differ from its blocks", file, other, p.Name)
					}
				}
			}
		}
	}
}

// TestLoad_quantizedComputes checks that a quantized model computes the same as its weights in float32: for whole
// texts, token by token, and with a separate head.
func TestLoad_quantizedComputes(t *testing.T) {
	for _, family := range []string{"mamba", "mamba2", "falcon_mamba"} {
		dir := blockModel(t, family, true)
		m, err := Load(dir, LoadOptions{Precision: Q4})
		if err != nil {
			t.Fatal(err)
		}
		plain, err := Load(dir, LoadOptions{Precision: Q4})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range plain.Params() {
			p.Unpack()
		}
		ids := []int{3, 1, 4, 1, 5, 9, 2, 6}
		logits := func(m *Model) []float32 {
			out, err := m.Run(ctx, Input{IDs: [][]int{ids}}, Want{Logits: AllPositions})
			if err != nil {
				t.Fatal(err)
			}
			return out.Logits.Data
		}
		want := logits(plain)
		within(t, family, logits(m), want, 2e-5, 1e-5)
		if m.Untie(); m.Tied() {
			t.Error("the head is still the table")
		}
		within(t, family+" untied", logits(m), want, 2e-5, 1e-5)
		d, state := m.NewDecoder(0), m.NewState(1)
		for i, id := range ids {
			next, err := d.Next(ctx, state, [][]int{{id}})
			if err != nil {
				t.Fatal(err)
			}
			v := m.Config.VocabSize
			within(t, family+" token by token", next.Row(0), want[i*v:(i+1)*v], 2e-5, 1e-5)
		}
		if err := m.Resize(50); err == nil || !strings.Contains(err.Error(), "is stored in Q6_K") {
			t.Errorf("resize: %v", err)
		}
	}
}

// TestLoad_quantizedResized checks that new rows of a quantized table are the mean of the old ones, and that rows can be
// dropped, for tables from any kind of file.
func TestLoad_quantizedResized(t *testing.T) {
	dir := blockModel(t, "mamba", true)
	path := filepath.Join(t.TempDir(), "x.gguf")
	if _, err := ExportGGUF(ctx, dir, path, GGUFOptions{Type: ggufQ4}); err != nil {
		t.Fatal(err)
	}
	small, err := Load(path, LoadOptions{Precision: Float32})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []int{43, 33} {
		want, old := resized(small.Embeddings.Weight.Float32s(), 256, v), min(v, 40)*256
		for _, precision := range []Precision{Float32, Stored} {
			m, err := Load(path, LoadOptions{Precision: precision, VocabSize: v})
			if err != nil {
				t.Fatal(err)
			}
			tolerance := 0.0
			if precision == Stored {
				tolerance = 3e-4 // one quantization step of the new rows; the old rows are not rounded again
				if of, _, _ := m.Embeddings.Weight.Quantized(); of != quant.Q6_K {
					t.Errorf("the table is in %v", of)
				}
				within(t, "old rows", m.Embeddings.Weight.Float32Copy()[:old], want[:old], 0, 0)
			}
			within(t, "rows", m.Embeddings.Weight.Float32Copy(), want, tolerance, 0)
		}
	}
}

// TestLoad_quantizedRefuses checks that unknown forms, and values that blocks cannot represent, are rejected.
func TestLoad_quantizedRefuses(t *testing.T) {
	dir := blockModel(t, "mamba", true)
	if _, err := Load(dir, LoadOptions{Precision: "q5"}); err == nil || !strings.Contains(err.Error(), "want one of auto, float32, bf16, q8, q4") {
		t.Errorf("q5: %v", err)
	}
	m, err := Load(dir, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m.Layers[1].Mixer.(*Mamba1).OutProj.Weight.Float32s()[777] = float32(math.NaN())
	if err := m.Save(dir, SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir, LoadOptions{Precision: Q8}); err == nil || !strings.Contains(err.Error(), "layers.1.mixer.out_proj.weight: has values that are not finite") {
		t.Errorf("a NaN: %v", err)
	}
	m.Layers[1].Mixer.(*Mamba1).OutProj.Weight.Float32s()[777] = 1e9
	if err := m.Save(dir, SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, precision := range []Precision{Q8, Q4} {
		if _, err := Load(dir, LoadOptions{Precision: precision}); err == nil || !strings.Contains(err.Error(), "layers.1.mixer.out_proj.weight: has values that are too large for Q") {
			t.Errorf("%s: a value with an infinite scale: %v", precision, err)
		}
	}
}

// TestWriteGGUF_notFinite checks that a tensor with a value beyond the range of its blocks is named, whether its blocks
// are computed or copied.
func TestWriteGGUF_notFinite(t *testing.T) {
	dir := blockModel(t, "mamba", true)
	m, err := Load(dir, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := m.Layers[1].Mixer.(*Mamba1).OutProj.Weight
	p.Float32s()[777] = 1e9
	if err := m.Save(dir, SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	var named []string
	o := GGUFOptions{NotFinite: func(name string) { named = append(named, name) }}
	for _, o.Type = range []GGUFType{GGUFQ8, ggufQ4} {
		named = nil
		path := filepath.Join(t.TempDir(), "x.gguf")
		if _, err := ExportGGUF(ctx, dir, path, o); err != nil {
			t.Fatal(err)
		}
		r, err := weights.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var entries []weights.Entry
		for _, name := range r.Names() {
			x, _ := r.Tensor(name)
			entries = append(entries, weights.FromTensor(name, x, x.DType))
		}
		if _, err := WriteGGUF(ctx, m.Config, entries, dir, filepath.Join(t.TempDir(), "y.gguf"), o); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(named, []string{p.Name, p.Name}) {
			t.Errorf("%s: got %v, want %s twice", o.Type, named, p.Name)
		}
	}
}

// TestNew_options checks that New, Outline, and Footprint heed the same options.
func TestNew_options(t *testing.T) {
	c := Default()
	c.VocabSize, c.HiddenSize, c.NumHiddenLayers, c.StateSize, c.TimeStepRank, c.IntermediateSize = 20, 8, 1, 4, 2, 16
	draw := func(o LoadOptions) (*Model, error) { return New(c, InitHF, rand.New(rand.NewPCG(1, 2)), o) }
	outline := func(o LoadOptions) (*Model, error) { return Outline(c, o) }
	for name, get := range map[string]func(LoadOptions) (*Model, error){"New": draw, "Outline": outline} {
		m, err := get(LoadOptions{VocabSize: 25})
		if err != nil {
			t.Fatal(err)
		}
		if m.Config.VocabSize != 25 || m.Head.Out() != 25 {
			t.Errorf("%s: the vocabulary has %d ids, want 25", name, m.Config.VocabSize)
		}
		if _, err := get(LoadOptions{Precision: "int3"}); err == nil {
			t.Errorf("%s: an unknown precision is accepted", name)
		}
	}
	if _, _, err := Footprint(c, LoadOptions{Precision: "int3"}); err == nil {
		t.Error("Footprint: an unknown precision is accepted")
	}
}
