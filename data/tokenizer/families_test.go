package tokenizer

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mambatrain/internal/testfile"
)

// TestEncode_families encodes with tokenizers built as Llama 3's, Qwen's and others are: split patterns, digits, merges ignored,
// a space put first, tokens added with all their flags. Ids by the Rust library.
func TestEncode_families(t *testing.T) {
	files, err := filepath.Glob("testdata/families/*.json")
	if err != nil || len(files) != 6 {
		t.Fatalf("%v, %v, want 6 tokenizers", files, err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			tok := loadTokenizer(t, path)
			for _, c := range testfile.Lines[goldenText](t, strings.TrimSuffix(path, "json")+"jsonl") {
				if got := tok.Encode(string(c.Text)); !slices.Equal(got, c.IDs) {
					t.Errorf("%q: ids %v, want %v", c.Text, got, c.IDs)
				}
				if got := tok.Decode(c.IDs); got != c.Decoded {
					t.Errorf("%q: decoded %q, want %q", c.Text, got, c.Decoded)
				}
			}
		})
	}
}
