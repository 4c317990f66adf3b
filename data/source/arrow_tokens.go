package source

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	flatbuffers "github.com/google/flatbuffers/go"
)

// tokenSchema is the schema of [Tokens]. If labels is null, the labels equal input_ids.
var tokenSchema = arrow.NewSchema([]arrow.Field{
	{Name: "input_ids", Type: arrow.ListOf(arrow.PrimitiveTypes.Int32)},
	{Name: "labels", Type: arrow.ListOf(arrow.PrimitiveTypes.Int32), Nullable: true},
	{Name: "row", Type: arrow.PrimitiveTypes.Int64},
	{Name: "part", Type: arrow.PrimitiveTypes.Uint8},
}, nil)

// arrowTokens writes each table as a record batch.
type arrowTokens struct{ ipc *ipc.FileWriter }

// NewArrowTokenWriter returns a writer of an Arrow file that [ParseArrowTokens] can read in place.
func NewArrowTokenWriter(w io.Writer) (TokenWriter, error) {
	file, err := ipc.NewFileWriter(&positionWriter{Writer: w}, ipc.WithSchema(tokenSchema))
	if err != nil {
		return nil, err
	}
	return arrowTokens{file}, nil
}

// positionWriter counts the bytes written. Arrow's writer seeks only to ask for its position.
type positionWriter struct {
	io.Writer
	at int64
}

func (p *positionWriter) Write(b []byte) (int, error) {
	n, err := p.Writer.Write(b)
	p.at += int64(n)
	return n, err
}

func (p *positionWriter) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekCurrent {
		return 0, errors.New("an Arrow file must be written from start to end")
	}
	return p.at, nil
}

func (w arrowTokens) Write(t *Tokens) error {
	n := t.Len()
	if n == 0 {
		return nil
	}
	record := array.NewRecord(tokenSchema, []arrow.Array{
		int32Lists(t.IDs, t.Offsets, n),
		labelLists(t, n),
		array.MakeFromData(array.NewData(arrow.PrimitiveTypes.Int64, n, []*memory.Buffer{nil, memory.NewBufferBytes(arrow.Int64Traits.CastToBytes(t.Rows))}, nil, 0, 0)),
		array.MakeFromData(array.NewData(arrow.PrimitiveTypes.Uint8, n, []*memory.Buffer{nil, memory.NewBufferBytes(partsOrZeros(t, n))}, nil, 0, 0)),
	}, int64(n))
	defer record.Release()
	return w.ipc.Write(record)
}

func (w arrowTokens) Close() error { return w.ipc.Close() }

// int32Lists wraps numbers as an Arrow list column without copying.
func int32Lists(values, offsets []int32, n int) arrow.Array {
	child := array.NewData(arrow.PrimitiveTypes.Int32, len(values), []*memory.Buffer{nil, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(values))}, nil, 0, 0)
	buffers := []*memory.Buffer{nil, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(offsets))}
	return array.NewListData(array.NewData(arrow.ListOf(arrow.PrimitiveTypes.Int32), n, buffers, []arrow.ArrayData{child}, 0, 0))
}

func labelLists(t *Tokens, n int) arrow.Array {
	if t.Labels != nil {
		return int32Lists(t.Labels, t.Offsets, n)
	}
	return array.MakeArrayOfNull(memory.DefaultAllocator, arrow.ListOf(arrow.PrimitiveTypes.Int32), n)
}

func partsOrZeros(t *Tokens, n int) []byte {
	if t.Parts != nil {
		return t.Parts
	}
	return make([]byte, n)
}

// ParseArrowTokens returns the tables in a file written by the writer of [NewArrowTokenWriter]. They point into file.
func ParseArrowTokens(file []byte) (tables []*Tokens, err error) {
	rest, err := fileMessages(file)
	if err != nil {
		return nil, err
	}
	for n := 0; len(rest) > 0; n++ {
		m, size, err := parseMessage(rest)
		if err == nil && n > 0 { // the first is the schema
			var t *Tokens
			t, err = m.tokens()
			tables = append(tables, t)
		}
		if err != nil {
			return nil, fmt.Errorf("message %d: %w", n, err)
		}
		rest = rest[size:]
	}
	return tables, nil
}

// The buffers of tokenSchema's record batches, in Arrow's order: validity first, a list's offsets before its values.
const (
	bufferOffsets = 1
	bufferTokens  = 3
	bufferLabels  = 7
	bufferRows    = 9
	bufferParts   = 11
	storeBuffers  = 12
)

