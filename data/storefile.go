package data

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"unsafe"

	"mambatrain/internal/atomicfile"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	flatbuffers "github.com/google/flatbuffers/go"
)

// storeSchema is what a store's file holds, one record batch for each chunk. Null labels are the input_ids.
var storeSchema = arrow.NewSchema([]arrow.Field{
	{Name: "input_ids", Type: arrow.ListOf(arrow.PrimitiveTypes.Int32)},
	{Name: "labels", Type: arrow.ListOf(arrow.PrimitiveTypes.Int32), Nullable: true},
	{Name: "row", Type: arrow.PrimitiveTypes.Int64},
	{Name: "part", Type: arrow.PrimitiveTypes.Uint8},
}, nil)

// castagnoli has an instruction of its own on today's processors.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// storeWriter writes chunks to a temporary Arrow file.
type storeWriter struct {
	file *atomicfile.File
	sum  hash.Hash32
	size int64
	ipc  *ipc.FileWriter
}

// newStoreWriter makes a file with a name of its own in dir.
func newStoreWriter(dir string) (*storeWriter, error) {
	file, err := atomicfile.Create(dir)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	w := &storeWriter{file: file, sum: crc32.New(castagnoli)}
	if w.ipc, err = ipc.NewFileWriter(countingWriter{w}, ipc.WithSchema(storeSchema)); err != nil {
		w.abandon()
		return nil, fmt.Errorf("data: %s: %w", file.Name(), err)
	}
	return w, nil
}

// countingWriter sums up what goes to the file. Arrow only asks where it is; it never goes back.
type countingWriter struct{ w *storeWriter }

func (c countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.file.Write(p)
	c.w.sum.Write(p[:n])
	c.w.size += int64(n)
	return n, err
}

func (c countingWriter) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekCurrent {
		return 0, errors.New("data: an Arrow file is written from start to end")
	}
	return c.w.size, nil
}

func (w *storeWriter) write(c *chunk) error {
	n := c.documents()
	if n == 0 {
		return nil
	}
	record := array.NewRecord(storeSchema, []arrow.Array{
		int32Lists(c.tokens, c.offsets, n),
		labelLists(c, n),
		array.MakeFromData(array.NewData(arrow.PrimitiveTypes.Int64, n, []*memory.Buffer{nil, memory.NewBufferBytes(arrow.Int64Traits.CastToBytes(c.rows))}, nil, 0, 0)),
		array.MakeFromData(array.NewData(arrow.PrimitiveTypes.Uint8, n, []*memory.Buffer{nil, memory.NewBufferBytes(partsOrZeros(c, n))}, nil, 0, 0)),
	}, int64(n))
	defer record.Release()
	if err := w.ipc.Write(record); err != nil {
		return fmt.Errorf("data: %s: %w", w.file.Name(), err)
	}
	return nil
}

// int32Lists wraps a chunk's numbers as an Arrow list column, without a copy.
func int32Lists(values, offsets []int32, n int) arrow.Array {
	child := array.NewData(arrow.PrimitiveTypes.Int32, len(values), []*memory.Buffer{nil, memory.NewBufferBytes(int32Bytes(values))}, nil, 0, 0)
	buffers := []*memory.Buffer{nil, memory.NewBufferBytes(int32Bytes(offsets))}
	return array.NewListData(array.NewData(arrow.ListOf(arrow.PrimitiveTypes.Int32), n, buffers, []arrow.ArrayData{child}, 0, 0))
}

func labelLists(c *chunk, n int) arrow.Array {
	if c.labels != nil {
		return int32Lists(c.labels, c.offsets, n)
	}
	return array.MakeArrayOfNull(memory.DefaultAllocator, arrow.ListOf(arrow.PrimitiveTypes.Int32), n)
}

func partsOrZeros(c *chunk, n int) []byte {
	if c.parts != nil {
		return c.parts
	}
	return make([]byte, n)
}

// commit ends the file and puts it in its place.
func (w *storeWriter) commit(path string) error {
	if err := w.ipc.Close(); err != nil {
		return fmt.Errorf("data: %s: %w", path, err)
	}
	if err := w.file.Commit(path); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	return nil
}

