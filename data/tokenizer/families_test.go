package tokenizer

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"mambatrain/internal/testfile"
)

// TestEncode_families encodes with tokenizers built like those of Llama 2 and 3, Qwen, Falcon, Codestral, and others:
// split patterns, digits, punctuation, spaces written as ▁, byte fallback, ignored merges, a prepended space, and added
// tokens with all flags. Ids, texts, and spans are those of the Rust library.
func TestEncode_families(t *testing.T) {
	type golden struct {
		goldenText
		Spans [][2]int
	}
	files, err := filepath.Glob("testdata/families/*.json")
	if err != nil || len(files) != 15 {
		t.Fatalf("%v, %v, want 15 tokenizers", files, err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			tok := loadTokenizer(t, path)
			for _, c := range testfile.Lines[golden](t, strings.TrimSuffix(path, "json")+"jsonl") {
				if got := tok.Encode(string(c.Text)); !slices.Equal(got, c.IDs) {
					t.Errorf("%q: ids %v, want %v", c.Text, got, c.IDs)
				}
				if got := tok.Decode(c.IDs); got != c.Decoded {
					t.Errorf("%q: decoded %q, want %q", c.Text, got, c.Decoded)
				}
				if c.Spans == nil {
					continue
				}
				if got := tok.DecodeText(c.IDs); got != c.DecodedText {
					t.Errorf("%q: decoded %q without special tokens, want %q", c.Text, got, c.DecodedText)
				}
				_, spans := tok.AppendSpans(nil, nil, string(c.Text))
				got := make([][2]int, len(spans))
				for i, s := range spans {
					got[i] = [2]int{s.Start, s.End}
				}
				if !slices.Equal(got, c.Spans) {
					t.Errorf("%q: spans %v, want %v", c.Text, got, c.Spans)
				}
			}
		})
	}
}

// Ids as a model may sample them, including bytes that are not UTF-8.
func TestDecode_families(t *testing.T) {
	toks := map[string]*Tokenizer{}
	for _, c := range testfile.Lines[struct {
		Tokenizer, Decoded string
		DecodedText        string `json:"decoded_skip_special"`
		IDs                []int
	}](t, "testdata/decode_golden.jsonl") {
		if toks[c.Tokenizer] == nil {
			toks[c.Tokenizer] = loadTokenizer(t, "testdata/families/"+c.Tokenizer+".json")
		}
		tok := toks[c.Tokenizer]
		if got := tok.Decode(c.IDs); got != c.Decoded {
			t.Errorf("%s: %v: decoded %q, want %q", c.Tokenizer, c.IDs, got, c.Decoded)
		}
		if got := tok.DecodeText(c.IDs); got != c.DecodedText {
			t.Errorf("%s: %v: decoded %q without special tokens, want %q", c.Tokenizer, c.IDs, got, c.DecodedText)
		}
	}
}

// A stream emits characters whole if they fall back to bytes.
func TestTextStream_bytesOfCharacters(t *testing.T) {
	tok := loadTokenizer(t, "testdata/families/llama2.json")
	var s TextStream
	var got []string
	for _, id := range tok.Encode("a🙂b") {
		b, _ := tok.Bytes(id)
		got = append(got, s.Add(b))
	}
	if want := []string{" a", "", "", "", "🙂", "b"}; !slices.Equal(got, want) || s.Rest() != "" {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestSplits_falcon splits like Falcon's tokenizer, whose last steps see byte-mapped text.
func TestSplits_falcon(t *testing.T) {
	tok := loadTokenizer(t, "testdata/families/falcon.json")
	for _, c := range testfile.Lines[struct {
		Text   string
		Pieces []string
	}](t, "testdata/falcon_pieces.jsonl") {
		got := []string{}
		e := encoding{Tokenizer: tok}
		e.cut(c.Text, 0, 0, func(lo, hi int) {
			piece := ""
			for _, b := range []byte(c.Text[lo:hi]) {
				piece += string(byteRune[b])
			}
			got = append(got, piece)
		})
		if !slices.Equal(got, c.Pieces) {
			t.Errorf("%q: %q, want %q", c.Text, got, c.Pieces)
		}
	}
}

// The classes of all characters. The numbers were counted with the Rust library.
func TestCharacterKinds(t *testing.T) {
	punctuation, numeric := 0, 0
	for r := range rune(unicode.MaxRune + 1) {
		if isPunctuation(r) {
			punctuation++
		}
		if isNumeric(r) {
			numeric++
		}
	}
	if punctuation != 726 || numeric != 1924 {
		t.Errorf("%d punctuation characters and %d numeric ones, want 726 and 1924", punctuation, numeric)
	}
	for r, want := range map[rune]bool{'$': true, '~': true, '\x7f': false, '€': false, '…': true, '²': false, '\u061d': false, '\u166d': true} {
		if isPunctuation(r) != want {
			t.Errorf("%q is punctuation: %v, want %v", r, !want, want)
		}
	}
}
