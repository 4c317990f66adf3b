package data

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestWriteTokens(t *testing.T) {
	tok := tinyTokenizer(t)
	source := writeFile(t, "rows.jsonl", `{"text":"Small steps"}
{"text":""}
{"text":null}
{"text":"  Two  spaces "}
`)
	o := DefaultOptions()
	o.AddEOS, o.MaxLength = false, 2 // max_length does not count here
	want := [][]int{tok.Encode("Small steps"), {}, {}, tok.Encode("  Two  spaces ")}
	for _, name := range []string{"out.jsonl", "out.parquet"} {
		t.Run(name, func(t *testing.T) {
			output := filepath.Join(t.TempDir(), name)
			stats, err := WriteTokens(t.Context(), []Input{{Path: source}}, tok, o, output)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(want[0]) + len(want[3]); stats.Rows != 4 || stats.Tokens != n || stats.Empty != 2 {
				t.Errorf("%+v, want 4 rows and %d tokens", stats, n)
			}
			rows := readRows(t, output, "input_ids")
			if len(rows) != len(want) {
				t.Fatalf("%d rows, want %d", len(rows), len(want))
			}
			for i, ids := range want {
				if w := asJSON(t, [][]int{ids}); rows[i] != w {
					t.Errorf("row %d: %s, want %s", i, rows[i], w)
				}
			}
			back := open(t, output, nil, DefaultOptions())
			if back.Len() != 2 || !slices.Equal(back.Example(1).Tokens, want[3]) {
				t.Errorf("read back: %d documents", back.Len())
			}
		})
	}
	if _, err := WriteTokens(t.Context(), []Input{{Path: source}}, tok, o, filepath.Join(t.TempDir(), "out.txt")); err == nil {
		t.Error("out.txt is written")
	}
}

func TestWriteTokensLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	source := writeFile(t, "rows.jsonl", "{\"text\":\"fine\"}\n{\"text\":7}\n")
	if _, err := WriteTokens(t.Context(), []Input{{Path: source}}, tinyTokenizer(t), DefaultOptions(), filepath.Join(dir, "out.jsonl")); err == nil {
		t.Fatal("a number is taken for text")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left behind, %v", left, err)
	}
}
