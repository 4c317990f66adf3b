package source

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"mambatrain/internal/format"
)

// checkPages reads the page headers of the selected columns in a row group and rejects impossible lengths, because the
// underlying reader allocates whatever they claim. It also lowers the rows per block if a few bytes encode large
// values.
func (r *parquetReader) checkPages() error {
	group := r.file.MetaData().RowGroup(r.group)
	largest := int64(1)
	for i := range group.NumColumns() {
		if !r.wants(i) {
			continue
		}
		column, err := group.ColumnChunk(i)
		if err != nil {
			return err
		}
		start := column.DataPageOffset()
		if column.HasDictionaryPage() && column.DictionaryPageOffset() > 0 && column.DictionaryPageOffset() < start {
			start = column.DictionaryPageOffset()
		}
		pages := pageScanner{in: r.input, at: start, size: r.budget.size, max: r.budget.max}
		for values := int64(0); values < column.NumValues(); {
			p, ok := pages.next()
			if !ok {
				break // not understood here; the underlying reader either understands it or reports the damage
			}
			if err := pages.check(p); err != nil {
				return err
			}
			values += p.values()
			largest = max(largest, p.amplified())
		}
	}
	if err := r.limitRows(max(1, r.budget.max/largest)); err != nil {
		return err
	}
	for i := range group.NumColumns() {
		if r.wants(i) {
			if err := r.checkColumn(i, group.NumRows()); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkColumn opens a column chunk, and reads it if it is part of a struct. pqarrow reads those on its own goroutines,
// where a panic caused by damage could not be recovered; here the caller recovers it.
func (r *parquetReader) checkColumn(leaf int, rows int64) error {
	field, err := r.arrow.Manifest.GetColumnField(leaf)
	if err != nil {
		return err
	}
	pages, err := r.file.RowGroup(r.group).GetColumnPageReader(leaf)
	if err != nil {
		return err
	}
	in := file.NewRecordReader(r.file.MetaData().Schema.Column(leaf), field.LevelInfo, field.Field.Type, r.memory, r.file.BufferPool())
	defer in.Release()
	in.SetPageReader(pages)
	if !inStruct(leaf, r.arrow.Manifest.Fields, false) {
		return nil
	}
	for rows > 0 {
		in.Reset()
		if err := in.Reserve(r.batch); err != nil {
			return err
		}
		n, err := in.ReadRecords(r.batch)
		if err != nil {
			return err
		}
		if n == 0 {
			break // too few rows, which is reported when they are read
		}
		if values, ok := in.(file.BinaryRecordReader); ok {
			for _, chunk := range values.GetBuilderChunks() {
				chunk.Release()
			}
		}
		rows -= n
	}
	return nil
}

// inStruct reports whether a column chunk is part of a struct below the fields; within means that the fields already
// are part of one.
func inStruct(leaf int, fields []pqarrow.SchemaField, within bool) bool {
	return slices.ContainsFunc(fields, func(f pqarrow.SchemaField) bool {
		if len(f.Children) == 0 {
			return within && f.ColIndex == leaf
		}
		id := f.Field.Type.ID()
		return inStruct(leaf, f.Children, within || id == arrow.STRUCT || id == arrow.MAP)
	})
}

// checkArrowSchema checks the Arrow schema that a writer may have put into the footer, as for an Arrow file.
func (r *parquetReader) checkArrowSchema() error {
	encoded := r.file.MetaData().KeyValueMetadata().FindValue("ARROW:schema")
	if encoded == nil {
		return nil
	}
	raw, err := base64.StdEncoding.DecodeString(*encoded)
	if err != nil {
		return nil // pqarrow reports it
	}
	in := &messageReader{in: bytes.NewReader(raw), rest: int64(len(raw)), memory: r.memory}
	defer in.Release()
	if _, err := in.Message(); err != nil && err != io.EOF {
		return fmt.Errorf("the Arrow schema in its footer: %w", err)
	}
	return nil
}

// limitRows limits the number of rows in a block.
func (r *parquetReader) limitRows(limit int64) (err error) {
	rows := min(batchRows(r.file), limit)
	if rows == r.batch {
		return nil
	}
	r.batch = rows
	r.arrow, err = pqarrow.NewFileReader(r.file, pqarrow.ArrowReadProperties{BatchSize: rows}, r.memory)
	return err
}

// pageScanner reads the page headers of a column chunk.
type pageScanner struct {
	in   io.ReaderAt
	at   int64
	size int64 // of the file
	max  int64 // maximum bytes in a page
}

// pageHeader contains the fields of PageHeader in parquet.thrift that are needed here.
type pageHeader struct {
	kind, uncompressed, compressed int64
	data, dictionary, dataV2       pageFields
}

// pageFields are the first fields of the headers of data pages and dictionary pages.
type pageFields struct{ values, encoding int64 }

const deltaByteArray = 7 // encoding of values as differences from the previous one

func (p *pageHeader) values() int64 { return max(0, p.data.values) + max(0, p.dataV2.values) }

// amplified returns how large a value may be that the page encodes in a few bytes: by a dictionary entry, or by
// repeating the previous value.
func (p *pageHeader) amplified() int64 {
	const dictionaryPage = 2
	if p.kind == dictionaryPage || p.data.encoding == deltaByteArray || p.dataV2.encoding == deltaByteArray {
		return p.uncompressed
	}
	return 1
}

func (s *pageScanner) check(p pageHeader) error {
	const maxValues = 1 << 27 // per page: nulls take no space
	switch {
	case p.compressed < 0 || p.compressed > s.size-s.at:
		return fmt.Errorf("damaged: a page of %d bytes, but only %d are left", p.compressed, s.size-s.at)
	case p.uncompressed < 0 || p.uncompressed > s.max:
		return fmt.Errorf("a page of %v: the file is damaged, or data.max_row_bytes is too small for it", format.Bytes(p.uncompressed))
	case p.dictionary.values < 0 || p.dictionary.values > max(1, p.uncompressed):
		return fmt.Errorf("damaged: %d values in a dictionary of %d bytes", p.dictionary.values, p.uncompressed)
	case p.values() > maxValues:
		return fmt.Errorf("damaged: %d values in a page of %d bytes", p.values(), p.uncompressed)
	}
	s.at += p.compressed
	return nil
}

// next reads the next header and advances to its page. It returns false if the header is not understood.
func (s *pageScanner) next() (p pageHeader, ok bool) {
	for window := int64(1 << 10); window <= 1<<22; window *= 8 {
		raw := make([]byte, min(window, max(0, s.size-s.at)))
		if s.at < 0 || len(raw) == 0 {
			return p, false
		}
		if n, err := s.in.ReadAt(raw, s.at); n < len(raw) || err != nil && err != io.EOF {
			return p, false
		}
		t := thriftReader{raw: raw}
		p = pageHeader{}
		t.pageHeader(&p)
		if !t.failed {
			s.at += int64(t.at)
			return p, true
		}
	}
	return p, false
}

// thriftReader reads the parts of Thrift's compact protocol that page headers use.
type thriftReader struct {
	raw    []byte
	at     int
	failed bool // the data ended or is invalid
}

func (t *thriftReader) pageHeader(p *pageHeader) {
	t.structure(0, func(field int16, kind byte) bool {
		switch field {
		case 1:
			p.kind = t.integer()
		case 2:
			p.uncompressed = t.integer()
		case 3:
			p.compressed = t.integer()
		case 5:
			t.pageFields(&p.data, 2)
		case 7:
			t.pageFields(&p.dictionary, 2)
		case 8:
			t.pageFields(&p.dataV2, 4)
		default:
			return false
		}
		return true
	})
}

// pageFields reads the number of values and the encoding, whose field number depends on the page type.
func (t *thriftReader) pageFields(p *pageFields, encoding int16) {
	t.structure(1, func(field int16, kind byte) bool {
		switch field {
		case 1:
			p.values = t.integer()
		case encoding:
			p.encoding = t.integer()
		default:
			return false
		}
		return true
	})
}

// structure reads the fields of a structure. read returns false for fields to be skipped.
func (t *thriftReader) structure(depth int, read func(field int16, kind byte) bool) {
	field := int16(0)
	for !t.failed {
		head := t.byte()
		if head == 0 || t.failed {
			return
		}
		if delta := int16(head >> 4); delta != 0 {
			field += delta
		} else {
			field = int16(t.integer())
		}
		if kind := head & 15; read == nil || !read(field, kind) {
			t.skip(kind, depth)
		}
	}
}

// skip skips a value of the given type.
func (t *thriftReader) skip(kind byte, depth int) {
	const maxDepth = 16
	switch kind {
	case 1, 2: // true and false, which take no bytes
	case 3:
		t.byte()
	case 4, 5, 6:
		t.integer()
	case 7:
		t.bytes(8)
	case 8:
		t.bytes(t.varint())
	case 12:
		if depth == maxDepth {
			t.failed = true
			return
		}
		t.structure(depth+1, nil)
	default: // lists and maps, which page headers do not contain
		t.failed = true
	}
}

func (t *thriftReader) byte() byte {
	if t.at >= len(t.raw) {
		t.failed = true
		return 0
	}
	t.at++
	return t.raw[t.at-1]
}

func (t *thriftReader) bytes(n uint64) {
	if n > uint64(len(t.raw)-t.at) {
		t.failed = true
		return
	}
	t.at += int(n)
}

func (t *thriftReader) varint() uint64 {
	v, n := binary.Uvarint(t.raw[t.at:])
	if n <= 0 {
		t.failed = true
		return 0
	}
	t.at += n
	return v
}

// integer reads a zigzag-encoded number.
func (t *thriftReader) integer() int64 {
	v := t.varint()
	return int64(v>>1) ^ -int64(v&1)
}
