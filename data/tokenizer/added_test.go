package tokenizer

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"mambatrain/internal/testfile"
)

// TestAddedTokens encodes with added tokens of all flags, next to spaces, letters, and each other. Ids and decodings are
// those of the Rust library.
func TestAddedTokens(t *testing.T) {
	raw, err := os.ReadFile("testdata/tiny_bpe_1k_tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	var base map[string]json.RawMessage
	var added []addedToken
	if err := json.Unmarshal(raw, &base); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(base["added_tokens"], &added); err != nil {
		t.Fatal(err)
	}
	for i, c := range testfile.Lines[struct {
		Drop, NFC bool
		Added     []addedToken
		Texts     []string
		IDs       [][]int
		Decoded   []string
	}](t, "testdata/added_golden.jsonl") {
		list := slices.Clone(added)
		if c.Drop {
			list = list[:2] // without the runs of spaces
		}
		list = slices.DeleteFunc(list, func(a addedToken) bool {
			return slices.ContainsFunc(c.Added, func(b addedToken) bool { return a.Content == b.Content })
		})
		list = append(list, c.Added...)
		slices.SortFunc(list, func(a, b addedToken) int { return int(a.ID) - int(b.ID) })
		base["added_tokens"], _ = json.Marshal(list)
		base["normalizer"] = json.RawMessage(`null`)
		if c.NFC {
			base["normalizer"] = json.RawMessage(`{"type":"NFC"}`)
		}
		text, err := json.Marshal(base)
		if err != nil {
			t.Fatal(err)
		}
		tok, err := parse(text)
		if err != nil {
			t.Fatal(err)
		}
		for k, s := range c.Texts {
			if got := tok.Encode(s); !slices.Equal(got, c.IDs[k]) {
				t.Errorf("case %d: %+v: %q: ids %v, want %v", i, c.Added, s, got, c.IDs[k])
			} else if ids, spans := tok.AppendSpans(nil, nil, s); !slices.Equal(widen(ids), got) || len(spans) != len(ids) {
				t.Errorf("case %d: AppendSpans returns different ids", i)
			}
			if got := tok.DecodeText(c.IDs[k]); got != c.Decoded[k] {
				t.Errorf("case %d: %+v: %v: decoded %q, want %q", i, c.Added, c.IDs[k], got, c.Decoded[k])
			}
		}
	}
}
