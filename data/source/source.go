package source

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"mambatrain/internal/fault"
	"mambatrain/internal/format"
	"mambatrain/internal/spelling"
)

// Block is a run of consecutive rows of one file, as returned by a [Reader]. The recipient must release it.
type Block struct {
	File    *File
	Rows    int                // may be lowered before Read
	Columns map[string]Column  // valid within Read
	place   func(i int) string // position of row i for messages, such as "line 17"
	decode  func(*Block) error // turns raw rows into columns, in parallel on the goroutines that process blocks
	free    func()
	arrow   bool // its columns are Arrow arrays
}

// Read decodes the columns and calls f to read their values. Damage found in the process is returned as an error.
func (b *Block) Read(f func() error) (err error) {
	defer b.recovered(&err)
	if b.decode != nil {
		if err := b.decode(b); err != nil {
			return err
		}
	}
	return f()
}

// recovered turns a panic over damaged Arrow data into an error: arrow trusts the lengths in a file and checks them
// late. Other panics continue.
func (b *Block) recovered(err *error) {
	if !b.arrow {
		return
	}
	if p := recover(); p != nil {
		*err = fmt.Errorf("data: %s: damaged: %v", b.At(0), p)
	}
}

// At names the file and position of row i of the block.
func (b *Block) At(i int) string { return b.File.Path + ": " + b.place(i) }

// Release frees the memory of the block, including its texts.
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
	// Value returns row i: nil, bool, int64, uint64, float64, string, []any, or *ordered.Object.
	Value(i int) (any, error)
}

// Reader returns the rows of one file, block by block.
type Reader interface {
	// Columns lists the columns at the beginning of the file. Later JSON rows may have more.
	Columns() []string
	// Late returns those of names, or of all columns if names is nil, that appear in the first rows rows and not in
	// Columns. If rows is 0, it searches all rows.
	Late(ctx context.Context, names []string, rows int) ([]string, error)
	// Project selects the columns to read. It must be called before the first Next.
	Project(names []string)
	// Next returns the next block, or io.EOF after the last one.
	Next(ctx context.Context) (*Block, error)
	Close() error
}

// File is one file of a source.
type File struct {
	Path, Format string
	Encoding     string       // of text; "" = utf-8
	Delimiter    string       // of CSV; "" = detect
	MaxRowBytes  format.Bytes // 0 = [DefaultMaxRowBytes]
}

// formats are the values of data.format. For text, a suffix may specify what a document is: text:paragraph, text:line
// or text:file.
var formats = []string{"auto", "parquet", "arrow", "jsonl", "json", "csv", "text", "text:paragraph", "text:line", "text:file"}

// formatOf determines the format of a file from its name and first bytes.
func formatOf(path string) (string, error) {
	ending := endingOf(path)
	switch kind := kindOf[ending]; {
	case ending == ".jsonl" || ending == ".ndjson":
		return "jsonl", nil
	case kind == documentation:
		return "text", nil
	case kind != "":
		return kind, nil
	}
	f, err := openFile(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, 8)
	n, _ := io.ReadFull(f, head)
	switch head = head[:n]; {
	case bytes.HasPrefix(head, []byte("PAR1")):
		return "parquet", nil
	case bytes.HasPrefix(head, []byte("ARROW1")):
		return "arrow", nil
	case bytes.HasPrefix(head, []byte(zipMagic)):
		return "", fmt.Errorf("data: %s: %w", path, errZip)
	}
	return "", fmt.Errorf("data: %s: cannot tell the format from the name: set data.format to one of %s", path, strings.Join(formats[1:], ", "))
}

// Open returns a reader for the file's rows. It fails once ctx is done.
func (f *File) Open(ctx context.Context) (Reader, error) { return f.open(ctx, memory.DefaultAllocator) }

func (f *File) open(ctx context.Context, m memory.Allocator) (Reader, error) {
	switch f.Format {
	case "parquet":
		return openParquet(f, m)
	case "arrow":
		return openArrow(f, m)
	case "jsonl", "json":
		return openJSON(ctx, f)
	case "csv":
		return openCSV(ctx, f)
	case "text", "text:paragraph", "text:line", "text:file":
		return openTextDocuments(ctx, f)
	}
	return nil, fmt.Errorf("data: format %q: want one of %s", f.Format, strings.Join(formats, ", "))
}

// NoColumn returns the error for a missing column. It lists the columns of the file and suggests one.
func NoColumn(path, name string, have []string) error {
	hint := ";"
	for _, c := range have {
		if parts := strings.FieldsFunc(c, func(r rune) bool { return strings.ContainsRune(";\t|,", r) }); len(parts) > 1 && slices.Contains(parts, name) {
			return fault.NotFound("data: %s: no column %q; the header is %q: set data.csv_delimiter to its delimiter", path, name, strings.Join(have, ","))
		}
	}
	if near := spelling.Nearest(name, have); near != "" {
		hint = fmt.Sprintf(", did you mean %q?", near)
	}
	return fault.NotFound("data: %s: no column %q%s columns: %s", path, name, hint, strings.Join(have, ", "))
}
