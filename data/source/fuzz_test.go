package source

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/compress"
)

// fuzzFormat reads arbitrary bytes as a file of one format. The result must be rows or an error.
func fuzzFormat(f *testing.F, format string, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	path := filepath.Join(f.TempDir(), "a")
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := os.WriteFile(path, raw, 0o666); err != nil {
			t.Fatal(err)
		}
		drain(t, &File{Path: path, Format: format}, memory.DefaultAllocator)
	})
}

func FuzzJSONLines(f *testing.F) {
	fuzzFormat(f, "jsonl", `{"text":"a"}`, "{\"text\":null}\n{}\n", `{"input_ids":[1,2],"labels":[1,-100]}`, "\xEF\xBB\xBF{\"text\":\"\\ud800\"}")
}

func FuzzJSONArray(f *testing.F) {
	fuzzFormat(f, "json", `[{"text":"a"},{"text":"b"}]`, `[`, `[]`, `[null]`, `{"text":"a"}`)
}

func FuzzCSV(f *testing.F) {
	fuzzFormat(f, "csv", "text\na\n", "text,x\n\"a\nb\",c\n", "a,a\n", "text\n\"")
}

func FuzzArrow(f *testing.F) {
	fuzzFormat(f, "arrow", arrowStream("a", "bc"), "ARROW1")
}

func FuzzParquet(f *testing.F) {
	fuzzFormat(f, "parquet", parquetFile(f, compress.Codecs.Snappy, "a", "bc"), parquetFile(f, compress.Codecs.Zstd, "a"))
}

func FuzzText(f *testing.F) {
	fuzzFormat(f, "text", "a\n\nb", "\r\n\r\n", "\xff\x00")
}

// FuzzStoreFile reads damaged token files as the cache would if the checksum matched.
func FuzzStoreFile(f *testing.F) {
	var good bytes.Buffer
	w, err := NewArrowTokenWriter(&good)
	if err == nil {
		err = errors.Join(w.Write(&Tokens{IDs: []int32{1, 2, 3}, Offsets: []int32{0, 2, 3}, Rows: []int64{0, 1}}), w.Close())
	}
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Fuzz(func(t *testing.T, raw []byte) {
		tables, err := ParseArrowTokens(raw)
		if err != nil {
			return
		}
		for _, tokens := range tables {
			for i := range tokens.Len() {
				tokens.Document(i)
			}
		}
	})
}
