package data

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const testDataEnv = "MAMBA_TRAIN_TEST_DATA"

// testData returns a file of the shared test data, which the project does not ship.
func testData(t testing.TB, name string) string {
	dir := os.Getenv(testDataEnv)
	if dir == "" {
		t.Skipf("%s is not set: %s is not part of the project", testDataEnv, name)
	}
	return filepath.Join(dir, name)
}

func loadTokenizer(t testing.TB, path string) *Tokenizer {
	t.Helper()
	tok, err := LoadTokenizer(path)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func tinyTokenizer(t testing.TB) *Tokenizer {
	return loadTokenizer(t, "testdata/tiny_bpe_1k_tokenizer.json")
}

// goldenText is a text with the ids and decodings of the Rust tokenizers library 0.23.3.
type goldenText struct {
	Text        []byte `json:"text_b64"`
	IDs         []int
	Decoded     string
	DecodedText string `json:"decoded_skip_special"`
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
		stream := tok.Stream()
		var sb strings.Builder
		for _, id := range c.IDs {
			sb.WriteString(stream.Next(id))
		}
		sb.WriteString(stream.Rest())
		if got := sb.String(); got != c.DecodedText {
			t.Errorf("case %d: streamed %q, want %q", i, got, c.DecodedText)
		}
		if ids, spans := tok.EncodeSpans(text); !slices.Equal(ids, c.IDs) || len(spans) != len(ids) {
			t.Errorf("case %d: EncodeSpans gives other ids", i)
		}
	}
}

func TestGoldenTiny(t *testing.T) {
	checkGolden(t, tinyTokenizer(t), jsonLines[goldenText](t, "testdata/tiny_bpe_1k_golden.jsonl"))
}

func TestGoldenNeoX(t *testing.T) {
	tok := loadTokenizer(t, testData(t, "tokenizers/gpt_neox_20b_tokenizer.json"))
	checkGolden(t, tok, jsonLines[goldenText](t, testData(t, "tokenizers/gpt_neox_20b_golden.jsonl")))
	if n := tok.VocabSize(); n != 50277 {
		t.Errorf("vocabulary of %d, want 50277", n)
	}
	if id, ok := tok.EOS(); !ok || id != 0 {
		t.Errorf("end of text is %d, %v", id, ok)
	}
}

// TestSpans compares with the offsets of the Rust library, turned into bytes.
func TestSpans(t *testing.T) {
	type golden struct {
		Text  []byte `json:"text_b64"`
		Spans [][2]int
	}
	tok := tinyTokenizer(t)
	for i, c := range jsonLines[golden](t, "testdata/spans_golden.jsonl") {
		_, spans := tok.EncodeSpans(string(c.Text))
		var got [][2]int
		for _, s := range spans {
			got = append(got, [2]int{s.Start, s.End})
		}
		if !slices.Equal(got, c.Spans) {
			t.Errorf("text %d, %q: spans %v, want %v", i, c.Text, got, c.Spans)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	tok := loadTokenizer(b, testData(b, "tokenizers/gpt_neox_20b_tokenizer.json"))
	raw, err := os.ReadFile(testData(b, "tinyshakespeare/input.txt"))
	if err != nil {
		b.Fatal(err)
	}
	text := string(raw)
	b.SetBytes(int64(len(text)))
	var ids []int32
	for b.Loop() {
		ids = tok.appendText(ids[:0], text)
	}
}
