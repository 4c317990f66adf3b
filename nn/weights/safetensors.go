package weights

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/nlpodyssey/safetensors"
	"gorgonia.org/tensor"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
)

const (
	// ModelFile is the name of a model's weights in its directory.
	ModelFile = "model.safetensors"
	// IndexFile lists the tensors of weights that are cut into several files.
	IndexFile = "model.safetensors.index.json"

	// maxHeader bounds the JSON that is parsed before the sizes in it can be checked. A header has some 150 bytes for a
	// tensor; parsing takes a small multiple of its length.
	maxHeader = 16 << 20
	// minBytesPerValue bounds how many JSON values a header may hold for its length: {"a":{"dtype":"F32","shape":[1,1],
	// "data_offsets":[0,4]}} has five commas in some 50 bytes. A list of bare digits would take 25 times its length.
	minBytesPerValue = 5
	// chunk is the number of bytes read at once while a tensor is converted.
	chunk = 1 << 18
)

// Reader is a checkpoint opened for reading: one safetensors file or the shards of one. Only headers are in memory.
// It may be used by several goroutines.
type Reader struct {
	// Metadata is the free text of the files' headers; later shards win.
	Metadata map[string]string

	path   string
	names  []string
	byName map[string]Tensor
	files  []*os.File
}

// Tensor is one tensor of an open checkpoint: its name, type and shape, and where its elements lie.
type Tensor struct {
	Name  string
	DType DType
	Shape []int

	data   io.ReaderAt
	path   string
	offset int64
}

// Open opens a safetensors file, a sharded checkpoint by its index file, or a directory that holds either under
// its usual name. Offsets and shapes are checked against each other and against the sizes of the files. All files are
// open until Close.
func Open(path string) (*Reader, error) {
	file, err := locate(path)
	if err != nil {
		return nil, err
	}
	r := &Reader{Metadata: map[string]string{}, path: file, byName: map[string]Tensor{}}
	if strings.HasSuffix(file, ".json") {
		err = r.openShards(file)
	} else {
		err = r.openFile(file)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	sort.Strings(r.names)
	return r, nil
}

// locate finds the weights in a directory, preferring a single file as the peers do.
func locate(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("weights: %w", err)
	}
	if !info.IsDir() {
		return path, nil
	}
	for _, name := range []string{ModelFile, IndexFile} {
		if _, err := os.Stat(filepath.Join(path, name)); err == nil {
			return filepath.Join(path, name), nil
		}
	}
	hint := ""
	if m, _ := filepath.Glob(filepath.Join(path, "*.bin")); len(m) > 0 {
		hint = "; " + filepath.Base(m[0]) + " is a torch file, which has to be converted first"
	}
	return "", fmt.Errorf("weights: %s: neither %s nor %s is there%s: %w", path, ModelFile, IndexFile, hint, os.ErrNotExist)
}

// Close closes the files.
func (r *Reader) Close() error {
	var errs []error
	for _, f := range r.files {
		errs = append(errs, f.Close())
	}
	r.files = nil
	return errors.Join(errs...)
}

// Path is the file that was opened: the safetensors file or the index of the shards.
func (r *Reader) Path() string { return r.path }

// Names lists the tensors in alphabetical order.
func (r *Reader) Names() []string { return r.names }

// Tensor looks a tensor up by its name in the file.
func (r *Reader) Tensor(name string) (Tensor, bool) {
	x, ok := r.byName[name]
	return x, ok
}

// Bytes is the size of all tensors in the files.
func (r *Reader) Bytes() int64 {
	n := int64(0)
	for _, x := range r.byName {
		n += x.bytes()
	}
	return n
}

func (r *Reader) openFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	r.files = append(r.files, f)
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	if info.IsDir() {
		return fmt.Errorf("weights: %s: is a directory, want a safetensors file", path)
	}
	tensors, metadata, err := readHeader(f, info.Size())
	if err != nil {
		return fmt.Errorf("weights: %s: %w", path, err)
	}
	for _, x := range tensors {
		if _, twice := r.byName[x.Name]; twice {
			return fmt.Errorf("weights: %s: tensor %s: is in another shard too", path, x.Name)
		}
		x.data, x.path = f, path
		r.byName[x.Name] = x
		r.names = append(r.names, x.Name)
	}
	for k, v := range metadata {
		r.Metadata[k] = v
	}
	return nil
}

// openShards opens every file that the index names and checks that each tensor is where the index says.
func (r *Reader) openShards(path string) error {
	index, err := ReadIndex(path)
	if err != nil {
		return err
	}
	for _, shard := range index.Shards() {
		if err := r.openFile(filepath.Join(filepath.Dir(path), shard)); err != nil {
			return err
		}
	}
	return index.Check(func(name string) string {
		if x, ok := r.byName[name]; ok {
			return filepath.Base(x.path)
		}
		return ""
	})
}

