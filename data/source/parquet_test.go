package source

import (
	"io"
	"slices"
	"testing"

	"mambatrain/internal/testfile"
)

// TestParquetVariants reads ten encodings of the same 60 rows: codecs, page versions, encodings, nulls, list names.
func TestParquetVariants(t *testing.T) {
	want := testfile.Lines[map[string]any](t, testfile.Shared(t, "english_quotes/variants/expected.jsonl"))
	if len(want) != 60 {
		t.Fatalf("%d rows, want 60", len(want))
	}
	for _, name := range []string{"brotli", "gzip", "large_string", "legacy_list_item", "lz4", "nodict_delta", "none", "smallpages", "snappy_rg7", "zstd_v2"} {
		t.Run(name, func(t *testing.T) {
			path := testfile.Shared(t, "english_quotes/variants/"+name+".parquet")
			got := readRows(t, path, "quote", "author", "tags")
			if len(got) != len(want) {
				t.Fatalf("%d rows, want %d", len(got), len(want))
			}
			for i, w := range want {
				if w := testfile.JSON(t, []any{w["quote"], w["author"], w["tags"]}); got[i] != w {
					t.Errorf("row %d: %s, want %s", i, got[i], w)
				}
			}
		})
	}
}

func TestParquet_emptyAndOneColumn(t *testing.T) {
	if rows := readRows(t, testfile.Shared(t, "english_quotes/variants/empty.parquet"), "quote"); len(rows) != 0 {
		t.Errorf("%d rows, want none", len(rows))
	}
	path := testfile.Shared(t, "english_quotes/variants/text_only.parquet")
	f, err := (&Config{}).file(path, selection{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.open(t.Context(), checkedMemory(t))
	if err != nil {
		t.Fatal(err)
	}
	if names := r.Columns(); !slices.Equal(names, []string{"text"}) {
		t.Errorf("columns %q, want text", names)
	}
	r.Close()
}

// readRows returns the named values of each row of a file, as JSON.
func readRows(t testing.TB, path string, names ...string) (rows []string) {
	t.Helper()
	f, err := (&Config{}).file(path, selection{})
	if err != nil {
		t.Fatal(err)
	}
	checked := checkedMemory(t)
	r, err := f.open(t.Context(), checked)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.Project(names)
	for {
		b, err := r.Next(t.Context())
		if err != nil {
			if err != io.EOF {
				t.Fatal(err)
			}
			return rows
		}
		err = b.Read(func() error {
			for i := range b.Rows {
				var values []any
				for _, name := range names {
					v, err := b.Columns[name].Value(i)
					if err != nil {
						return err
					}
					values = append(values, v)
				}
				rows = append(rows, testfile.JSON(t, values))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		b.Release()
	}
}
