package data

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"mambatrain/internal/atomicfile"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
)

// WriteTokens tokenises the inputs into a .jsonl or .parquet file with a column input_ids, and labels where the options
// mask any: one row for each row of the source, in its order, an empty list for an empty one. Nothing is cut or dropped:
// of the options, max_length and truncation do not count. The file appears whole or not at all.
func WriteTokens(ctx context.Context, inputs []Input, tok *Tokenizer, o Options, output string) (Stats, error) {
	if err := o.Check(); err != nil {
		return Stats{}, err
	}
	resolved, err := resolve(ctx, inputs, &o)
	if err != nil {
		return Stats{}, err
	}
	file, err := atomicfile.Create(filepath.Dir(output))
	if err != nil {
		return Stats{}, fmt.Errorf("data: %s: %w", output, err)
	}
	stats, err := writeTokens(ctx, resolved, tok, &o, file, output)
	if err != nil {
		file.Abort()
		return stats, err
	}
	if err := file.Commit(output); err != nil {
		return stats, fmt.Errorf("data: %w", err)
	}
	return stats, nil
}

func writeTokens(ctx context.Context, inputs []resolvedInput, tok *Tokenizer, o *Options, file io.Writer, name string) (Stats, error) {
	out, err := newTokenWriter(file, name)
	if err != nil {
		return Stats{}, err
	}
	stats := Stats{MaxToken: -1}
	for _, in := range inputs {
		t := tokeniser{files: in.files, tok: tok, options: o, memory: memory.DefaultAllocator, rows: o.MaxTrainSamples, all: true}
		err := t.run(ctx, func(c *chunk, s Stats) error {
			stats.add(s)
			if err := out.write(c); err != nil {
				return fmt.Errorf("data: %s: %w", name, err)
			}
			return nil
		})
		if err != nil {
			return stats, errors.Join(err, out.close())
		}
	}
	if err := out.close(); err != nil {
		return stats, fmt.Errorf("data: %s: %w", name, err)
	}
	return stats, nil
}

// tokenWriter writes the documents of chunks as rows.
type tokenWriter interface {
	write(*chunk) error
	close() error
}

func newTokenWriter(w io.Writer, name string) (tokenWriter, error) {
	switch ending := filepath.Ext(name); ending {
	case ".jsonl":
		return &jsonTokens{out: bufio.NewWriterSize(w, 1<<16)}, nil
	case ".parquet":
		return &parquetTokens{out: w}, nil
	default:
		return nil, fmt.Errorf("data: %s: want a name that ends in .jsonl or .parquet, got %q", name, ending)
	}
}

type jsonTokens struct {
	out  *bufio.Writer
	line []byte
}

func (w *jsonTokens) write(c *chunk) error {
	for i := range c.documents() {
		d := c.document(i)
		w.line = appendInt32s(append(w.line[:0], `{"input_ids":`...), d.tokens)
		if c.labels != nil {
			w.line = appendInt32s(append(w.line, `,"labels":`...), d.labels)
		}
		if _, err := w.out.Write(append(w.line, "}\n"...)); err != nil {
			return err
		}
	}
	return nil
}

func (w *jsonTokens) close() error { return w.out.Flush() }

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

// parquetTokens writes each chunk as a row group: chunks are blocks of about a megabyte of text.
type parquetTokens struct {
	out    io.Writer
	schema *arrow.Schema
	file   *pqarrow.FileWriter
}

func (w *parquetTokens) open(fields ...string) (err error) {
	var columns []arrow.Field
	for _, name := range fields {
		columns = append(columns, arrow.Field{Name: name, Type: arrow.ListOf(arrow.PrimitiveTypes.Int32)})
	}
	w.schema = arrow.NewSchema(columns, nil)
	properties := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Snappy), parquet.WithDictionaryDefault(false))
	w.file, err = pqarrow.NewFileWriter(w.schema, plainWriter{w.out}, properties, pqarrow.DefaultWriterProps())
	return err
}

// plainWriter hides that a file can be closed: Parquet's writer would, before the file is synced.
type plainWriter struct{ io.Writer }

func (w *parquetTokens) write(c *chunk) error {
	columns := []arrow.Array{int32Lists(c.tokens, c.offsets, c.documents())}
	names := []string{"input_ids"}
	if c.labels != nil {
		columns, names = append(columns, int32Lists(c.labels, c.offsets, c.documents())), append(names, "labels")
	}
	if w.file == nil {
		if err := w.open(names...); err != nil {
			return err
		}
	}
	if w.schema.NumFields() != len(columns) {
		return errors.New("some inputs have labels and some do not: " + strings.Join(names, ", "))
	}
	record := array.NewRecord(w.schema, columns, int64(c.documents()))
	defer record.Release()
	return w.file.Write(record)
}

func (w *parquetTokens) close() error {
	if w.file == nil {
		if err := w.open("input_ids"); err != nil {
			return err
		}
	}
	return w.file.Close()
}
