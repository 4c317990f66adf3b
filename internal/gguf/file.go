package gguf

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"

	"mambatrain/internal/inputfile"
	"mambatrain/internal/mappedfile"
	"mambatrain/internal/quant"
)

// File is a model in a GGUF file, or in the shards of one, open for reading. The keys and the directory are in memory.
type File struct {
	Path    string
	Tensors []StoredTensor // in the order of the files

	keys  map[string]any
	files []*os.File

	mapping sync.Mutex                       // guards maps
	maps    map[*os.File]*mappedfile.Mapping // of the files whose blocks are in use
}

// StoredTensor is a tensor and its place in a file.
type StoredTensor struct {
	Tensor
	in     *File
	file   *os.File
	offset int64
}

// Size returns the tensor's size in the file.
func (t StoredTensor) Size() int64 { return t.bytes() }

// ReadAt reads the tensor's bytes starting at offset at.
func (t StoredTensor) ReadAt(b []byte, at int64) (int, error) { return t.file.ReadAt(b, t.offset+at) }

// Blocks returns the tensor's bytes in the mapped file, which use no memory of the process: the system reads them on
// first use and may drop them again. They remain valid for the life of the process, even after the file is closed. If
// the file is truncated, see [mappedfile.Explain]. It is safe for concurrent use.
func (t StoredTensor) Blocks() ([]byte, error) {
	t.in.mapping.Lock()
	defer t.in.mapping.Unlock()
	m := t.in.maps[t.file]
	if m == nil {
		var err error
		if m, err = mappedfile.Map(t.file); err != nil {
			return nil, fmt.Errorf("gguf: %w", err)
		}
		t.in.maps[t.file] = m
	}
	end := t.offset + t.bytes()
	if end > int64(len(m.Bytes)) {
		return nil, fmt.Errorf("gguf: %s: the file shrank while it was being opened", t.file.Name())
	}
	return m.Bytes[t.offset:end:end], nil
}

