package tokenizer

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mambatrain/internal/fault"
	"mambatrain/internal/gguf"
)

// The tokenizer of a GGUF file produces the same ids as the tokenizer.json that the file was made from.
func TestLoadGGUF_golden(t *testing.T) {
	of := map[string]*Tokenizer{}
	for model, file := range map[string]string{"mamba": "variants/Q8_0.gguf", "falcon_mamba": "falcon_mamba/Q4_K_M.gguf"} {
		tok, err := Load(filepath.Join("../../mamba/testdata/gguf", file))
		if err != nil {
			t.Fatal(err)
		}
		of[model] = tok
	}
	f, err := os.Open("testdata/gguf_texts.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for s := bufio.NewScanner(f); s.Scan(); n++ {
		var row struct {
			Model, Text string
			IDs         []int `json:"ids"`
		}
		if err := json.Unmarshal(s.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		if got := of[row.Model].Encode(row.Text); !slices.Equal(got, row.IDs) {
			t.Errorf("%s: %q is %v, want %v", row.Model, row.Text, got, row.IDs)
		}
	}
	if n == 0 {
		t.Error("no texts")
	}
	if falcon := of["falcon_mamba"]; falcon.ChatTemplateText() == "" || falcon.settings.eos < 0 {
		t.Error("the chat template or the end of text is missing")
	}
}

// A tokenizer that cannot be rebuilt exactly is rejected with advice.
func TestLoadGGUF_refuses(t *testing.T) {
	for name, c := range map[string]struct {
		set      func(w *gguf.Writer)
		notFound bool
		names    string // what the error names in addition to the advice
	}{
		"no tokenizer": {func(w *gguf.Writer) { w.Set("tokenizer.ggml.model", "no_vocab") }, true, "has no tokenizer"},
		"Unigram":      {func(w *gguf.Writer) { w.Set("tokenizer.ggml.model", "t5") }, false, `"t5"`},
		"another pre-tokenizer": {func(w *gguf.Writer) {
			w.Set("tokenizer.ggml.model", "gpt2")
			w.Set("tokenizer.ggml.pre", "qwen2")
			w.Set("tokenizer.ggml.tokens", []string{"a"})
			w.Set("tokenizer.ggml.merges", []string{"a a"})
		}, false, "qwen2"},
		"kinds of other tokens": {func(w *gguf.Writer) {
			w.Set("tokenizer.ggml.model", "gpt2")
			w.Set("tokenizer.ggml.tokens", []string{"a"})
			w.Set("tokenizer.ggml.merges", []string{"a a"})
			w.Set("tokenizer.ggml.token_type", []int32{1, 1})
		}, false, ""},
		"no merges": {func(w *gguf.Writer) {
			w.Set("tokenizer.ggml.model", "gpt2")
			w.Set("tokenizer.ggml.tokens", []string{"a"})
		}, false, ""},
	} {
		_, err := Load(writeGGUF(t, c.set))
		if err == nil || errors.Is(err, fault.ErrNotFound) != c.notFound {
			t.Errorf("%s: error %v", name, err)
		}
		if c.names != "" && (!strings.Contains(err.Error(), c.names) || !strings.Contains(err.Error(), "--tokenizer")) {
			t.Errorf("%s: got %q, want it to name %q and --tokenizer", name, err, c.names)
		}
	}
}

// The merges of a vocabulary of single characters are empty.
func TestLoadGGUF_noMerges(t *testing.T) {
	tok, err := Load(writeGGUF(t, func(w *gguf.Writer) {
		w.Set("tokenizer.ggml.model", "gpt2")
		w.Set("tokenizer.ggml.tokens", []string{"a", "b"})
		w.Set("tokenizer.ggml.merges", []string{})
	}))
	if err != nil {
		t.Fatal(err)
	}
	if got := tok.Encode("aba"); !slices.Equal(got, []int{0, 1, 0}) {
		t.Errorf("got %v", got)
	}
}

// Whether texts are normalized is read from the file. Without the key, it depends on the vocabulary.
func TestLoadGGUF_normalizer(t *testing.T) {
	for _, c := range []struct {
		first string // token of the vocabulary
		nfc   any    // the key's value; nil: absent
		want  []int
	}{
		{"x", nil, []int{4, 5, 6}}, {"x", false, []int{4, 5, 6}}, {"x", true, []int{2, 3}},
		{"<|endoftext|>", nil, []int{2, 3}}, {"<|endoftext|>", false, []int{4, 5, 6}},
	} {
		tok, err := Load(writeGGUF(t, func(w *gguf.Writer) {
			w.Set("tokenizer.ggml.model", "gpt2")
			w.Set("tokenizer.ggml.tokens", []string{c.first, "<|padding|>", "Ã", "©", "e", "Ì", "ģ"})
			w.Set("tokenizer.ggml.merges", []string{})
			if c.nfc != nil {
				w.Set(gguf.NFC, c.nfc)
			}
		}))
		if err != nil {
			t.Fatal(err)
		}
		if got := tok.Encode("e\u0301"); !slices.Equal(got, c.want) {
			t.Errorf("%s, normalizer.nfc %v: got %v, want %v", c.first, c.nfc, got, c.want)
		}
	}
}

// writeGGUF writes a file with keys alone.
func writeGGUF(t *testing.T, set func(w *gguf.Writer)) string {
	t.Helper()
	var w gguf.Writer
	set(&w)
	path := filepath.Join(t.TempDir(), "x.gguf")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(f), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}
