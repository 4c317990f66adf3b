package tokenizer

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mambatrain/internal/gguf"
	"mambatrain/internal/testfile"
)

// goldenPieces is a SentencePiece vocabulary, with texts as llama.cpp encodes and decodes them.
type goldenPieces struct {
	Name   string
	Tokens []string
	Scores []float32
	Types  []int32
	Keys   map[string]any
	Texts  []struct {
		Text    string
		IDs     []int
		Whole   []int // with the tokens around the text
		Decoded string
	}
}

func (g goldenPieces) set(w *gguf.Writer) {
	w.Set("tokenizer.ggml.model", "llama")
	w.Set("tokenizer.ggml.tokens", g.Tokens)
	w.Set("tokenizer.ggml.token_type", g.Types)
	if g.Scores != nil {
		w.Set("tokenizer.ggml.scores", g.Scores)
	}
	for key, value := range g.Keys {
		if id, ok := value.(float64); ok {
			value = uint32(id)
		}
		w.Set("tokenizer.ggml."+key, value)
	}
}

// The tokenizer of a SentencePiece vocabulary produces llama.cpp's ids and texts: of a vocabulary that sentencepiece
// trained, with and without a space before a text, and of vocabularies whose scores are equal, in an order unlike that
// of merges, or missing.
func TestLoadGGUF_pieces(t *testing.T) {
	for _, g := range testfile.Lines[goldenPieces](t, "testdata/pieces_golden.jsonl") {
		path := writeGGUF(t, g.set)
		tok, err := Load(path)
		if err != nil {
			t.Fatalf("%s: %v", g.Name, err)
		}
		for _, c := range g.Texts {
			if got := widen(tok.AppendText(nil, c.Text)); !slices.Equal(got, c.IDs) {
				t.Errorf("%s: %q is %v, want %v", g.Name, c.Text, got, c.IDs)
			}
			if got := tok.Encode(c.Text); !slices.Equal(got, c.Whole) {
				t.Errorf("%s: %q is %v with the tokens around it, want %v", g.Name, c.Text, got, c.Whole)
			}
			if got := tok.Decode(c.IDs); got != c.Decoded {
				t.Errorf("%s: %v is %q, want %q", g.Name, c.IDs, got, c.Decoded)
			}
		}
	}
}

// The tokenizer.json of a SentencePiece vocabulary is complete: of a vocabulary that sentencepiece trained, it produces
// the same ids.
func TestGGUFFiles_pieces(t *testing.T) {
	g := testfile.Lines[goldenPieces](t, "testdata/pieces_golden.jsonl")[0]
	files, err := GGUFFiles(writeGGUF(t, g.set))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	tok := loadTokenizer(t, dir)
	for _, c := range g.Texts {
		if got := tok.Encode(c.Text); !slices.Equal(got, c.Whole) {
			t.Errorf("%q is %v, want %v", c.Text, got, c.Whole)
		}
		if got := tok.Decode(c.IDs); got != c.Decoded {
			t.Errorf("%v is %q, want %q", c.IDs, got, c.Decoded)
		}
	}
}

// A SentencePiece vocabulary that is damaged, or that a tokenizer.json cannot express, is rejected.
func TestLoadGGUF_refusesPieces(t *testing.T) {
	for want, g := range map[string]goldenPieces{
		"is missing or empty":           {},
		"has 1 scores for 2 tokens":     {Tokens: []string{"a", "b"}, Types: []int32{1, 1}, Scores: []float32{0}},
		`"a" appears twice`:             {Tokens: []string{"a", "a"}, Types: []int32{1, 1}},
		"token 1 is not UTF-8":          {Tokens: []string{"a", "\xff"}, Types: []int32{1, 1}},
		"token 0 has 1025 bytes":        {Tokens: []string{strings.Repeat("a", 1025)}, Types: []int32{1}},
		`forms "aé" from "a" and "é"`:   {Tokens: []string{"a", "aé"}, Types: []int32{1, 1}},
		`forms "éa" from "é" and "a"`:   {Tokens: []string{"a", "éa"}, Types: []int32{1, 1}},
		"has 1 types for 2 tokens":      {Tokens: []string{"a", "b"}, Types: []int32{1}},
		`forms "▁x" from "▁" and "x"`:   {Tokens: []string{"a", "▁x"}, Types: []int32{1, 4}},
		"has a score that is not a num": {Tokens: []string{"a"}, Types: []int32{1}, Scores: []float32{float32(math.NaN())}},
	} {
		refuses(t, want, g.set)
	}
	g := goldenPieces{Tokens: []string{"a"}, Types: []int32{1}}
	refuses(t, "want an array of float32", func(w *gguf.Writer) {
		g.set(w)
		w.Set("tokenizer.ggml.scores", []int32{1})
	})
}

// refuses checks that a file with the given keys is rejected in one line.
func refuses(t *testing.T, want string, set func(w *gguf.Writer)) {
	t.Helper()
	_, err := Load(writeGGUF(t, set))
	if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want %q", err, want)
	}
}

// A stream of tokens decodes to llama.cpp's text, which lacks only the space that was put before it.
func TestTextStream_pieces(t *testing.T) {
	for _, g := range testfile.Lines[goldenPieces](t, "testdata/pieces_golden.jsonl") {
		tok, err := Load(writeGGUF(t, g.set))
		if err != nil {
			t.Fatal(err)
		}
		prefix := g.Keys["add_space_prefix"] != false
		for _, c := range g.Texts {
			var s TextStream
			text := ""
			for _, id := range c.IDs {
				b, _ := tok.Bytes(id)
				text += s.Add(b)
			}
			text += s.Rest()
			if prefix {
				text = strings.TrimPrefix(text, " ")
			}
			if text != c.Decoded {
				t.Errorf("%s: streamed %q, want %q", g.Name, text, c.Decoded)
			}
		}
	}
}
