package data

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// writeFile puts text into a file of a test's own directory.
func writeFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, path string, tok *Tokenizer, o Options) *Dataset {
	t.Helper()
	d, err := Open(t.Context(), []Input{{Path: path}}, tok, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// jsonLines decodes the objects of a file.
func jsonLines[T any](t testing.TB, path string) (rows []T) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var row T
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestRowsAsTRL compares ids and labels with those that trl's SFTTrainer prepares and collates.
func TestRowsAsTRL(t *testing.T) {
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
	for _, r := range jsonLines[goldenRow](t, "testdata/sft_rows.jsonl") {
		cases[r.Case] = append(cases[r.Case], r)
	}
	if len(cases) != 5 {
		t.Fatalf("%d cases, want 5", len(cases))
	}
	for name, rows := range cases {
		t.Run(name, func(t *testing.T) {
			o := DefaultOptions()
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
			d := open(t, writeFile(t, "rows.jsonl", source.String()), tinyTokenizer(t), o)
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

// TestParquetVariants reads ten forms of the same 60 rows: codecs, page versions, encodings, nulls, list names.
func TestParquetVariants(t *testing.T) {
	want := jsonLines[map[string]any](t, testData(t, "english_quotes/variants/expected.jsonl"))
	if len(want) != 60 {
		t.Fatalf("%d rows, want 60", len(want))
	}
	for _, name := range []string{"brotli", "gzip", "large_string", "legacy_list_item", "lz4", "nodict_delta", "none", "smallpages", "snappy_rg7", "zstd_v2"} {
		t.Run(name, func(t *testing.T) {
			path := testData(t, "english_quotes/variants/"+name+".parquet")
			got := readRows(t, path, "quote", "author", "tags")
			if len(got) != len(want) {
				t.Fatalf("%d rows, want %d", len(got), len(want))
			}
			for i, w := range want {
				if w := asJSON(t, []any{w["quote"], w["author"], w["tags"]}); got[i] != w {
					t.Errorf("row %d: %s, want %s", i, got[i], w)
				}
			}
		})
	}
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestParquetWithoutRowsOrWithOneColumn(t *testing.T) {
	if rows := readRows(t, testData(t, "english_quotes/variants/empty.parquet"), "quote"); len(rows) != 0 {
		t.Errorf("%d rows, want none", len(rows))
	}
	path := testData(t, "english_quotes/variants/text_only.parquet")
	f, err := newSourceFile(path, "auto")
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.open(checkedMemory(t))
	if err != nil {
		t.Fatal(err)
	}
	if names := r.columns(); !slices.Equal(names, []string{"text"}) {
		t.Errorf("columns %q, want text", names)
	}
	r.close()
	d := open(t, path, tinyTokenizer(t), DefaultOptions())
	if s := d.Stats(); s.Documents+s.Empty+s.NoLabels != s.Rows || s.Documents == 0 {
		t.Errorf("%+v", s)
	}
}

// readRows returns the named values of each row of a file, as JSON.
func readRows(t testing.TB, path string, names ...string) (rows []string) {
	t.Helper()
	f, err := newSourceFile(path, "auto")
	if err != nil {
		t.Fatal(err)
	}
	checked := checkedMemory(t)
	r, err := f.open(checked)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	r.project(names)
	for {
		b, err := r.next(t.Context())
		if err != nil {
			if err != io.EOF {
				t.Fatal(err)
			}
			return rows
		}
		if b.decode != nil {
			if err := b.decode(b); err != nil {
				t.Fatal(err)
			}
		}
		for i := range b.rows {
			var values []any
			for _, name := range names {
				v, err := b.columns[name].value(i)
				if err != nil {
					t.Fatal(err)
				}
				values = append(values, v)
			}
			rows = append(rows, asJSON(t, values))
		}
		b.release()
	}
}