// tokens returns the record batch in a message as a table, without copying.
func (m arrowMessage) tokens() (*Tokens, error) {
	if len(m.buffers) != storeBuffers || m.rows < 1 {
		return nil, fmt.Errorf("got %d rows in %d buffers, want at least one row in %d buffers", m.rows, len(m.buffers), storeBuffers)
	}
	t := &Tokens{
		IDs: viewAs[int32](m.buffers[bufferTokens]), Offsets: viewAs[int32](m.buffers[bufferOffsets]),
		Labels: viewAs[int32](m.buffers[bufferLabels]), Rows: viewAs[int64](m.buffers[bufferRows]), Parts: m.buffers[bufferParts],
	}
	if len(t.Labels) == 0 {
		t.Labels = nil
	}
	if len(t.Offsets) != m.rows+1 || len(t.Rows) != m.rows || len(t.Parts) != m.rows || t.Labels != nil && len(t.Labels) != len(t.IDs) {
		return nil, errors.New("columns of different lengths")
	}
	for i, end := range t.Offsets {
		if i == 0 && end != 0 || i > 0 && end < t.Offsets[i-1] || int(end) > len(t.IDs) {
			return nil, fmt.Errorf("offset %d has the invalid value %d", i, end)
		}
	}
	return t, nil
}

// viewAs returns the memory of b as numbers, in native byte order.
func viewAs[T int32 | int64](b []byte) []T {
	var zero T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(zero)))
}

// fileMessages returns the messages in an Arrow file: the part between the magic word, padded with zeros, and the footer.
func fileMessages(file []byte) ([]byte, error) {
	magic := []byte("ARROW1")
	tail := len(file) - len(magic) - 4
	if tail < len(magic) || !bytes.HasPrefix(file, magic) || !bytes.HasSuffix(file, magic) {
		return nil, errors.New("not an Arrow file")
	}
	end := tail - int(binary.LittleEndian.Uint32(file[tail:]))
	start := len(magic)
	for start < end && file[start] == 0 {
		start++
	}
	if start > end {
		return nil, errors.New("not an Arrow file")
	}
	return file[start:end:end], nil // the capacity keeps slices of it out of the footer
}

// arrowMessage is a record batch in place. Its buffers point into the file; arrow's own readers copy.
type arrowMessage struct {
	rows    int
	buffers [][]byte
}

// parseMessage parses the message at the start of b and returns its size. A schema has no rows.
func parseMessage(b []byte) (m arrowMessage, size int, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("damaged metadata: %v", p) // flatbuffers reports errors by panicking
		}
	}()
	const prefix = 8 // continuation mark and metadata length
	if len(b) < prefix || binary.LittleEndian.Uint32(b) != ^uint32(0) {
		return m, 0, errors.New("not an Arrow message")
	}
	length := int(binary.LittleEndian.Uint32(b[4:]))
	metadata := b[prefix : prefix+length : prefix+length]
	message := flatTable{flatbuffers.Table{Bytes: metadata, Pos: flatbuffers.GetUOffsetT(metadata)}}
	body := b[prefix+length:]
	n := message.int64(3)
	body = body[:n:n]
	size = prefix + length + len(body)
	if message.byte(1) == messageSchema {
		return m, size, nil
	}
	batch := message.table(2)
	m.rows = int(batch.int64(0))
	for i := range batch.vector(2) {
		offset, bytes := batch.pair(2, i)
		m.buffers = append(m.buffers, body[offset:offset+bytes])
	}
	return m, size, nil
}

// messageSchema is the type of a schema message in Arrow's Message.fbs. flatTable counts its fields from 0.
const messageSchema = 1

// flatTable reads the fields of a flatbuffers table. Package ipc does not export its generated reader.
type flatTable struct{ flatbuffers.Table }

// at returns the position of field n, or 0 if it is absent.
func (t flatTable) at(n int) flatbuffers.UOffsetT {
	offset := flatbuffers.UOffsetT(t.Offset(flatbuffers.VOffsetT(4 + 2*n)))
	if offset == 0 {
		return 0
	}
	return offset + t.Pos
}

func (t flatTable) byte(n int) byte {
	if at := t.at(n); at != 0 {
		return t.GetByte(at)
	}
	return 0
}

func (t flatTable) int64(n int) int64 {
	if at := t.at(n); at != 0 {
		return t.GetInt64(at)
	}
	return 0
}

func (t flatTable) table(n int) flatTable {
	return flatTable{flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(t.at(n))}}
}

// vector returns the length of vector n.
func (t flatTable) vector(n int) int { return t.VectorLen(t.at(n) - t.Pos) }

// checkVector returns an error if vector n claims more elements of the given size than fit into the bytes.
func (t flatTable) checkVector(n, size int) error {
	if t.at(n) == 0 {
		return nil
	}
	if count := t.vector(n); count < 0 || size*count > len(t.Bytes) {
		return fmt.Errorf("damaged: %d elements in %d bytes", count, len(t.Bytes))
	}
	return nil
}

// int64Of returns element i of vector n.
func (t flatTable) int64Of(n, i int) int64 {
	return t.GetInt64(t.Vector(t.at(n)-t.Pos) + flatbuffers.UOffsetT(8*i))
}

// element returns element i of vector n, a table.
func (t flatTable) element(n, i int) flatTable {
	return flatTable{flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(t.Vector(t.at(n)-t.Pos) + flatbuffers.UOffsetT(4*i))}}
}

// pair returns element i of vector n, a struct of two int64s.
func (t flatTable) pair(n, i int) (a, b int64) {
	at := t.Vector(t.at(n)-t.Pos) + flatbuffers.UOffsetT(16*i)
	return t.GetInt64(at), t.GetInt64(at + 8)
}
