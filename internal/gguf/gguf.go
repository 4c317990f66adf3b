// Package gguf reads and writes the container of llama.cpp's model files, version 3: keys with their values, a
// directory of tensors, and the tensors themselves, one in memory at a time. It also maps the tensor names of a Mamba
// model to llama.cpp's.
//
// The format is described at https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
package gguf

import (
	"encoding/binary"
	"fmt"
	"io"
	"reflect"

	"mambatrain/internal/quant"
)

// Limits of the format.
const (
	version   = 3
	alignment = 32 // tensors start at multiples of it, unless the key general.alignment overrides it
	maxDims   = 4
	maxName   = 63 // bytes in a tensor's name
)

// Tensor is an entry of the directory.
type Tensor struct {
	Name string
	Dims []int // fastest-varying first: a row-major matrix (rows, columns) is {columns, rows}
	Type quant.Type
}

// bytes returns the tensor's size in the file, without padding.
func (t Tensor) bytes() int64 {
	n := int64(1)
	for _, dim := range t.Dims {
		n *= int64(dim)
	}
	return int64(t.Type.Bytes(int(n)))
}

// Writer collects the contents of a file: keys and tensors, each in the order of the calls.
type Writer struct {
	keys    []key
	tensors []source
}

type key struct {
	name  string
	value []byte // type and value
}

// source is a tensor and the function that returns its bytes.
type source struct {
	Tensor
	data func() ([]byte, error)
}

// Set adds a key. Its value is a bool, a string, an integer of 8 to 64 bits, a float32, a float64, or a slice of one
// of these. int and uint are not accepted because the file records the width.
func (w *Writer) Set(name string, value any) {
	w.keys = append(w.keys, key{name, appendValue(nil, value)})
}

// Add adds a tensor. data is called when it is time to write the tensor and returns its bytes, as produced by
// [quant.Type.Encode].
func (w *Writer) Add(t Tensor, data func() ([]byte, error)) {
	w.tensors = append(w.tensors, source{t, data})
}

// Len returns the number of tensors.
func (w *Writer) Len() int { return len(w.tensors) }

// Write writes the file: a header, the keys, the directory, and the data, each tensor padded to the alignment.
func (w *Writer) Write(out io.Writer) error {
	if err := w.check(); err != nil {
		return err
	}
	head := w.head()
	if _, err := out.Write(append(head, make([]byte, padding(len(head)))...)); err != nil {
		return err
	}
	for _, t := range w.tensors {
		b, err := t.data()
		if err != nil {
			return err
		}
		if int64(len(b)) != t.bytes() {
			return fmt.Errorf("gguf: tensor %s: %d bytes, want %d", t.Name, len(b), t.bytes())
		}
		if _, err := out.Write(b); err != nil {
			return err
		}
		if _, err := out.Write(make([]byte, padding(len(b)))); err != nil {
			return err
		}
	}
	return nil
}

// check returns an error for anything that llama.cpp cannot read.
func (w *Writer) check() error {
	seen := map[string]bool{}
	for _, k := range w.keys {
		if k.name == "" || seen[k.name] {
			return fmt.Errorf("gguf: key %q: is empty or a duplicate", k.name)
		}
		seen[k.name] = true
	}
	clear(seen)
	for _, t := range w.tensors {
		switch {
		case t.Name == "" || len(t.Name) > maxName || seen[t.Name]:
			return fmt.Errorf("gguf: tensor %q: the name is empty, longer than %d bytes, or a duplicate", t.Name, maxName)
		case len(t.Dims) == 0 || len(t.Dims) > maxDims:
			return fmt.Errorf("gguf: tensor %s: %d dimensions, want 1 to %d", t.Name, len(t.Dims), maxDims)
		case t.Dims[0]%t.Type.Block() != 0:
			return fmt.Errorf("gguf: tensor %s: rows of %d elements, want a multiple of %d for %s", t.Name, t.Dims[0], t.Type.Block(), t.Type)
		}
		seen[t.Name] = true
	}
	return nil
}

// head returns everything before the data, unpadded.
func (w *Writer) head() []byte {
	b := binary.LittleEndian.AppendUint32([]byte("GGUF"), version)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(w.tensors)))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(w.keys)))
	for _, k := range w.keys {
		b = append(appendString(b, k.name), k.value...)
	}
	offset := uint64(0)
	for _, t := range w.tensors {
		b = binary.LittleEndian.AppendUint32(appendString(b, t.Name), uint32(len(t.Dims)))
		for _, dim := range t.Dims {
			b = binary.LittleEndian.AppendUint64(b, uint64(dim))
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(t.Type))
		b = binary.LittleEndian.AppendUint64(b, offset)
		offset += uint64(t.bytes()) + uint64(padding(int(t.bytes())))
	}
	return b
}

// padding returns the number of bytes from n to the next multiple of the alignment.
func padding(n int) int { return -n & (alignment - 1) }

func appendString(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// typeArray is the type number of an array, whose elements have one of scalarTypes.
const typeArray = 9

var scalarTypes = map[reflect.Kind]uint32{
	reflect.Uint8: 0, reflect.Int8: 1, reflect.Uint16: 2, reflect.Int16: 3, reflect.Uint32: 4, reflect.Int32: 5,
	reflect.Float32: 6, reflect.Bool: 7, reflect.String: 8, reflect.Uint64: 10, reflect.Int64: 11, reflect.Float64: 12,
}

func scalarType(t reflect.Type) uint32 {
	id, ok := scalarTypes[t.Kind()]
	if !ok {
		panic(fmt.Sprintf("gguf: no type for a value of %s", t))
	}
	return id
}

// appendValue appends a value's type and bytes.
func appendValue(b []byte, value any) []byte {
	le, t := binary.LittleEndian, reflect.TypeOf(value)
	if t.Kind() != reflect.Slice {
		return appendElements(le.AppendUint32(b, scalarType(t)), value)
	}
	b = le.AppendUint32(le.AppendUint32(b, typeArray), scalarType(t.Elem()))
	return appendElements(le.AppendUint64(b, uint64(reflect.ValueOf(value).Len())), value)
}

// appendElements appends a scalar, or the elements of a slice.
func appendElements(b []byte, value any) []byte {
	switch v := value.(type) {
	case string:
		return appendString(b, v)
	case []string:
		for _, s := range v {
			b = appendString(b, s)
		}
		return b
	}
	b, err := binary.Append(b, binary.LittleEndian, value)
	if err != nil {
		panic(err) // scalarType has accepted it
	}
	return b
}
