package recipe

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"mambatrain/data/tokenizer"
	"mambatrain/internal/testfile"
	"mambatrain/mamba"
)

// TestExportGGUF_tokenizer exports models with tokenizers that the keys of a GGUF file describe entirely, and with some
// that they do not: that put a space before a text, or fewer spaces than llama.cpp. The file's tokenizer produces the
// same ids.
func TestExportGGUF_tokenizer(t *testing.T) {
	c := mamba.Default()
	c.HiddenSize, c.IntermediateSize, c.TimeStepRank, c.NumHiddenLayers, c.VocabSize = 8, 16, 1, 1, 704
	model, err := NewModel(c, mamba.InitMambaSSM, 1, mamba.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"falcon", "prefix", "llama2", "codestral"} {
		dir := t.TempDir()
		if err := model.Save(dir, mamba.SaveOptions{}); err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("..", "..", "data", "tokenizer", "testdata", "families", name)
		b := testfile.Read(t, golden+".json")
		if name == "llama2" || name == "codestral" {
			b = withAllMerges(t, b)
		}
		if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), b, 0o666); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "x.gguf")
		if _, err := mamba.ExportGGUF(t.Context(), dir, file, mamba.GGUFOptions{}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want, err := tokenizer.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(dir, "tokenizer.json")); err != nil {
			t.Fatal(err)
		}
		got, err := tokenizer.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range testfile.Lines[struct {
			Text []byte `json:"text_b64"`
		}](t, golden+".jsonl") {
			text := string(c.Text)
			ids := want.AppendText(nil, text)
			if has := got.AppendText(nil, text); !slices.Equal(has, ids) {
				t.Errorf("%s: %q is %v, want %v", name, text, has, ids)
			}
		}
	}
}

// withAllMerges adds every merge of two tokens into a third to a tokenizer.json, next to the merge that makes the same
// token, as in tokenizers converted from SentencePiece.
func withAllMerges(t *testing.T, b []byte) []byte {
	t.Helper()
	var file map[string]any
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	model := file["model"].(map[string]any)
	vocabulary := model["vocab"].(map[string]any)
	var merges [][2]string
	seen := map[string]bool{}
	for _, m := range model["merges"].([]any) {
		parts := m.([]any)
		token := parts[0].(string) + parts[1].(string)
		if seen[token] {
			continue
		}
		seen[token] = true
		for at := range token {
			left, right := token[:at], token[at:]
			if vocabulary[left] != nil && vocabulary[right] != nil {
				merges = append(merges, [2]string{left, right})
			}
		}
	}
	model["merges"] = merges
	b, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
