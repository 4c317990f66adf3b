package data

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"mambatrain/data/source"
	"mambatrain/internal/testfile"
)

func TestWriteTokens(t *testing.T) {
	tok := tinyTokenizer(t)
	rows := testfile.Write(t, "rows.jsonl", `{"text":"Small steps"}
{"text":""}
{"text":null}
{"text":"  Two  spaces "}
`)
	o := Default()
	o.AddEOS, o.MaxLength = false, 2 // max_length has no effect here
	want := [][]int{tok.Encode("Small steps"), {}, {}, tok.Encode("  Two  spaces ")}
	for _, name := range []string{"out.jsonl", "out.parquet"} {
		t.Run(name, func(t *testing.T) {
			output := filepath.Join(t.TempDir(), name)
			stats, err := WriteTokens(t.Context(), []source.Input{{Path: rows}}, tok, o, output)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(want[0]) + len(want[3]); stats.Rows != 4 || stats.Tokens != n || stats.Empty != 2 {
				t.Errorf("%+v, want 4 rows and %d tokens", stats, n)
			}
			i := 0
			for row, err := range source.Rows(t.Context(), []source.Input{{Path: output}}, source.Config{}) {
				if err != nil || i == len(want) {
					t.Fatalf("%v after %d rows, want %d", err, i, len(want))
				}
				if got, w := testfile.JSON(t, row["input_ids"]), testfile.JSON(t, want[i]); got != w {
					t.Errorf("row %d: %s, want %s", i, got, w)
				}
				i++
			}
			if i != len(want) {
				t.Errorf("%d rows, want %d", i, len(want))
			}
			back := open(t, output, nil, Default())
			if back.Len() != 2 || !slices.Equal(back.Example(1).Tokens, want[3]) {
				t.Errorf("read back: %d documents", back.Len())
			}
		})
	}
	if _, err := WriteTokens(t.Context(), []source.Input{{Path: rows}}, tok, o, filepath.Join(t.TempDir(), "out.txt")); err == nil {
		t.Error("out.txt was written")
	}
}

// A block of empty rows has the column labels too.
func TestWriteTokens_emptyLabels(t *testing.T) {
	tok := tinyTokenizer(t)
	full := testfile.Write(t, "full.jsonl", `{"q":"Who?","a":" Me."}`)
	empty := testfile.Write(t, "empty.jsonl", `{"q":"Who?","a":null}`)
	o := Default()
	o.Prompt, o.Completion = "q", "a"
	for _, name := range []string{"out.jsonl", "out.parquet"} {
		for _, inputs := range [][]source.Input{{{Path: full}, {Path: empty}}, {{Path: empty}, {Path: full}}} {
			output := filepath.Join(t.TempDir(), name)
			if _, err := WriteTokens(t.Context(), inputs, tok, o, output); err != nil {
				t.Fatal(err)
			}
			rows := 0
			for row, err := range source.Rows(t.Context(), []source.Input{{Path: output}}, source.Config{}) {
				if err != nil {
					t.Fatal(err)
				}
				ids, labels := row["input_ids"].([]any), row["labels"].([]any)
				if wantEmpty := inputs[rows].Path == empty; len(labels) != len(ids) || wantEmpty != (len(ids) == 0) {
					t.Errorf("%s: row %d: %d ids, %d labels", name, rows, len(ids), len(labels))
				}
				rows++
			}
			if rows != 2 {
				t.Errorf("%s: %d rows, want 2", name, rows)
			}
		}
	}
}

func TestWriteTokens_failure(t *testing.T) {
	dir := t.TempDir()
	rows := testfile.Write(t, "rows.jsonl", "{\"text\":\"fine\"}\n{\"text\":7}\n")
	if _, err := WriteTokens(t.Context(), []source.Input{{Path: rows}}, tinyTokenizer(t), Default(), filepath.Join(dir, "out.jsonl")); err == nil {
		t.Fatal("a number was accepted as text")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left behind, %v", left, err)
	}
}
