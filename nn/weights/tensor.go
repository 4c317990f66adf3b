package weights

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"gorgonia.org/tensor"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
	"mambatrain/internal/quant"
)

// chunk is the number of bytes read at a time while a tensor is converted.
const chunk = 1 << 18

// Tensor is a tensor of an open checkpoint: its name, type, and shape, and the location of its elements.
type Tensor struct {
	Name  string
	DType DType
	Shape []int

	data   io.ReaderAt
	path   string
	offset int64
	stored *stored // nil in a safetensors file
}

// Size returns the number of elements.
func (x Tensor) Size() int {
	n := 1
	for _, dim := range x.Shape {
		n *= dim
	}
	return n
}

// bytes returns the tensor's size in the file.
func (x Tensor) bytes() int64 {
	if x.stored != nil {
		return x.stored.Size()
	}
	return int64(x.Size()) * int64(x.DType.Size())
}

// read copies the tensor to p, which must have the same shape; p keeps its own name. A float32 parameter accepts F32,
// BF16, and F16. A bfloat16 parameter copies BF16 unchanged and rounds other types to nearest.
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

// Param reads the tensor into a new frozen parameter with the given name and precision. F32 and F16 give a float32
// parameter, with values rounded for F16. BF16 gives a bfloat16 parameter. With a block type, a matrix stays quantized;
// if it has that type in a GGUF file, its blocks are used as they are.
func (x Tensor) Param(name string, as quant.Type) (*ag.Param, error) {
	if as.Block() > 1 {
		return x.quantized(name, as)
	}
	of := tensor.Float32
	if as == quant.BF16 {
		of = tensor.Uint16
	}
	p := ag.NewParam(name, tensor.New(tensor.WithShape(x.Shape...), tensor.Of(of)))
	if err := x.read(p); err != nil {
		return nil, err
	}
	if as == quant.F16 && x.DType != F16 {
		roundFP16(p.Float32s())
	}
	return p, nil
}

// roundFP16 rounds v to half precision, piece by piece.
func roundFP16(v []float32) {
	bits := make([]uint16, min(chunk/2, len(v)))
	for len(v) > 0 {
		n := min(len(bits), len(v))
		kernel.ToFP16(bits[:n], v[:n])
		kernel.WidenFP16(v[:n], bits[:n])
		v = v[n:]
	}
}

// quantized reads a matrix into a quantized parameter. The blocks of a GGUF file of the same type stay in the mapped
// file. Other matrices are quantized piece by piece, so that only the result is in memory as a whole.
func (x Tensor) quantized(name string, as quant.Type) (*ag.Param, error) {
	if len(x.Shape) != 2 || x.Shape[1]%as.Block() != 0 {
		return nil, fmt.Errorf("weights: tensor %s: %v cannot be quantized to %v", x.Name, x.Shape, as)
	}
	isStored := x.stored != nil && x.stored.Type == as
	if !as.Writable() && (!isStored || x.stored.more > 0) {
		return nil, fmt.Errorf("weights: tensor %s: quantizing to %v is not supported: load the model in another precision", x.Name, as)
	}
	if isStored {
		blocks, err := x.blocks(as)
		if err != nil {
			return nil, err
		}
		return ag.NewQuantized(name, as, blocks, x.Shape[0], x.Shape[1])
	}
	blocks, at := kernel.Make[byte](as.Bytes(x.Size())), 0
	finite := true
	err := x.Pieces(func(v []float32) {
		finite = finite && kernel.AllFinite(v)
		Encode(blocks[as.Bytes(at):], v, as)
		at += len(v)
	})
	switch {
	case err != nil:
		return nil, err
	case !finite:
		return nil, fmt.Errorf("weights: tensor %s: has values that are not finite, which %v cannot store", x.Name, as)
	case !as.Finite(blocks):
		return nil, fmt.Errorf("weights: tensor %s: has values that are too large for %v", x.Name, as)
	}
	return ag.NewQuantized(name, as, blocks, x.Shape[0], x.Shape[1])
}

// blocks returns the tensor's bytes in a GGUF file if they are stored as this type, and nil otherwise.
func (x Tensor) blocks(as quant.Type) ([]byte, error) {
	if x.stored == nil || x.stored.Type != as {
		return nil, nil
	}
	b, err := x.stored.allBlocks()
	if err != nil {
		return nil, fmt.Errorf("weights: tensor %s: %w", x.Name, err)
	}
	return b, nil
}

// Encode writes v, which must be whole blocks, to b in the stored form of type as, using all threads.
func Encode(b []byte, v []float32, as quant.Type) {
	const grain = 4096 // elements
	n := as.Block()
	kernel.For(len(v)/n, grain/n, func(lo, hi int) {
		as.Quantize(b[as.Bytes(lo*n):as.Bytes(hi*n)], v[lo*n:hi*n])
	})
}

// Float32s reads the tensor into newly allocated memory.
func (x Tensor) Float32s() ([]float32, error) {
	if err := x.floating(); err != nil {
		return nil, err
	}
	v := make([]float32, x.Size())
	return v, x.ReadFloat32s(v)
}

// Pieces reads the tensor piece by piece, in order. use must not retain its argument.
func (x Tensor) Pieces(use func(v []float32)) error {
	if x.stored != nil {
		return x.stored.pieces(use)
	}
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

// Head reads the first n elements, or all if there are fewer.
func (x Tensor) Head(n int) ([]float32, error) {
	n = min(n, x.Size())
	if x.stored == nil {
		x.Shape = []int{n}
		return x.Float32s()
	}
	s, block, v := *x.stored, x.stored.Type.Block(), make([]float32, 0, n)
	s.Dims = []int{(n + block - 1) / block * block}
	err := s.pieces(func(piece []float32) { v = append(v, piece...) })
	return v[:min(n, len(v))], err
}

// widen returns the function that converts the tensor's 16-bit type to float32.
func (x Tensor) widen() func(dst []float32, bits []uint16) {
	if x.DType == F16 {
		return kernel.WidenFP16
	}
	return kernel.WidenBF16
}

func (x Tensor) floating() error {
	if x.DType.IsFloating() {
		return nil
	}
	return fmt.Errorf("weights: tensor %s: is %s, want F32, BF16, or F16", x.Name, x.DType)
}

// ReadFloat32s reads the tensor into dst, which must have its size. F32 is read directly; 16-bit types are widened
// piece by piece.
func (x Tensor) ReadFloat32s(dst []float32) error {
	if err := x.floating(); err != nil {
		return err
	}
	if len(dst) != x.Size() {
		return fmt.Errorf("weights: tensor %s: has %d elements, want %d", x.Name, x.Size(), len(dst))
	}
	if x.stored != nil {
		return x.stored.pieces(func(v []float32) { dst = dst[copy(dst, v):] })
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
	if x.DType == BF16 && x.stored == nil {
		return x.pieces16(func(at int, bits []uint16) { copy(dst[at:], bits) })
	}
	v, err := x.Float32s()
	if err != nil {
		return err
	}
	kernel.ToBF16(dst, v)
	return nil
}

// pieces16 passes the elements of a 16-bit tensor to use, piece by piece.
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

// Equal reports whether two tensors have the same shape and elements. It reads tensors of the same type piece by piece.
func Equal(x, y Tensor) (bool, error) {
	if !slices.Equal(x.Shape, y.Shape) {
		return false, nil
	}
	if x.DType != y.DType || x.stored != nil || y.stored != nil {
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
