package source

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	flatbuffers "github.com/google/flatbuffers/go"

	"mambatrain/internal/format"
	"mambatrain/internal/ordered"
)

// arrowReader reads Arrow IPC: the stream format that the datasets library writes, or the file format, which contains a stream.
type arrowReader struct {
	source *File
	file   *os.File
	memory *budget
	stream *ipc.Reader
	json   map[string]*jsonParts // by column
	batch  int
	first  int
}

func openArrow(f *File, m memory.Allocator) (r *arrowReader, err error) {
	file, err := openFile(f.Path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("data: %s: damaged Arrow file: %v", f.Path, p)
		}
		if err != nil {
			file.Close()
		}
	}()
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("data: %s: %w", f.Path, err)
	}
	r = &arrowReader{source: f, file: file, memory: newBudget(m, f, size)}
	messages, kind, err := arrowMessages(file, size)
	if err == nil {
		in := &messageReader{in: bufio.NewReaderSize(messages, bufferBytes), rest: messages.Size(), memory: r.memory}
		r.stream, err = ipc.NewReaderFromMessageReader(in, ipc.WithAllocator(r.memory))
	}
	if err != nil {
		return nil, fmt.Errorf("data: %s: not a readable Arrow %s: %w", f.Path, kind, err)
	}
	r.json = map[string]*jsonParts{}
	for _, field := range r.stream.Schema().Fields() {
		r.json[field.Name] = jsonInArrow(field)
	}
	return r, nil
}

// arrowMagic begins and ends the file format.
const arrowMagic = "ARROW1"

// arrowMessages returns the part of a file that is a stream of messages, and which format it is.
func arrowMessages(file *os.File, size int64) (messages *io.SectionReader, kind string, err error) {
	head, tail := make([]byte, 8), make([]byte, 4+len(arrowMagic))
	if _, err := file.ReadAt(head, 0); err != nil && err != io.EOF {
		return nil, "stream", err
	}
	if !strings.HasPrefix(string(head), arrowMagic) {
		return io.NewSectionReader(file, 0, size), "stream", nil
	}
	end := size - int64(len(tail))
	if _, err := file.ReadAt(tail, max(0, end)); err != nil || string(tail[4:]) != arrowMagic {
		return nil, "file", errors.New("it is truncated: the magic bytes at the end are missing")
	}
	footer := int64(binary.LittleEndian.Uint32(tail))
	if end -= footer; end < int64(len(head)) {
		return nil, "file", fmt.Errorf("the footer has %d bytes, but the file has only %d", footer, size)
	}
	return io.NewSectionReader(file, int64(len(head)), end-int64(len(head))), "file", nil
}

// messageReader reads Arrow messages like ipc's own reader, but checks each length before it allocates memory for it.
type messageReader struct {
	in     io.Reader
	rest   int64 // bytes not yet read
	memory memory.Allocator
	views  int // columns of the schema that are view types
	last   *ipc.Message
}

// Message returns the next message, which is valid until the next call, or io.EOF after the last one.
func (r *messageReader) Message() (*ipc.Message, error) {
	if r.rest < 4 {
		return nil, io.EOF
	}
	length, err := r.word()
	if err == nil && length == ^uint32(0) { // the continuation mark of newer writers
		length, err = r.word()
	}
	if err != nil {
		return nil, err
	}
	if length == 0 {
		return nil, io.EOF
	}
	meta, err := r.bytes(int64(length))
	if err != nil {
		return nil, err
	}
	defer meta.Release()
	message := flatTable{flatbuffers.Table{Bytes: meta.Bytes(), Pos: flatbuffers.GetUOffsetT(meta.Bytes())}}
	size := message.int64(3)
	if err := r.check(message.byte(1), message.table(2), size); err != nil {
		return nil, err
	}
	body, err := r.bytes(size)
	if err != nil {
		return nil, err
	}
	defer body.Release()
	r.release()
	r.last = ipc.NewMessage(meta, body)
	return r.last, nil
}

// check rejects impossible sizes in a message header, for which the reader would otherwise allocate memory.
func (r *messageReader) check(kind byte, header flatTable, body int64) error {
	const dictionaryBatch, recordBatch = 2, 3
	switch kind {
	case messageSchema:
		left := maxFields
		if err := header.checkVector(schemaMetadata, 4); err != nil {
			return err
		}
		return r.checkFields(header, schemaFields, 0, &left)
	case dictionaryBatch:
		return r.checkBatch(header.table(1), body)
	case recordBatch:
		return r.checkBatch(header, body)
	}
	return nil
}