// readHeader parses the header of a safetensors file of the given size and checks it: tensors fill the rest of the
// file without gap or overlap, and each one's bytes are what its type and shape ask for.
func readHeader(r io.ReaderAt, size int64) ([]Tensor, map[string]string, error) {
	var length [8]byte
	if size < 8 {
		return nil, nil, fmt.Errorf("not a safetensors file: %d bytes long", size)
	}
	if _, err := r.ReadAt(length[:], 0); err != nil {
		return nil, nil, err
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > uint64(size-8) || n > maxHeader {
		return nil, nil, fmt.Errorf("not a safetensors file: header of %d bytes in a file of %d", n, size)
	}
	header := make([]byte, n)
	if _, err := r.ReadAt(header, 8); err != nil {
		return nil, nil, err
	}
	if values := bytes.Count(header, []byte{','}); values > len(header)/minBytesPerValue {
		return nil, nil, fmt.Errorf("header: %d values in %d bytes, more than a list of tensors can have", values, n)
	}
	var meta safetensors.Metadata
	if err := json.Unmarshal(header, &meta); err != nil {
		return nil, nil, fmt.Errorf("header: %w", err)
	}
	infos := meta.Tensors()
	tensors := make([]Tensor, 0, len(infos))
	for name, info := range infos {
		x, err := checkedTensor(name, info, size-8-int64(n))
		if err != nil {
			return nil, nil, err
		}
		x.offset += 8 + int64(n)
		tensors = append(tensors, x)
	}
	sort.Slice(tensors, func(i, j int) bool {
		a, b := tensors[i], tensors[j]
		if a.offset != b.offset {
			return a.offset < b.offset
		}
		return a.bytes() < b.bytes() || a.bytes() == b.bytes() && a.Name < b.Name
	})
	end := 8 + int64(n)
	for _, x := range tensors {
		if x.offset != end {
			return nil, nil, fmt.Errorf("tensor %s: begins at byte %d, the one before it ends at %d", x.Name, x.offset, end)
		}
		end += x.bytes()
	}
	if end != size {
		return nil, nil, fmt.Errorf("tensors end at byte %d, the file has %d", end, size)
	}
	return tensors, meta.Metadata(), nil
}

// checkedTensor checks one header entry against the bytes that follow the header; its offset counts from there.
func checkedTensor(name string, info *safetensors.TensorInfo, data int64) (Tensor, error) {
	x := Tensor{Name: name, DType: DType(info.DType.String()), Shape: make([]int, len(info.Shape))}
	from, to := info.DataOffsets[0], info.DataOffsets[1]
	if to < from || to > uint64(data) {
		return x, fmt.Errorf("tensor %s: bytes %d to %d, the file has %d: truncated or damaged", name, from, to, data)
	}
	length := info.DType.Size()
	for i, dim := range info.Shape {
		if dim > math.MaxInt32 || dim > 0 && length > math.MaxInt64/dim {
			return x, fmt.Errorf("tensor %s: shape %v is too large", name, info.Shape)
		}
		length *= dim
		x.Shape[i] = int(dim)
	}
	if length != to-from {
		return x, fmt.Errorf("tensor %s: %s %v takes %d bytes, the header gives it %d", name, x.DType, info.Shape, length, to-from)
	}
	x.offset = int64(from)
	return x, nil
}

// Size is the number of elements.
func (x Tensor) Size() int {
	n := 1
	for _, dim := range x.Shape {
		n *= dim
	}
	return n
}

// bytes is the tensor's size in the file.
func (x Tensor) bytes() int64 { return int64(x.Size()) * int64(x.DType.Size()) }

// read fills p with the tensor, whose shape must be p's; p keeps its own name. A float32 parameter takes F32, BF16 and
// F16; a bfloat16 one takes BF16 as it is and rounds the others to the nearest.
func (x Tensor) read(p *ag.Param) error {
	if !slices.Equal(x.Shape, p.Shape()) {
		return fmt.Errorf("weights: tensor %s: shape %v, want %v", x.Name, x.Shape, p.Shape())
	}
	defer p.Invalidate()
	if p.IsBF16() {
		return x.readBF16(p.BF16s())
	}
	return x.ReadFloat32s(p.Float32s())
}

// Param reads the tensor into a new frozen parameter of the given name, of type F32 or BF16.
func (x Tensor) Param(name string, as DType) (*ag.Param, error) {
	of := tensor.Float32
	if as == BF16 {
		of = tensor.Uint16
	}
	p := ag.NewParam(name, tensor.New(tensor.WithShape(x.Shape...), tensor.Of(of)))
	return p, x.read(p)
}

// ReadInto fills parameters with the tensors of the same names in a checkpoint, which [Open] finds at path. The checkpoint
// may have others.
func ReadInto(path string, params []*ag.Param) error {
	r, err := Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	for _, p := range params {
		x, ok := r.Tensor(p.Name)
		if !ok {
			return fmt.Errorf("weights: %s: %s is missing", r.Path(), p.Name)
		}
		if err := x.read(p); err != nil {
			return err
		}
	}
	return nil
}

// Float32s reads the tensor into new memory.
func (x Tensor) Float32s() ([]float32, error) {
	if err := x.floating(); err != nil {
		return nil, err
	}
	v := make([]float32, x.Size())
	return v, x.ReadFloat32s(v)
}

// Pieces reads the tensor a piece at a time, in order. use must not keep what it is given.
func (x Tensor) Pieces(use func(v []float32)) error {
	if err := x.floating(); err != nil {
		return err
	}
	v := make([]float32, min(chunk/2, x.Size()))
	if x.DType != F32 {
		return x.pieces16(func(_ int, bits []uint16) {
			x.widen()(v[:len(bits)], bits)
			use(v[:len(bits)])
		})
	}
	for at := 0; at < x.Size(); at += len(v) {
		v = v[:min(len(v), x.Size()-at)]
		if err := x.readAt(float32Bytes(v), int64(4*at)); err != nil {
			return err
		}
		fromLittleEndian32(v)
		use(v)
	}
	return nil
}

// widen is how the 16-bit type becomes float32.
func (x Tensor) widen() func(dst []float32, bits []uint16) {
	if x.DType == F16 {
		return kernel.WidenFP16
	}
	return kernel.WidenBF16
}

func (x Tensor) floating() error {
	switch x.DType {
	case F32, BF16, F16:
		return nil
	}
	return fmt.Errorf("weights: tensor %s: is %s, want F32, BF16 or F16", x.Name, x.DType)
}

// ReadFloat32s fills dst, which has the tensor's size. F32 is read in place, 16-bit types are widened in pieces.
func (x Tensor) ReadFloat32s(dst []float32) error {
	if err := x.floating(); err != nil {
		return err
	}
	if len(dst) != x.Size() {
		return fmt.Errorf("weights: tensor %s: has %d elements, want %d", x.Name, x.Size(), len(dst))
	}
	if x.DType == F32 {
		if err := x.readAt(float32Bytes(dst), 0); err != nil {
			return err
		}
		fromLittleEndian32(dst)
		return nil
	}
	widen := x.widen()
	return x.pieces16(func(at int, bits []uint16) { widen(dst[at:at+len(bits)], bits) })
}

func (x Tensor) readBF16(dst []uint16) error {
	if x.DType == BF16 {
		return x.pieces16(func(at int, bits []uint16) { copy(dst[at:], bits) })
	}
	v, err := x.Float32s()
	if err != nil {
		return err
	}
	kernel.ToBF16(dst, v)
	return nil
}

// pieces16 hands the elements of a 16-bit tensor to use, a piece at a time.
func (x Tensor) pieces16(use func(at int, bits []uint16)) error {
	buf, bits := make([]byte, min(chunk, x.bytes())), make([]uint16, min(chunk/2, x.Size()))
	for at := 0; at < x.Size(); {
		n := min(len(bits), x.Size()-at)
		if err := x.readAt(buf[:2*n], int64(2*at)); err != nil {
			return err
		}
		for i := range n {
			bits[i] = binary.LittleEndian.Uint16(buf[2*i:])
		}
		use(at, bits[:n])
		at += n
	}
	return nil
}

// Ints reads an I64 or I32 tensor.
func (x Tensor) Ints() ([]int, error) {
	size := x.DType.Size()
	if x.DType != I64 && x.DType != I32 {
		return nil, fmt.Errorf("weights: tensor %s: is %s, want I64 or I32", x.Name, x.DType)
	}
	b := make([]byte, x.bytes())
	if err := x.readAt(b, 0); err != nil {
		return nil, err
	}
	v := make([]int, x.Size())
	for i := range v {
		if x.DType == I64 {
			v[i] = int(int64(binary.LittleEndian.Uint64(b[i*size:])))
		} else {
			v[i] = int(int32(binary.LittleEndian.Uint32(b[i*size:])))
		}
	}
	return v, nil
}

func (x Tensor) readAt(b []byte, at int64) error {
	if _, err := x.data.ReadAt(b, x.offset+at); err != nil {
		return fmt.Errorf("weights: %s: tensor %s: %w", x.path, x.Name, err)
	}
	return nil
}

// readSmall reads a whole file of at most limit bytes.
func readSmall(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: longer than %d bytes", path, limit)
	}
	return b, err
}

// Equal says whether two tensors hold the same elements in the same shape. Both are read in pieces.
func Equal(x, y Tensor) (bool, error) {
	if !slices.Equal(x.Shape, y.Shape) {
		return false, nil
	}
	if x.DType != y.DType {
		a, err := x.Float32s()
		if err != nil {
			return false, err
		}
		b, err := y.Float32s()
		return slices.Equal(a, b), err
	}
	a, b := make([]byte, min(chunk, x.bytes())), make([]byte, min(chunk, x.bytes()))
	for at := int64(0); at < x.bytes(); at += int64(len(a)) {
		n := min(int64(len(a)), x.bytes()-at)
		if err := errors.Join(x.readAt(a[:n], at), y.readAt(b[:n], at)); err != nil {
			return false, err
		}
		if !bytes.Equal(a[:n], b[:n]) {
			return false, nil
		}
	}
	return true, nil
}
