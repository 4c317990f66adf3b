package data

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"mambatrain/data/source"
	"mambatrain/data/tokenizer"
	"mambatrain/internal/fault"
	"mambatrain/internal/testfile"
)

func open(t testing.TB, path string, tok *tokenizer.Tokenizer, o Config) *Dataset {
	t.Helper()
	d, err := Open(t.Context(), []source.Input{{Path: path}}, tok, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

const tinyPath = "tokenizer/testdata/tiny_bpe_1k_tokenizer.json"

func loadTokenizer(t testing.TB, path string) *tokenizer.Tokenizer {
	t.Helper()
	tok, err := tokenizer.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func tinyTokenizer(t testing.TB) *tokenizer.Tokenizer { return loadTokenizer(t, tinyPath) }

// texts reads a source with the tiny tokenizer and returns its documents as text.
func texts(t testing.TB, path string, c Config) (out []string) {
	t.Helper()
	tok := tinyTokenizer(t)
	d := open(t, path, tok, c)
	for i := range d.Len() {
		out = append(out, tok.DecodeText(d.Example(i).Tokens))
	}
	return out
}

func checkTexts(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("documents %q, want %q", got, want)
	}
}

// TestOpen_equalsTRL compares ids and labels with those that trl's SFTTrainer prepares and collates.
func TestOpen_equalsTRL(t *testing.T) {
	type goldenRow struct {
		Case     string
		Settings struct {
			MaxLength      int   `json:"max_length"`
			CompletionOnly *bool `json:"completion_only_loss"`
		}
		Kept   int `json:"kept_rows"`
		Source map[string]string
		IDs    []int `json:"input_ids"`
		Labels []int
	}
	cases := map[string][]goldenRow{}
	for _, r := range testfile.Lines[goldenRow](t, "testdata/sft_rows.jsonl") {
		cases[r.Case] = append(cases[r.Case], r)
	}
	if len(cases) != 5 {
		t.Fatalf("%d cases, want 5", len(cases))
	}
	for name, rows := range cases {
		t.Run(name, func(t *testing.T) {
			o := Default()
			o.MaxLength = rows[0].Settings.MaxLength
			if strings.HasPrefix(name, "completion") {
				o.Prompt, o.Completion = "prompt", "completion"
				if c := rows[0].Settings.CompletionOnly; c != nil {
					o.CompletionOnlyLoss = *c
				}
			}
			var source strings.Builder
			for _, r := range rows {
				raw, err := json.Marshal(r.Source)
				if err != nil {
					t.Fatal(err)
				}
				source.Write(append(raw, '\n'))
			}
			d := open(t, testfile.Write(t, "rows.jsonl", source.String()), tinyTokenizer(t), o)
			if d.Len() != rows[0].Kept {
				t.Fatalf("%d rows kept, want %d", d.Len(), rows[0].Kept)
			}
			for i, r := range rows {
				e := d.Example(i)
				if !slices.Equal(e.Tokens, r.IDs) || !slices.Equal(e.Labels, r.Labels) {
					t.Errorf("row %d\n got %v %v\nwant %v %v", i, e.Tokens, e.Labels, r.IDs, r.Labels)
				}
			}
		})
	}
}

// A Parquet file of plain texts passes through the whole pipeline.
func TestOpen_parquet(t *testing.T) {
	d := open(t, testfile.Shared(t, "english_quotes/variants/text_only.parquet"), tinyTokenizer(t), Default())
	if s := d.Stats(); s.Documents+s.Empty+s.NoLabels != s.Rows || s.Documents == 0 {
		t.Errorf("%+v", s)
	}
}

func TestOpen_faults(t *testing.T) {
	tok := tinyTokenizer(t)
	for _, c := range []struct {
		name, content string
		change        func(*Config)
		want          []string
	}{
		{"a.jsonl", "{\"text\":\"a\"}\n{\"text\":[1]}\n", nil, []string{"a.jsonl: line 2", `"text"`, "a list", "want text"}},
		{"a.jsonl", "{\"txt\":\"a\",\"author\":\"b\"}\n", nil, []string{"a.jsonl", `no column "text"`, `did you mean "txt"`, "author, txt", "dataset_text_field"}},
		{"a.jsonl", "{\"text\":\"a\"}", func(o *Config) { o.Template = "{{.txet}}" }, []string{`no column "txet"`, `"text"`, "data.template"}},
		{"a.jsonl", "{\"text\":\"a\"}", func(o *Config) { o.Template = "{{.text" }, []string{"data.template"}},
		{"a.jsonl", "{\"text\":\"a\"}", func(o *Config) { o.Completion = "answer" }, []string{`no column "answer"`, "data.completion"}},
		{"a.jsonl", "{\"text\":\"one two three four five six\"}", func(o *Config) { o.Truncation, o.MaxLength = "error", 3 }, []string{"line 1", "data.max_length is 3"}},
		{"a.jsonl", "{\"input_ids\":[1,2]}", func(o *Config) { o.Template = "{{.x}}" }, []string{"input_ids", "data.template"}},
		{"a.jsonl", "{\"input_ids\":[1,2],\"labels\":[1]}", nil, []string{"line 1", "1 labels for 2"}},
		{"a.jsonl", "{\"input_ids\":[1,2],\"attention_mask\":[1]}", nil, []string{"line 1", "attention_mask has length 1"}},
		{"a.jsonl", "{\"input_ids\":[1,-2]}", nil, []string{"line 1", "-2"}},
		{"a.jsonl", "{\"input_ids\":[1,2.5]}", nil, []string{"line 1", "2.5"}},
		{"a.jsonl", "{\"input_ids\":[1,4294967296]}", nil, []string{"line 1", "4294967296"}},
		{"a.jsonl", "{\"text\":\"\"}", nil, []string{"nothing to train on", "1 empty"}},
	} {
		o := Default()
		if c.change != nil {
			c.change(&o)
		}
		_, err := Open(t.Context(), []source.Input{{Path: testfile.Write(t, c.name, c.content)}}, tok, o)
		if err == nil {
			t.Errorf("%s %q: no error", c.name, c.content)
			continue
		}
		if missing := strings.Contains(err.Error(), "no column"); missing != errors.Is(err, fault.ErrNotFound) {
			t.Errorf("%q: fault.ErrNotFound is %v", err, !missing)
		}
		for _, part := range append(c.want, "data") {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s %q: error %q has no %q", c.name, c.content, err, part)
			}
		}
	}
	for path, want := range map[string]string{"no/such/file.parquet": "no such file", "none-*.jsonl": "no file matches"} {
		_, err := Open(t.Context(), []source.Input{{Path: path}}, tok, Default())
		if !errors.Is(err, fault.ErrNotFound) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want fault.ErrNotFound with %q", path, err, want)
		}
	}
}
