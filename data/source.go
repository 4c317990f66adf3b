package data

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"mambatrain/internal/fault"
	"mambatrain/internal/spelling"
)

// A block is a run of consecutive rows of one file, as a reader hands them out. Whoever takes a block releases it.
type block struct {
	file    *sourceFile
	first   int // index of its first row within the source, over all files
	rows    int
	columns map[string]column
	place   func(i int) string // where row i stands, for messages: "line 17"
	decode  func(*block) error // turns raw rows into columns: left to whoever works on the block, so that it runs in parallel
	free    func()
	arrow   bool // its columns are Arrow arrays
}

// recovered turns a panic over damaged Arrow data into an error: arrow takes the lengths in a file on trust and checks
// them late. It is deferred around whatever reads the values of b. Other panics go on.
func (b *block) recovered(err *error) {
	if !b.arrow {
		return
	}
	if p := recover(); p != nil {
		*err = fmt.Errorf("data: %s: damaged: %v", b.at(0), p)
	}
}

// at names row i of the block: file and place.
func (b *block) at(i int) string { return b.file.path + ": " + b.place(i) }

func (b *block) release() {
	if b.free != nil {
		b.free()
	}
}

// A column holds one value for each row of a block. ok is false where the value is null.
type column interface {
	text(i int) (s string, ok bool, err error)
	// ints appends the integers of row i to dst.
	ints(dst []int32, i int) (out []int32, ok bool, err error)
	// value returns row i as a template sees it: nil, bool, int64, float64, string, []any or map[string]any.
	value(i int) (any, error)
}

// A reader gives out the rows of one file, block by block, and io.EOF behind the last.
type reader interface {
	// columns lists the columns there are.
	columns() []string
	// project names the columns that are wanted, before the first next.
	project(names []string)
	next(ctx context.Context) (*block, error)
	close() error
}

// sourceFile is one file of a source.
type sourceFile struct {
	path   string
	format string
	size   int64
}

// The formats of `data.format`. Text may say what a document is: text:paragraph, text:line or text:file.
var formats = []string{"auto", "parquet", "arrow", "jsonl", "json", "csv", "text", "text:paragraph", "text:line", "text:file"}

// formatOf returns the format that a file's name and first bytes tell.
func formatOf(path string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(path, ".gz"))
	switch filepath.Ext(name) {
	case ".parquet":
		return "parquet", nil
	case ".arrow", ".feather", ".ipc":
		return "arrow", nil
	case ".jsonl", ".ndjson":
		return "jsonl", nil
	case ".json":
		return jsonFlavour(path)
	case ".csv", ".tsv":
		return "csv", nil
	case ".txt", ".text", ".md":
		return "text", nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("data: %w", err)
	}
	defer f.Close()
	head := make([]byte, 8)
	n, _ := io.ReadFull(f, head)
	switch head = head[:n]; {
	case bytes.HasPrefix(head, []byte("PAR1")):
		return "parquet", nil
	case bytes.HasPrefix(head, []byte("ARROW1")):
		return "arrow", nil
	}
	return "", fmt.Errorf("data: %s: the name does not tell the format: set data.format to one of %s", path, strings.Join(formats[1:], ", "))
}

// jsonFlavour tells an array of rows from rows line by line.
func jsonFlavour(path string) (string, error) {
	f, err := openText(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	for {
		b, err := in.ReadByte()
		if err == nil && strings.IndexByte(" \t\r\n\xEF\xBB\xBF", b) >= 0 {
			continue
		}
		if err == nil && b == '[' {
			return "json", nil
		}
		return "jsonl", nil
	}
}

// open returns a reader of the file's rows.
func (f *sourceFile) open(m memory.Allocator) (reader, error) {
	switch f.format {
	case "parquet":
		return openParquet(f, m)
	case "arrow":
		return openArrow(f, m)
	case "jsonl":
		return openJSONLines(f)
	case "json":
		return openJSONArray(f)
	case "csv":
		return openCSV(f)
	case "text", "text:paragraph", "text:line", "text:file":
		return openTextDocuments(f)
	}
	return nil, fmt.Errorf("data: format %q: want one of %s", f.format, strings.Join(formats, ", "))
}

// textFile is a file read as text, through gzip where its name ends in .gz.
type textFile struct {
	io.Reader
	file *os.File
}

func (f *textFile) Close() error { return f.file.Close() }

func openText(path string) (*textFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	if !strings.HasSuffix(path, ".gz") {
		return &textFile{file, file}, nil
	}
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("data: %s: gzip: %w", path, err)
	}
	return &textFile{unzipped, file}, nil
}

var byteOrderMark = []byte("\xEF\xBB\xBF")

// skipByteOrderMark drops the mark that some editors put before UTF-8.
func skipByteOrderMark(in *bufio.Reader) {
	if head, _ := in.Peek(len(byteOrderMark)); bytes.Equal(head, byteOrderMark) {
		in.Discard(len(byteOrderMark))
	}
}

// columnError says that a column is not there, which are, and which was probably meant.
func columnError(path, name string, have []string) error {
	hint := ";"
	if near := spelling.Nearest(name, have); near != "" {
		hint = fmt.Sprintf(", did you mean %q?", near)
	}
	return fault.NotFound("data: %s: no column %q%s columns: %s", path, name, hint, strings.Join(have, ", "))
}

// sortedUnique returns the names in order, each once.
func sortedUnique(names []string) []string {
	out := slices.Clone(names)
	slices.Sort(out)
	return slices.Compact(out)
}
