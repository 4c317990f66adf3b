package tokenizer

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"mambatrain/internal/testfile"
)

func loadTokenizer(t testing.TB, path string) *Tokenizer {
	t.Helper()
	tok, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func tinyTokenizer(t testing.TB) *Tokenizer {
	return loadTokenizer(t, "testdata/tiny_bpe_1k_tokenizer.json")
}

// goldenText is a text with its ids and decodings from the Rust tokenizers library 0.23.3.
type goldenText struct {
	Text        []byte `json:"text_b64"`
	IDs         []int
	Decoded     string
	DecodedText string `json:"decoded_skip_special"`
}

// visible returns the bytes of a token, or nil if it is special.
func visible(tok *Tokenizer, id int) []byte {
	b, special := tok.Bytes(id)
	if special {
		return nil
	}
	return b
}

func checkGolden(t *testing.T, tok *Tokenizer, cases []goldenText) {
	if len(cases) != 1761 {
		t.Fatalf("%d cases, want 1761", len(cases))
	}
	for i, c := range cases {
		text := string(c.Text)
		if got := tok.Encode(text); !slices.Equal(got, c.IDs) {
			t.Errorf("case %d: %q: ids %v, want %v", i, text, got, c.IDs)
		}
		if got := tok.Decode(c.IDs); got != c.Decoded {
			t.Errorf("case %d: decoded %q, want %q", i, got, c.Decoded)
		}
		if got := tok.DecodeText(c.IDs); got != c.DecodedText {
			t.Errorf("case %d: decoded without special tokens %q, want %q", i, got, c.DecodedText)
		}
		var stream TextStream
		var sb strings.Builder
		for _, id := range c.IDs {
			sb.WriteString(stream.Add(visible(tok, id)))
		}
		sb.WriteString(stream.Rest())
		if got := sb.String(); got != c.DecodedText {
			t.Errorf("case %d: streamed %q, want %q", i, got, c.DecodedText)
		}
		if ids, spans := tok.AppendSpans(nil, nil, text); !slices.Equal(widen(ids), c.IDs) || len(spans) != len(ids) {
			t.Errorf("case %d: AppendSpans returns different ids", i)
		}
	}
}

func TestEncode_tiny(t *testing.T) {
	checkGolden(t, tinyTokenizer(t), testfile.Lines[goldenText](t, "testdata/tiny_bpe_1k_golden.jsonl"))
}

func TestEncode_neoX(t *testing.T) {
	tok := loadTokenizer(t, testfile.Shared(t, "tokenizers/gpt_neox_20b_tokenizer.json"))
	checkGolden(t, tok, testfile.Lines[goldenText](t, testfile.Shared(t, "tokenizers/gpt_neox_20b_golden.jsonl")))
	if n := tok.VocabSize(); n != 50277 {
		t.Errorf("vocabulary of %d, want 50277", n)
	}
	if id, ok := tok.EOS(); !ok || id != 0 {
		t.Errorf("end of text is %d, %v", id, ok)
	}
}

// TestAppendSpans compares with the offsets of the Rust library, converted to bytes.
func TestAppendSpans(t *testing.T) {
	type golden struct {
		Text  []byte `json:"text_b64"`
		Spans [][2]int
	}
	tok := tinyTokenizer(t)
	for i, c := range testfile.Lines[golden](t, "testdata/spans_golden.jsonl") {
		ids, spans := tok.AppendSpans(nil, nil, string(c.Text))
		trimSpans(tok, ids, spans)
		var got [][2]int
		for _, s := range spans {
			got = append(got, [2]int{s.Start, s.End})
		}
		if !slices.Equal(got, c.Spans) {
			t.Errorf("text %d, %q: spans %v, want %v", i, c.Text, got, c.Spans)
		}
	}
}

// trimSpans removes the spaces at the ends of a token from its span, as the library does for ByteLevel with
// trim_offsets and add_prefix_space, which the tiny tokenizer uses.
func trimSpans(t *Tokenizer, ids []int32, spans []Span) {
	for i, id := range ids {
		token := t.vocab.tokens[id]
		lead := 0
		for _, r := range token {
			if r != 'Ġ' && classOf(r) != space {
				break
			}
			lead++
		}
		tail := 0
		for end := token; end != ""; tail++ {
			r, n := utf8.DecodeLastRuneInString(end)
			if r != 'Ġ' && classOf(r) != space {
				break
			}
			end = end[:len(end)-n]
		}
		s := &spans[i]
		if lead == 1 && (i == 0 || s.Start == 0) {
			lead = 0
		}
		s.Start = min(s.Start+lead, s.End)
		if tail > 0 && s.End >= tail {
			s.End = max(s.End-tail, s.Start)
		}
	}
}

// A long run of marks in the wrong order, which took hours when each mark was inserted into the run.
func TestNormalizeNFC_longRuns(t *testing.T) {
	const n = 300_000
	above, below := strings.Repeat("\u0301", n), strings.Repeat("\u0316", n) // classes 230 and 220
	want := "\u00e1" + below + above[len("\u0301"):]
	for _, text := range []string{"a" + above + below, "a" + below + above} {
		if got := normalizeNFC(text, true).text; got != want {
			t.Errorf("%q… becomes %q…", text[:20], got[:min(len(got), 20)])
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	tok := loadTokenizer(b, testfile.Shared(b, "tokenizers/gpt_neox_20b_tokenizer.json"))
	text := string(testfile.Read(b, testfile.Shared(b, "tinyshakespeare/input.txt")))
	b.SetBytes(int64(len(text)))
	var ids []int32
	for b.Loop() {
		ids = tok.AppendEncode(ids[:0], text)
	}
}
