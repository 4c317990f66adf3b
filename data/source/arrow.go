package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// arrowReader reads Arrow IPC, the file form or the stream form that the datasets library writes.
type arrowReader struct {
	source *File
	file   *os.File
	schema *arrow.Schema
	read   func(batch int) (arrow.Record, error) // io.EOF behind the last
	shut   func()
	batch  int
	first  int
}

func openArrow(f *File, m memory.Allocator) (r *arrowReader, err error) {
	file, err := os.Open(f.Path)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("data: %s: damaged Arrow file: %v", f.Path, p)
		}
		if err != nil {
			file.Close()
		}
	}()
	magic := make([]byte, 6)
	if _, err := file.ReadAt(magic, 0); err != nil && err != io.EOF {
		return nil, fmt.Errorf("data: %s: %w", f.Path, err)
	}
	r = &arrowReader{source: f, file: file}
	if bytes.Equal(magic, []byte("ARROW1")) {
		in, err := ipc.NewFileReader(file, ipc.WithAllocator(m))
		if err != nil {
			return nil, fmt.Errorf("data: %s: not a readable Arrow file: %w", f.Path, err)
		}
		r.schema, r.shut = in.Schema(), func() { in.Close() }
		r.read = func(batch int) (arrow.Record, error) {
			if batch >= in.NumRecords() {
				return nil, io.EOF
			}
			return in.RecordAt(batch)
		}
		return r, nil
	}
	in, err := ipc.NewReader(file, ipc.WithAllocator(m))
	if err != nil {
		return nil, fmt.Errorf("data: %s: neither an Arrow file nor an Arrow stream: %w", f.Path, err)
	}
	r.schema, r.shut = in.Schema(), in.Release
	r.read = func(int) (arrow.Record, error) {
		record, err := in.Read()
		if err == nil {
			record.Retain()
		}
		return record, err
	}
	return r, nil
}

func (r *arrowReader) Columns() (names []string) {
	for _, f := range r.schema.Fields() {
		names = append(names, f.Name)
	}
	return names
}

func (r *arrowReader) Project([]string) {}

func (r *arrowReader) Next(ctx context.Context) (b *Block, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("data: %s: record batch %d: damaged: %v", r.source.Path, r.batch, p)
		}
	}()
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		record, err := r.read(r.batch)
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		if err != nil {
			return nil, fmt.Errorf("data: %s: record batch %d: %w", r.source.Path, r.batch, err)
		}
		batch, start := r.batch, r.first
		r.batch++
		r.first += int(record.NumRows())
		if record.NumRows() == 0 {
			record.Release()
			continue
		}
		b := recordBlock(r.source, record)
		b.place = func(i int) string { return fmt.Sprintf("record batch %d, row %d", batch, start+i) }
		return b, nil
	}
}

func (r *arrowReader) Close() error {
	r.shut()
	return r.file.Close()
}

// recordBlock wraps a record, which it takes over.
func recordBlock(f *File, record arrow.Record) *Block {
	b := &Block{arrow: true, File: f, Rows: int(record.NumRows()), Columns: make(map[string]Column, record.NumCols()), free: record.Release}
	for i, field := range record.Schema().Fields() {
		b.Columns[field.Name] = arrowColumn{record.Column(i)}
	}
	return b
}

// arrowColumn reads an Arrow array. Texts point into it: they live as long as the block.
type arrowColumn struct{ arrow.Array }

func (c arrowColumn) Text(i int) (string, bool, error) {
	if c.IsNull(i) {
		return "", false, nil
	}
	switch a := c.Array.(type) {
	case *array.String:
		return a.Value(i), true, nil
	case *array.LargeString:
		return a.Value(i), true, nil
	case *array.StringView:
		return a.Value(i), true, nil
	case *array.Binary:
		return string(a.Value(i)), true, nil
	case *array.Dictionary:
		return arrowColumn{a.Dictionary()}.Text(a.GetValueIndex(i))
	case *array.Null:
		return "", false, nil
	}
	return "", false, fmt.Errorf("is %s, want text", c.DataType())
}

