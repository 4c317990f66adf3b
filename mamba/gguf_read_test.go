package mamba

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mambatrain/internal/quant"
	"mambatrain/nn/weights"
)

// TestLoadGGUF_golden checks that the logits of GGUF files equal those of float32 arithmetic on the dequantized
// weights, for all types and any order and alignment of the tensors, also when loaded from any one of several shards.
func TestLoadGGUF_golden(t *testing.T) {
	for _, dir := range []string{"variants", "falcon_mamba", "mamba2"} {
		dir = filepath.Join("testdata/gguf", dir)
		golden, err := weights.Open(filepath.Join(dir, "logits.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		defer golden.Close()
		files, err := filepath.Glob(filepath.Join(dir, "*.gguf"))
		if err != nil || len(files) == 0 {
			t.Fatal("no files", err)
		}
		prompt, _ := golden.Tensor("input_ids")
		ids, err := prompt.Ints()
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			t.Run(file, func(t *testing.T) {
				x, ok := golden.Tensor(strings.TrimSuffix(filepath.Base(file), ".gguf") + ".logits")
				if !ok { // tensors of another file
					x, _ = golden.Tensor("Q8_0.logits")
				}
				want, err := x.Float32s()
				if err != nil {
					t.Fatal(err)
				}
				m, err := Load(file, LoadOptions{})
				if err != nil {
					t.Fatal(err)
				}
				out, err := m.Run(ctx, Input{IDs: [][]int{ids}}, Want{Logits: len(want) / m.Config.VocabSize})
				if err != nil {
					t.Fatal(err)
				}
				var got []float32
				for i := range out.Logits.Rows {
					got = append(got, out.Logits.Row(i)...)
				}
				within(t, file, got, want, 2e-5, 1e-5)
			})
		}
	}
}

// TestGGUFRoundTrip checks that an exported configuration is read back, and so are the weights, within the precision
// of the type.
func TestGGUFRoundTrip(t *testing.T) {
	const dir = "testdata/golden/base/model"
	c, err := LoadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "x.gguf")
	if _, err := ExportGGUF(ctx, dir, file, GGUFOptions{Type: GGUFF32}); err != nil {
		t.Fatal(err)
	}
	got, err := LoadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string][2]any{
		"model_type": {got.ModelType, c.ModelType}, "hidden_size": {got.HiddenSize, c.HiddenSize}, "vocab_size": {got.VocabSize, c.VocabSize},
		"time_step_rank": {got.TimeStepRank, c.TimeStepRank}, "layer_norm_epsilon": {got.LayerNormEpsilon, c.LayerNormEpsilon},
		"tie_word_embeddings": {got.TieWordEmbeddings, c.TieWordEmbeddings}, "intermediate_size": {got.IntermediateSize, c.IntermediateSize},
	} {
		if v[0] != v[1] {
			t.Errorf("%s is %v, want %v", name, v[0], v[1])
		}
	}
	was, is := loadGolden(t, "base/model"), loadFile(t, file)
	for i, p := range was.Params() {
		tolerance := 0.0
		if strings.HasSuffix(p.Name, ".A_log") { // converted to −exp and back
			tolerance = 1e-6
		}
		within(t, p.Name, is.Params()[i].Float32s(), p.Float32s(), tolerance, tolerance)
	}
}

func loadFile(t *testing.T, file string) *Model {
	t.Helper()
	m, err := Load(file, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestLoadGGUF_refuses checks that GGUF files of other models and incomplete ones are rejected.
func TestLoadGGUF_refuses(t *testing.T) {
	whole, err := os.ReadFile("testdata/gguf/mamba2/Q4_K_M.gguf")
	if err != nil {
		t.Fatal(err)
	}
	for want, b := range map[string][]byte{
		`"other2" is not supported`: []byte(strings.Replace(string(whole), "mamba2", "other2", 1)),
		"want a whole number":       []byte(strings.Replace(string(whole), "mamba2.block_count", "mamba2.block_tnuoc", 1)),
		"may be truncated":          whole[:len(whole)-100],
		"do not match its keys:":    []byte(strings.Replace(string(whole), "blk.0.ssm_d", "blk.0.ssm_q", 1)),
	} {
		file := filepath.Join(t.TempDir(), "x.gguf")
		if err := os.WriteFile(file, b, 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(file, LoadOptions{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	shard := filepath.Join(t.TempDir(), "split-Q8_0-00001-of-00003.gguf")
	first, err := os.ReadFile("testdata/gguf/variants/split-Q8_0-00001-of-00003.gguf")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(shard, first, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(shard, LoadOptions{}); err == nil || !strings.Contains(err.Error(), "shard 2 of 3") {
		t.Errorf("a shard is missing: %v", err)
	}
}

// TestGGUFType_of checks that types are chosen as in llama.cpp: by the type of the file, the length of the rows, and
// for the head.
func TestGGUFType_of(t *testing.T) {
	for _, c := range []struct {
		file    GGUFType
		columns int
		head    bool
		want    quant.Type
	}{
		{"Q4_K_M", 768, false, quant.Q4_K}, {"Q4_K_M", 64, false, quant.Q5_0}, {"Q4_K_M", 48, false, quant.F16}, {"Q4_K_M", 768, true, quant.Q6_K},
		{"Q4_K_M", 64, true, quant.Q8_0}, {"Q5_K_M", 160, false, quant.Q5_1}, {"Q6_K", 96, false, quant.Q8_0}, {"Q4_0", 768, true, quant.Q6_K},
		{"Q4_0", 64, false, quant.Q4_0}, {"Q8_0", 768, true, quant.Q8_0}, {"F16", 48, true, quant.F16}, {"BF16", 768, true, quant.BF16},
	} {
		if got := ggufTypes[c.file].of(c.columns, c.head); got != c.want {
			t.Errorf("%s, rows of %d, head %v: got %s, want %s", c.file, c.columns, c.head, got, c.want)
		}
	}
}