// Open opens a GGUF file of version 2 or 3. If the model is in shards, path may be any of them, and the others must be
// next to it. Everything that a header claims is checked against the size of its file before it is used.
func Open(path string) (*File, error) {
	f := &File{Path: path, keys: map[string]any{}, maps: map[*os.File]*mappedfile.Mapping{}}
	err := f.open()
	if err == nil {
		err = f.checkNames()
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Close closes the files.
func (f *File) Close() error {
	var errs []error
	for _, file := range f.files {
		errs = append(errs, file.Close())
	}
	f.files = nil
	return errors.Join(errs...)
}

// Key returns the value of a key: a bool, an int64, a uint64, a float64, a string, or a slice of one of these. It
// returns nil if the file does not have the key.
func (f *File) Key(name string) any { return f.keys[name] }

// shardName matches the names of a model's shards.
var shardName = regexp.MustCompile(`^(.*)-(\d{5})-of-(\d{5})\.gguf$`)

func (f *File) open() error {
	if err := f.add(f.Path, f.keys); err != nil {
		return err
	}
	count, sharded := f.Int("split.count")
	if !sharded || count == 1 {
		return nil
	}
	m := shardName.FindStringSubmatch(filepath.Base(f.Path))
	if m == nil {
		return fmt.Errorf("gguf: %s: is one of %d shards, so its name must end in -00001-of-%05d.gguf or similar", f.Path, count, count)
	}
	if n, _ := strconv.Atoi(m[3]); n != count {
		return fmt.Errorf("gguf: %s: is one of %d shards according to its metadata, but of %d according to its name", f.Path, count, n)
	}
	f.Close()
	f.Tensors, f.keys = nil, map[string]any{}
	want := 0
	for i := range count {
		path := filepath.Join(filepath.Dir(f.Path), fmt.Sprintf("%s-%05d-of-%s.gguf", m[1], i+1, m[3]))
		keys := map[string]any{}
		if err := f.add(path, keys); err != nil {
			return fmt.Errorf("shard %d of %d: %w", i+1, count, err)
		}
		if no, ok := number(keys["split.no"]); !ok || no != i {
			return fmt.Errorf("gguf: %s: is shard %v according to its metadata, counting from 0", path, keys["split.no"])
		}
		if i == 0 {
			f.keys = keys
		}
		want, _ = number(keys["split.tensors.count"])
	}
	if want != len(f.Tensors) {
		return fmt.Errorf("gguf: %s: the shards have %d tensors in total, want %d", f.Path, len(f.Tensors), want)
	}
	return nil
}

// checkNames returns an error if two tensors have the same name.
func (f *File) checkNames() error {
	seen := make(map[string]bool, len(f.Tensors))
	for _, t := range f.Tensors {
		if seen[t.Name] {
			return fmt.Errorf("gguf: %s: tensor %s: appears twice", t.file.Name(), t.Name)
		}
		seen[t.Name] = true
	}
	return nil
}

// add opens one file and appends its tensors.
func (f *File) add(path string, keys map[string]any) error {
	file, err := inputfile.Open(path)
	if err != nil {
		return fmt.Errorf("gguf: %w", err)
	}
	f.files = append(f.files, file)
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("gguf: %w", err)
	}
	r := &reader{in: bufio.NewReaderSize(file, 1<<16), left: min(info.Size(), maxHeader), keys: keys}
	tensors, data, err := r.header()
	if err != nil {
		return fmt.Errorf("gguf: %s: %w", path, err)
	}
	for _, t := range tensors {
		if t.offset < 0 || t.offset > info.Size()-data || t.bytes() > info.Size()-data-t.offset {
			return fmt.Errorf("gguf: %s: tensor %s: its %d bytes extend past the end of the file, which may be truncated", path, t.Name, t.bytes())
		}
		t.in, t.file, t.offset = f, file, data+t.offset
		f.Tensors = append(f.Tensors, t)
	}
	return nil
}

// Int returns the value of a key that is a non-negative integer of at most 31 bits.
func (f *File) Int(name string) (int, bool) { return number(f.keys[name]) }

func number(v any) (int, bool) {
	switch v := v.(type) {
	case uint64:
		return int(v), v <= math.MaxInt32
	case int64:
		return int(v), v >= 0 && v <= math.MaxInt32
	}
	return 0, false
}

// reader reads the header of a file. The first error sticks, and later reads return zeros.
type reader struct {
	in   *bufio.Reader
	read int64
	left int64 // bytes that may still be read
	keys map[string]any
	err  error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// bytes reads n bytes.
func (r *reader) bytes(n uint64) []byte {
	if r.err == nil && n > uint64(r.left) {
		r.fail("the header needs %d bytes, but only %d are left: the file is damaged or truncated", n, r.left)
	}
	if r.err != nil {
		return nil
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r.in, b); err != nil {
		r.fail("%w", err)
		return nil
	}
	r.read, r.left = r.read+int64(n), r.left-int64(n)
	return b
}

func (r *reader) uint32() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *reader) string() string { return string(r.bytes(r.uint64())) }

// header returns the tensors, with offsets from the start of the data, and the position of the data.
func (r *reader) header() ([]StoredTensor, int64, error) {
	if magic := r.bytes(4); r.err == nil && string(magic) != "GGUF" {
		r.fail("does not start with GGUF: not a GGUF file")
	}
	switch v := r.uint32(); {
	case r.err != nil:
	case v == 2<<24 || v == 3<<24:
		r.fail("is big-endian; only little-endian files are supported")
	case v != 2 && v != 3:
		r.fail("has version %d; only versions 2 and 3 are supported", v)
	}
	tensors, keys := r.uint64(), r.uint64()
	if r.err == nil && tensors > maxTensors {
		r.fail("has %d tensors, want at most %d", tensors, maxTensors)
	}
	for range keys {
		if r.key(); r.err != nil {
			return nil, 0, r.err
		}
	}
	align := int64(alignment)
	if v, ok := r.keys["general.alignment"]; ok {
		n, _ := number(v)
		if n < 1 || n&(n-1) != 0 {
			return nil, 0, fmt.Errorf("general.alignment: want a power of two, got %v", v)
		}
		align = int64(n)
	}
	var list []StoredTensor
	for range tensors {
		t := r.tensor()
		if r.err != nil {
			return nil, 0, r.err
		}
		if t.offset%align != 0 {
			return nil, 0, fmt.Errorf("tensor %s: starts at byte %d, which is not a multiple of %d", t.Name, t.offset, align)
		}
		list = append(list, t)
	}
	return list, (r.read + align - 1) / align * align, r.err
}

func (r *reader) key() {
	name, kind := r.string(), r.uint32()
	if r.err != nil {
		return
	}
	if _, twice := r.keys[name]; twice || name == "" {
		r.fail("key %q: is empty or a duplicate", name)
		return
	}
	r.keys[name] = r.value(name, kind)
}

// Limits that exceed the sizes in any model: vocabularies take at most 50 MB, and models have about 10,000 tensors.
const (
	maxHeader  = 256 << 20 // bytes
	maxTensors = 1 << 16
	maxArray   = 1 << 24 // elements
)

// value reads a value of the given type.
func (r *reader) value(name string, kind uint32) any {
	if kind != typeArray {
		return r.scalar(name, kind)
	}
	of, n := r.uint32(), r.uint64()
	switch {
	case r.err != nil:
	case n > uint64(r.left):
		r.fail("key %s: has %d elements, but only %d bytes are left: the file is damaged or truncated", name, n, r.left)
	case n > maxArray:
		r.fail("key %s: has %d elements, want at most %d", name, n, maxArray)
	}
	switch of {
	case 0, 2, 4, 10:
		return elements[uint64](r, name, of, n)
	case 1, 3, 5, 11:
		return elements[int64](r, name, of, n)
	case 6, 12:
		return elements[float64](r, name, of, n)
	case 7:
		return elements[bool](r, name, of, n)
	case 8:
		return elements[string](r, name, of, n)
	}
	r.fail("key %s: has elements of unknown type %d", name, of)
	return nil
}

// elements reads n scalars of type T, which is that of the values of kind of.
func elements[T any](r *reader, name string, of uint32, n uint64) []T {
	list := []T{}
	for range n {
		v, _ := r.scalar(name, of).(T)
		if r.err != nil {
			return nil
		}
		list = append(list, v)
	}
	return list
}

func (r *reader) scalar(name string, kind uint32) any {
	little := binary.LittleEndian
	sized := func(n uint64, read func(b []byte) any) any {
		if b := r.bytes(n); b != nil {
			return read(b)
		}
		return nil
	}
	switch kind {
	case 0:
		return sized(1, func(b []byte) any { return uint64(b[0]) })
	case 1:
		return sized(1, func(b []byte) any { return int64(int8(b[0])) })
	case 2:
		return sized(2, func(b []byte) any { return uint64(little.Uint16(b)) })
	case 3:
		return sized(2, func(b []byte) any { return int64(int16(little.Uint16(b))) })
	case 4:
		return sized(4, func(b []byte) any { return uint64(little.Uint32(b)) })
	case 5:
		return sized(4, func(b []byte) any { return int64(int32(little.Uint32(b))) })
	case 6:
		return sized(4, func(b []byte) any { return float64(math.Float32frombits(little.Uint32(b))) })
	case 7:
		return sized(1, func(b []byte) any { return b[0] != 0 })
	case 8:
		return r.string()
	case 10:
		return sized(8, func(b []byte) any { return little.Uint64(b) })
	case 11:
		return sized(8, func(b []byte) any { return int64(little.Uint64(b)) })
	case 12:
		return sized(8, func(b []byte) any { return math.Float64frombits(little.Uint64(b)) })
	}
	r.fail("key %s: has unknown type %d", name, kind)
	return nil
}

// maxElements exceeds the size of any tensor, and is small enough that products of dimensions do not overflow.
const maxElements = 1 << 40

func (r *reader) tensor() StoredTensor {
	t := StoredTensor{Tensor: Tensor{Name: r.string()}}
	dims := r.uint32()
	if r.err == nil && (dims < 1 || dims > maxDims) {
		r.fail("tensor %s: has %d dimensions, want 1 to %d", t.Name, dims, maxDims)
	}
	size := uint64(1)
	for range min(dims, maxDims) {
		n := r.uint64()
		if r.err == nil && (n < 1 || n > maxElements/size) {
			r.fail("tensor %s: has an invalid dimension, %d", t.Name, n)
			return t
		}
		size *= max(n, 1)
		t.Dims = append(t.Dims, int(n))
	}
	t.Type = quant.Type(r.uint32())
	t.offset = int64(r.uint64())
	if r.err != nil {
		return t
	}
	if !t.Type.Readable() {
		r.fail("tensor %s: is %s, which is not supported; quantize the model to Q8_0, Q6_K, Q5_K_M, Q4_K_M, or Q4_0", t.Name, t.Type)
		return t
	}
	if t.Dims[0]%t.Type.Block() != 0 {
		r.fail("tensor %s: has rows of %d elements, want a multiple of %d for %s", t.Name, t.Dims[0], t.Type.Block(), t.Type)
	}
	return t
}