func (c arrowColumn) Ints(dst []int32, i int) ([]int32, bool, error) {
	if c.IsNull(i) {
		return dst, false, nil
	}
	list, ok := c.Array.(array.ListLike)
	if !ok {
		return dst, false, fmt.Errorf("is %s, want a list of integers", c.DataType())
	}
	lo, hi := list.ValueOffsets(i)
	values := list.ListValues()
	if values.NullN() > 0 {
		for j := lo; j < hi; j++ {
			if values.IsNull(int(j)) {
				return dst, false, fmt.Errorf("element %d is null, want an integer", j-lo)
			}
		}
	}
	var err error
	switch a := values.(type) {
	case *array.Int32:
		dst = append(dst, a.Int32Values()[lo:hi]...)
	case *array.Int64:
		dst, err = appendInts(dst, a.Int64Values()[lo:hi])
	case *array.Int16:
		dst, err = appendInts(dst, a.Int16Values()[lo:hi])
	case *array.Int8:
		dst, err = appendInts(dst, a.Int8Values()[lo:hi])
	case *array.Uint64:
		dst, err = appendInts(dst, a.Uint64Values()[lo:hi])
	case *array.Uint32:
		dst, err = appendInts(dst, a.Uint32Values()[lo:hi])
	case *array.Uint16:
		dst, err = appendInts(dst, a.Uint16Values()[lo:hi])
	case *array.Uint8:
		dst, err = appendInts(dst, a.Uint8Values()[lo:hi])
	case *array.Boolean:
		for j := lo; j < hi; j++ {
			bit := int32(0)
			if a.Value(int(j)) {
				bit = 1
			}
			dst = append(dst, bit)
		}
	default:
		if hi > lo {
			err = fmt.Errorf("is %s, want a list of integers", c.DataType())
		}
	}
	return dst, err == nil, err
}

func appendInts[T int8 | int16 | int64 | uint8 | uint16 | uint32 | uint64](dst []int32, values []T) ([]int32, error) {
	for i, v := range values {
		n := int32(v)
		if T(n) != v || (n < 0) != (v < 0) {
			return dst, fmt.Errorf("element %d is %d, which no token id or label is", i, v)
		}
		dst = append(dst, n)
	}
	return dst, nil
}

func (c arrowColumn) Value(i int) (any, error) {
	if c.IsNull(i) {
		return nil, nil
	}
	switch a := c.Array.(type) {
	case *array.Boolean:
		return a.Value(i), nil
	case *array.Int8:
		return int64(a.Value(i)), nil
	case *array.Int16:
		return int64(a.Value(i)), nil
	case *array.Int32:
		return int64(a.Value(i)), nil
	case *array.Int64:
		return a.Value(i), nil
	case *array.Uint8:
		return int64(a.Value(i)), nil
	case *array.Uint16:
		return int64(a.Value(i)), nil
	case *array.Uint32:
		return int64(a.Value(i)), nil
	case *array.Float32:
		return float64(a.Value(i)), nil
	case *array.Float64:
		return a.Value(i), nil
	case array.ListLike:
		lo, hi := a.ValueOffsets(i)
		values := arrowColumn{a.ListValues()}
		list := make([]any, 0, hi-lo)
		for j := lo; j < hi; j++ {
			v, err := values.Value(int(j))
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case *array.Struct:
		object := make(map[string]any, a.NumField())
		for j, field := range a.DataType().(*arrow.StructType).Fields() {
			v, err := arrowColumn{a.Field(j)}.Value(i)
			if err != nil {
				return nil, err
			}
			object[field.Name] = v
		}
		return object, nil
	}
	if s, ok, err := c.Text(i); err == nil && ok {
		return s, nil
	}
	return c.ValueStr(i), nil // dates, decimals, …: as Arrow writes them
}