// checkBatch checks the number of rows of a record batch, and the buffer counts of its views, which are a separate vector.
func (r *messageReader) checkBatch(batch flatTable, body int64) error {
	const rows, buffers, views = 0, 2, 4
	if n := batch.int64(rows); n < 0 || n/512 > 1<<15+body {
		return fmt.Errorf("damaged: %d rows in %d bytes", n, body)
	}
	if batch.at(views) == 0 {
		return nil
	}
	if err := errors.Join(batch.checkVector(buffers, 16), batch.checkVector(views, 8)); err != nil {
		return err
	}
	if n := batch.vector(views); n < r.views {
		return fmt.Errorf("damaged: buffers for %d columns, want buffers for %d", n, r.views)
	}
	for i := range batch.vector(views) {
		if n := batch.int64Of(views, i); n < 0 || n > int64(batch.vector(buffers)) {
			return fmt.Errorf("damaged: a view with %d buffers, but the batch has %d", n, batch.vector(buffers))
		}
	}
	return nil
}

// maxFields and maxNesting limit the schema of a file. Its parts may be shared, so a few bytes can describe a huge number.
const (
	maxFields  = 1 << 16
	maxNesting = 64
)

// Fields of the Schema and Field tables in Arrow's Schema.fbs, and its view types.
const (
	schemaFields   = 1
	schemaMetadata = 2
	fieldType      = 2
	fieldChildren  = 5
	fieldMetadata  = 6

	typeBinaryView = 23
	typeTextView   = 24
)

// checkFields counts the fields in vector n of a schema or field, recursively.
func (r *messageReader) checkFields(t flatTable, n, depth int, left *int) error {
	if t.at(n) == 0 {
		return nil
	}
	if err := t.checkVector(n, 4); err != nil {
		return err
	}
	count := t.vector(n)
	if *left -= count; *left < 0 || depth > maxNesting {
		return fmt.Errorf("damaged: a schema of more than %d fields or %d levels", maxFields, maxNesting)
	}
	for i := range count {
		field := t.element(n, i)
		if kind := field.byte(fieldType); kind == typeBinaryView || kind == typeTextView {
			r.views++
		}
		if err := field.checkVector(fieldMetadata, 4); err != nil {
			return err
		}
		if err := r.checkFields(field, fieldChildren, depth+1, left); err != nil {
			return err
		}
	}
	return nil
}

func (r *messageReader) word() (uint32, error) {
	var b [4]byte
	if _, err := io.ReadFull(r.in, b[:]); err != nil {
		return 0, err
	}
	r.rest -= 4
	return binary.LittleEndian.Uint32(b[:]), nil
}

// bytes reads n bytes into a buffer.
func (r *messageReader) bytes(n int64) (*memory.Buffer, error) {
	if n < 0 || n > r.rest {
		return nil, fmt.Errorf("damaged: a message of %d bytes, but only %d are left", n, r.rest)
	}
	r.rest -= n
	b := memory.NewResizableBuffer(r.memory)
	b.Resize(int(n))
	if _, err := io.ReadFull(r.in, b.Bytes()); err != nil {
		b.Release()
		return nil, err
	}
	return b, nil
}

func (r *messageReader) release() {
	if r.last != nil {
		r.last.Release()
		r.last = nil
	}
}

func (r *messageReader) Retain()  {}
func (r *messageReader) Release() { r.release() }

func (r *arrowReader) Columns() (names []string) {
	for _, f := range r.stream.Schema().Fields() {
		names = append(names, f.Name)
	}
	return names
}

func (r *arrowReader) Project([]string) {}

func (r *arrowReader) Late(context.Context, []string, int) ([]string, error) { return nil, nil }

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
		r.memory.begin()
		record, err := r.stream.Read()
		if err == io.EOF {
			return nil, io.EOF
		}
		if err != nil {
			return nil, fmt.Errorf("data: %s: record batch %d: %w", r.source.Path, r.batch, err)
		}
		batch, start := r.batch, r.first
		r.batch++
		r.first += int(record.NumRows())
		if record.NumRows() == 0 {
			continue
		}
		record.Retain()
		b := recordBlock(r.source, record, r.json)
		b.place = func(i int) string { return fmt.Sprintf("record batch %d, row %d", batch, start+i) }
		return b, nil
	}
}

func (r *arrowReader) Close() error {
	r.stream.Release()
	return r.file.Close()
}

// recordBlock wraps a record, some of whose columns contain JSON, and takes ownership of it.
func recordBlock(f *File, record arrow.Record, json map[string]*jsonParts) *Block {
	b := &Block{arrow: true, File: f, Rows: int(record.NumRows()), Columns: make(map[string]Column, record.NumCols()), free: record.Release}
	for i, field := range record.Schema().Fields() {
		b.Columns[field.Name] = arrowColumn{record.Column(i), f.maxRow(), json[field.Name]}
	}
	return b
}

// arrowColumn reads an Arrow array. Its texts point into the array and live as long as the block.
type arrowColumn struct {
	arrow.Array
	max  int // maximum bytes per value
	json *jsonParts
}

// of returns a column for another form of the same values.
func (c arrowColumn) of(a arrow.Array) arrowColumn { return arrowColumn{a, c.max, c.json} }

// part returns a column for part i of the values.
func (c arrowColumn) part(i int, a arrow.Array) arrowColumn {
	return arrowColumn{a, c.max, c.json.part(i)}
}