// finish ends a temporary file and maps it. It is gone when the store is closed.
func (w *storeWriter) finish() (*store, error) {
	if err := w.ipc.Close(); err != nil {
		return nil, fmt.Errorf("data: %s: %w", w.file.Name(), err)
	}
	s, err := mapStore(w.file.Name())
	if err != nil {
		return nil, err
	}
	unmap := s.close
	s.close = func() error { return errors.Join(unmap(), w.file.Close(), removeIfThere(w.file.Name())) }
	return s, nil
}

// abandon removes a file that was not finished.
func (w *storeWriter) abandon() { w.file.Abort() }

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// mapStore maps a file that storeWriter wrote. The chunks point into the mapping.
func mapStore(path string) (*store, error) {
	mapped, unmap, err := mapFile(path)
	if err != nil {
		return nil, fmt.Errorf("data: %s: %w", path, err)
	}
	s := &store{close: unmap}
	if err := s.readMapped(mapped); err != nil {
		unmap()
		return nil, fmt.Errorf("data: %s: %w", path, err)
	}
	return s, nil
}

// readMapped takes the chunks of a file that storeWriter wrote.
func (s *store) readMapped(file []byte) error {
	rest, err := fileMessages(file)
	if err != nil {
		return err
	}
	for n := 0; len(rest) > 0; n++ {
		m, size, err := parseMessage(rest)
		if err == nil && n > 0 { // the first is the schema
			err = s.appendMessage(m)
		}
		if err != nil {
			return fmt.Errorf("message %d: %w", n, err)
		}
		rest = rest[size:]
	}
	return nil
}

// The buffers of storeSchema's record batches, in Arrow's order: validity first, a list's offsets before its values.
const (
	bufferOffsets = 1
	bufferTokens  = 3
	bufferLabels  = 7
	bufferRows    = 9
	bufferParts   = 11
	storeBuffers  = 12
)

// appendMessage takes the record batch of a message as a chunk, without a copy.
func (s *store) appendMessage(m arrowMessage) error {
	if len(m.buffers) != storeBuffers || m.rows < 1 {
		return fmt.Errorf("%d rows in %d buffers, want some rows in %d", m.rows, len(m.buffers), storeBuffers)
	}
	c := &chunk{
		tokens: viewAs[int32](m.buffers[bufferTokens]), offsets: viewAs[int32](m.buffers[bufferOffsets]),
		labels: viewAs[int32](m.buffers[bufferLabels]), rows: viewAs[int64](m.buffers[bufferRows]), parts: m.buffers[bufferParts],
	}
	if len(c.labels) == 0 {
		c.labels = nil
	}
	if len(c.offsets) != m.rows+1 || len(c.rows) != m.rows || len(c.parts) != m.rows || c.labels != nil && len(c.labels) != len(c.tokens) {
		return errors.New("columns of different lengths")
	}
	for i, end := range c.offsets {
		if i == 0 && end != 0 || i > 0 && end < c.offsets[i-1] || int(end) > len(c.tokens) {
			return fmt.Errorf("offset %d is %d", i, end)
		}
	}
	s.append(c)
	return nil
}

// viewAs views bytes as numbers, in the machine's order.
func viewAs[T int32 | int64](b []byte) []T {
	var zero T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(zero)))
}

// fileMessages returns the messages of an Arrow file: what stands between the magic word, padded with zeros, and the footer.
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
	return file[start:end:end], nil // no slice of it reaches into the footer
}

// arrowMessage is a record batch in place: its buffers point into the file, where arrow's own readers copy.
type arrowMessage struct {
	rows    int
	buffers [][]byte
}

// parseMessage reads the message that b starts with, and returns its size. A schema has no rows.
func parseMessage(b []byte) (m arrowMessage, size int, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("damaged metadata: %v", p) // flatbuffers knows no errors
		}
	}()
	const prefix = 8 // continuation mark and length of the metadata
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

// messageSchema is the type of a schema message in Arrow's Message.fbs, whose fields flatTable counts from 0.
const messageSchema = 1

// flatTable reads a flatbuffers table field by field. Package ipc keeps its generated reader to itself.
type flatTable struct{ flatbuffers.Table }

// at returns where field n stands, 0 where it is left out.
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

// pair returns element i of vector n, a struct of two int64.
func (t flatTable) pair(n, i int) (a, b int64) {
	at := t.Vector(t.at(n)-t.Pos) + flatbuffers.UOffsetT(16*i)
	return t.GetInt64(at), t.GetInt64(at + 8)
}
