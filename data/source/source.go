package source

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

// Block is a run of consecutive rows of one file, as a [Reader] returns them. Whoever takes a block releases it.
type Block struct {
	File    *File
	Rows    int                // may be lowered before Read
	Columns map[string]Column  // within Read
	place   func(i int) string // position of row i for messages, such as "line 17"
	decode  func(*Block) error // turns raw rows into columns: left to whoever works on the block, so that it runs in parallel
	free    func()
	arrow   bool // its columns are Arrow arrays
}

// Read decodes the columns and calls f to read their values. Damage that shows as they are read is an error.
func (b *Block) Read(f func() error) (err error) {
	defer b.recovered(&err)
	if b.decode != nil {
		if err := b.decode(b); err != nil {
			return err
		}
	}
	return f()
}

// recovered turns a panic over damaged Arrow data into an error: arrow trusts the lengths in a file and checks them late.
// Other panics continue.
func (b *Block) recovered(err *error) {
	if !b.arrow {
		return
	}
	if p := recover(); p != nil {
		*err = fmt.Errorf("data: %s: damaged: %v", b.At(0), p)
	}
}

// At names row i of the block: file and position.
func (b *Block) At(i int) string { return b.File.Path + ": " + b.place(i) }

// Release frees the memory of the block; its texts end with it.
func (b *Block) Release() {
	if b.free != nil {
		b.free()
	}
}

// Column has one value for each row of a block. ok is false if the value is null.
type Column interface {
	Text(i int) (s string, ok bool, err error)
	// Ints appends the integers of row i to dst.
	Ints(dst []int32, i int) (out []int32, ok bool, err error)
	// Value returns row i as a template sees it: nil, bool, int64, float64, string, []any or map[string]any.
	Value(i int) (any, error)
}

// Reader returns the rows of one file, block by block.
type Reader interface {
	// Columns lists the columns of the file.
	Columns() []string
	// Project chooses the columns to read. It comes before the first Next.
	Project(names []string)
	// Next returns the next block, and io.EOF after the last.
	Next(ctx context.Context) (*Block, error)
	Close() error
}

// File is one file of a source.
type File struct{ Path, Format string }

// formats are the values of data.format. Text may say what a document is: text:paragraph, text:line or text:file.
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
		return jsonFlavor(path)
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

// jsonFlavor tells an array of rows from rows line by line.
func jsonFlavor(path string) (string, error) {
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

// Open returns a reader of the file's rows.
func (f *File) Open() (Reader, error) { return f.open(memory.DefaultAllocator) }

func (f *File) open(m memory.Allocator) (Reader, error) {
	switch f.Format {
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
	return nil, fmt.Errorf("data: format %q: want one of %s", f.Format, strings.Join(formats, ", "))
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

// NoColumn returns the error of a file without a column: which it has, and which was probably meant.
func NoColumn(path, name string, have []string) error {
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