func (c arrowColumn) Text(i int) (string, bool, error) {
	if c.IsNull(i) {
		return "", false, nil
	}
	if c.json.isWhole() {
		return c.jsonText(i)
	}
	var s string
	switch a := c.Array.(type) {
	case array.StringLike: // including large and view types
		s = a.Value(i)
	case interface{ Value(int) []byte }: // binary, including large, view, and fixed-size types
		s = string(a.Value(i))
	case *array.Dictionary:
		return c.of(a.Dictionary()).Text(a.GetValueIndex(i))
	case *array.RunEndEncoded:
		return c.of(a.Values()).Text(a.GetPhysicalIndex(i))
	case array.ExtensionArray:
		return c.of(a.Storage()).Text(i)
	case *array.Null:
		return "", false, nil
	default:
		return "", false, fmt.Errorf("is %s, want text", c.DataType())
	}
	if len(s) > c.max {
		return "", false, fmt.Errorf("is longer than %v: raise data.max_row_bytes if that is intended", format.Bytes(c.max))
	}
	if !utf8.ValidString(s) {
		return "", false, errors.New("is not UTF-8 text")
	}
	return s, true, nil
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
	if err := c.checkLength(hi - lo); err != nil {
		return dst, false, err
	}
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
			return dst, fmt.Errorf("element %d is %d, which is out of range for a token id or label", i, v)
		}
		dst = append(dst, n)
	}
	return dst, nil
}

func (c arrowColumn) Value(i int) (any, error) {
	if c.IsNull(i) {
		return nil, nil
	}
	if c.json.isWhole() {
		return c.decodeJSON(i)
	}
	if n, ok := arrowNumber(c.Array, i); ok {
		return n, nil
	}
	switch a := c.Array.(type) {
	case *array.Boolean:
		return a.Value(i), nil
	case array.ListLike:
		return c.list(a, i)
	case *array.Struct:
		return c.object(a, i)
	case *array.Dictionary:
		return c.of(a.Dictionary()).Value(a.GetValueIndex(i))
	case *array.RunEndEncoded:
		return c.of(a.Values()).Value(a.GetPhysicalIndex(i))
	case array.ExtensionArray:
		return c.of(a.Storage()).Value(i)
	case *array.Null:
		return nil, nil
	case *array.Decimal128:
		return a.Value(i).ToString(a.DataType().(*arrow.Decimal128Type).Scale), nil
	case *array.Decimal256:
		return a.Value(i).ToString(a.DataType().(*arrow.Decimal256Type).Scale), nil
	case array.StringLike, interface{ Value(int) []byte }:
		s, ok, err := c.Text(i)
		if err != nil || !ok {
			return nil, err
		}
		return s, nil
	}
	return c.ValueStr(i), nil // dates, times, and so on, as Arrow formats them
}

// arrowNumber returns element i of an array of numbers as an int64, a float64, or, if it exceeds int64, a uint64. It
// returns false for other arrays.
func arrowNumber(a arrow.Array, i int) (any, bool) {
	switch a := a.(type) {
	case *array.Int8:
		return int64(a.Value(i)), true
	case *array.Int16:
		return int64(a.Value(i)), true
	case *array.Int32:
		return int64(a.Value(i)), true
	case *array.Int64:
		return a.Value(i), true
	case *array.Uint8:
		return int64(a.Value(i)), true
	case *array.Uint16:
		return int64(a.Value(i)), true
	case *array.Uint32:
		return int64(a.Value(i)), true
	case *array.Uint64:
		if n := a.Value(i); n > math.MaxInt64 {
			return n, true
		}
		return int64(a.Value(i)), true
	case *array.Float16:
		return float64(a.Value(i).Float32()), true
	case *array.Float32:
		return float64(a.Value(i)), true
	case *array.Float64:
		return a.Value(i), true
	}
	return nil, false
}

// list returns list i of a.
func (c arrowColumn) list(a array.ListLike, i int) (any, error) {
	lo, hi := a.ValueOffsets(i)
	if err := c.checkLength(hi - lo); err != nil {
		return nil, err
	}
	values := c.part(0, a.ListValues())
	list := make([]any, 0, hi-lo)
	for j := lo; j < hi; j++ {
		v, err := values.Value(int(j))
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// object returns struct i of a.
func (c arrowColumn) object(a *array.Struct, i int) (any, error) {
	object := &ordered.Object{}
	for j, field := range a.DataType().(*arrow.StructType).Fields() {
		v, err := c.part(j, a.Field(j)).Value(i)
		if err != nil {
			return nil, err
		}
		object.Set(field.Name, v)
	}
	return object, nil
}

// checkLength returns an error for a list that is too long.
func (c arrowColumn) checkLength(n int64) error {
	if n > int64(c.max) {
		return fmt.Errorf("is a list of %d values: raise data.max_row_bytes if that is intended", n)
	}
	return nil
}
