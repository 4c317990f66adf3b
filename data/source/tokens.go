package source

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
)

// Tokens are documents of token ids, laid out like Arrow list columns.
type Tokens struct {
	IDs     []int32
	Labels  []int32 // nil: labels equal the ids
	Offsets []int32 // document i is IDs[Offsets[i]:Offsets[i+1]]
	Rows    []int64 // source row of each document
	Parts   []uint8 // 1 if a document continues the previous one; nil: none does
}

// Document is one document of [Tokens]. Its slices must not be modified.
type Document struct {
	IDs, Labels []int32
	Row         int
	Continues   bool
}

// Len returns the number of documents.
func (t *Tokens) Len() int { return len(t.Rows) }

// Document returns document i.
func (t *Tokens) Document(i int) Document {
	lo, hi := t.Offsets[i], t.Offsets[i+1]
	d := Document{IDs: t.IDs[lo:hi], Labels: t.IDs[lo:hi], Row: int(t.Rows[i])}
	if t.Labels != nil {
		d.Labels = t.Labels[lo:hi]
	}
	d.Continues = t.Parts != nil && t.Parts[i] != 0
	return d
}

// Append adds a document. labels must be empty either for all documents or for none.
func (t *Tokens) Append(ids, labels []int32, row int, part uint8) {
	t.IDs = append(t.IDs, ids...)
	t.Labels = append(t.Labels, labels...)
	t.Offsets = append(t.Offsets, int32(len(t.IDs)))
	t.Rows = append(t.Rows, int64(row))
	t.Parts = append(t.Parts, part)
}

// Reset removes all documents but keeps the memory.
func (t *Tokens) Reset() {
	*t = Tokens{t.IDs[:0], t.Labels[:0], append(t.Offsets[:0], 0), t.Rows[:0], t.Parts[:0]}
}

// Clone returns a copy without spare capacity and without redundant columns.
func (t *Tokens) Clone() *Tokens {
	out := &Tokens{IDs: slices.Clone(t.IDs), Offsets: slices.Clone(t.Offsets), Rows: slices.Clone(t.Rows)}
	if len(t.Labels) > 0 {
		out.Labels = slices.Clone(t.Labels)
	}
	if slices.Contains(t.Parts, 1) {
		out.Parts = slices.Clone(t.Parts)
	}
	return out
}

// TokenWriter writes documents as rows.
type TokenWriter interface {
	Write(*Tokens) error
	// Close completes the file. It leaves the writer below open.
	Close() error
}

// NewTokenWriter returns a writer for the format given by the ending of name, .jsonl or .parquet. The columns are
// input_ids and, if the tables have them, labels.
func NewTokenWriter(w io.Writer, name string) (TokenWriter, error) {
	switch ending := filepath.Ext(name); ending {
	case ".jsonl":
		return &jsonTokens{out: bufio.NewWriterSize(w, 1<<16)}, nil
	case ".parquet":
		return &parquetTokens{out: plainWriter{Writer: w}}, nil
	default:
		return nil, fmt.Errorf("data: %s: want a file name that ends in .jsonl or .parquet, got %q", name, ending)
	}
}

type jsonTokens struct {
	out  *bufio.Writer
	line []byte
}

func (w *jsonTokens) Write(t *Tokens) error {
	for i := range t.Len() {
		d := t.Document(i)
		w.line = appendInt32s(append(w.line[:0], `{"input_ids":`...), d.IDs)
		if t.Labels != nil {
			w.line = appendInt32s(append(w.line, `,"labels":`...), d.Labels)
		}
		if _, err := w.out.Write(append(w.line, "}\n"...)); err != nil {
			return err
		}
	}
	return nil
}

func (w *jsonTokens) Close() error { return w.out.Flush() }

func appendInt32s(dst []byte, values []int32) []byte {
	dst = append(dst, '[')
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, int64(v), 10)
	}
	return append(dst, ']')
}

// parquetTokens writes each table as a row group.
type parquetTokens struct {
	out    plainWriter
	schema *arrow.Schema
	file   *pqarrow.FileWriter
}

// failed sets err to the error that occurred, if any. The Parquet library panics on some errors and drops others.
func (w *parquetTokens) failed(err *error) {
	p := recover()
	switch {
	case w.out.failed != nil:
		*err = w.out.failed
	case p != nil:
		*err = fmt.Errorf("%v", p)
	}
}

func (w *parquetTokens) open(fields ...string) (err error) {
	var columns []arrow.Field
	for _, name := range fields {
		columns = append(columns, arrow.Field{Name: name, Type: arrow.ListOf(arrow.PrimitiveTypes.Int32)})
	}
	w.schema = arrow.NewSchema(columns, nil)
	properties := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Snappy), parquet.WithDictionaryDefault(false))
	w.file, err = pqarrow.NewFileWriter(w.schema, &w.out, properties, pqarrow.DefaultWriterProps())
	return err
}

// plainWriter hides Close: Parquet's writer would close the file before it is synced. It also records errors, some of
// which that writer drops.
type plainWriter struct {
	io.Writer
	failed error
}

func (w *plainWriter) Write(p []byte) (int, error) {
	if w.failed != nil {
		return 0, w.failed
	}
	n, err := w.Writer.Write(p)
	w.failed = err
	return n, err
}

func (w *parquetTokens) Write(t *Tokens) (err error) {
	defer w.failed(&err)
	columns := []arrow.Array{int32Lists(t.IDs, t.Offsets, t.Len())}
	names := []string{"input_ids"}
	if t.Labels != nil {
		columns, names = append(columns, int32Lists(t.Labels, t.Offsets, t.Len())), append(names, "labels")
	}
	if w.file == nil {
		if err := w.open(names...); err != nil {
			return err
		}
	}
	if w.schema.NumFields() != len(columns) {
		return errors.New("some inputs have labels and some do not: " + strings.Join(names, ", "))
	}
	record := array.NewRecord(w.schema, columns, int64(t.Len()))
	defer record.Release()
	return w.file.Write(record)
}

func (w *parquetTokens) Close() (err error) {
	defer w.failed(&err)
	if w.file == nil {
		if err := w.open("input_ids"); err != nil {
			return err
		}
	}
	return w.file.Close()
}
