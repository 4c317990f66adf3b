package autograd

import (
	"fmt"
	"math"
	"sync"

	"gorgonia.org/tensor"

	"mambatrain/autograd/kernel"
	"mambatrain/internal/quant"
)

// Param is one tensor of a model. The same object is used from loading to export, so its checkpoint name is defined in
// one place.
type Param struct {
	// Name is the tensor's name in the checkpoint, such as "backbone.layers.0.mixer.in_proj.weight".
	Name string
	// Value is float32, float64 in gradient checks, or bfloat16 bits as uint16 for a frozen weight. It is nil between
	// PackOnly and Unpack, and for a quantized weight.
	Value *tensor.Dense
	// Grad has the shape and type of Value. Backward passes add to it. It is nil while the parameter is frozen.
	Grad *tensor.Dense

	packing sync.Mutex // programs may share the parameter
	packed  *kernel.Packed
	dropped *valueForm // shape and type of Value after it was dropped, else nil
	copied  *paramCopy // copy on a device, or nil
}

// valueForm is the shape and type of a dropped Value.
type valueForm struct {
	shape []int
	bf16  bool
}

// NewParam returns a frozen parameter with the given value, which is not copied.
func NewParam(name string, value *tensor.Dense) *Param {
	return &Param{Name: name, Value: value}
}

// NewQuantized returns a frozen parameter (out, in) backed by data, the quantized blocks of a GGUF file. It keeps a
// reference to data, which may be memory-mapped. [Param.Unpack] replaces the blocks with float32.
func NewQuantized(name string, of quant.Type, data []byte, out, in int) (*Param, error) {
	p, err := kernel.PackQuantized(of, data, out, in)
	if err != nil {
		return nil, fmt.Errorf("autograd: %s: %w", name, err)
	}
	return &Param{Name: name, packed: p, dropped: &valueForm{shape: []int{out, in}}}, nil
}

// Quantized returns the type and the blocks of a quantized weight, row by row as in the file.
func (p *Param) Quantized() (of quant.Type, data []byte, ok bool) {
	if p.dropped == nil {
		return 0, nil, false
	}
	return p.packed.Quantized()
}

// Zeros returns a frozen float32 parameter filled with zeros.
func Zeros(name string, shape ...int) *Param {
	return NewParam(name, zeros(tensor.Float32, shape))
}

// zeros returns a tensor of zeros in memory allocated for the kernels.
func zeros(of tensor.Dtype, shape tensor.Shape) *tensor.Dense {
	if of != tensor.Float32 {
		return tensor.New(tensor.WithShape(shape...), tensor.Of(of))
	}
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(kernel.Make[float32](shape.TotalSize())))
}

// Train makes the parameter trainable and, if it has no gradient, gives it one filled with zeros. Bfloat16 and
// quantized parameters cannot be trained.
func (p *Param) Train() error {
	if of, _, ok := p.Quantized(); ok {
		return fmt.Errorf("autograd: %s: quantized weights (%v) are frozen and cannot be trained", p.Name, of)
	}
	if p.IsBF16() {
		return fmt.Errorf("autograd: %s: bfloat16 weights are frozen and cannot be trained", p.Name)
	}
	p.Unpack()
	if p.Grad == nil {
		p.Grad = zeros(p.Value.Dtype(), p.Shape())
		p.Invalidate()
	}
	return nil
}

// Freeze drops the gradient. Graphs compiled from now on do not compute one for this parameter.
func (p *Param) Freeze() {
	p.Grad = nil
	p.copied = nil // it may be stale: training changes Value after a run
}

// Trainable reports whether backward passes compute a gradient for the parameter.
func (p *Param) Trainable() bool { return p.Grad != nil }

// IsBF16 reports whether Value contains bfloat16 bits.
func (p *Param) IsBF16() bool {
	if p.dropped != nil {
		return p.dropped.bf16
	}
	return p.Value.Dtype() == tensor.Uint16
}

// Shape returns the dimensions. The caller must not change them.
func (p *Param) Shape() []int {
	if p.dropped != nil {
		return p.dropped.shape
	}
	return p.Value.Shape()
}

// Size returns the number of elements.
func (p *Param) Size() int { return size(p.Shape()) }

// Bytes returns the memory used by the value, the packed copy, and the gradient.
func (p *Param) Bytes() int64 {
	var n int64
	if p.Value != nil {
		n = int64(p.Size()) * int64(p.Value.Dtype().Size())
	}
	if p.packed != nil {
		n += int64(p.packed.Bytes())
	}
	if p.Trainable() {
		n += int64(p.Size()) * int64(p.Value.Dtype().Size())
	}
	return n
}

// Gather copies the rows of the value selected by ids to y as float32. A row is one index of the first dimension. It
// reads the value in any form: packed only, quantized, bfloat16, or float32.
func (p *Param) Gather(y kernel.Mat[float32], ids []int) {
	switch {
	case kernel.IsOnDevice(y.Data):
		p.copied.packed.Gather(y, ids)
	case p.Value == nil:
		p.Packed().Gather(y, ids)
	case p.IsBF16():
		for t, id := range ids {
			kernel.WidenBF16(y.Row(t), p.BF16s()[id*y.Cols:(id+1)*y.Cols])
		}
	default:
		kernel.Gather(y, kernel.Dense(p.Float32s(), p.Size()/y.Cols, y.Cols), ids)
	}
}

// ReadRows copies y.Rows rows, starting at row from, as [Param.Gather] does.
func (p *Param) ReadRows(y kernel.Mat[float32], from int) {
	ids := make([]int, y.Rows)
	for i := range ids {
		ids[i] = from + i
	}
	p.Gather(y, ids)
}

// Float32Copy returns a copy of the value as float32, from any form that [Param.Gather] reads.
func (p *Param) Float32Copy() []float32 {
	rows := p.Shape()[0]
	y := kernel.Dense(make([]float32, p.Size()), rows, p.Size()/rows)
	p.ReadRows(y, 0)
	return y.Data
}

// Float32s returns the memory of the value, for reading or writing. It panics unless the value is float32.
func (p *Param) Float32s() []float32 { return p.Value.Data().([]float32) }

// BF16s returns the memory of a bfloat16 value. It panics for any other type.
func (p *Param) BF16s() []uint16 { return p.Value.Data().([]uint16) }

// GradFloat32s returns the memory of the gradient, or nil if the parameter is frozen.
func (p *Param) GradFloat32s() []float32 {
	if p.Grad == nil {
		return nil
	}
	return p.Grad.Data().([]float32)
}

// ZeroGrad clears the gradient.
func (p *Param) ZeroGrad() {
	if p.Grad != nil {
		p.Grad.Zero()
	}
}

// Packed returns a frozen (out, in) weight in the kernels' own layout. The weight is packed on the first call. After
// changing Value, call [Param.Invalidate].
func (p *Param) Packed() *kernel.Packed {
	p.packing.Lock()
	defer p.packing.Unlock()
	if p.packed == nil {
		out, in := p.Shape()[0], p.Size()/p.Shape()[0]
		if p.IsBF16() {
			p.packed = kernel.PackBF16(p.BF16s(), out, in)
		} else {
			p.packed = kernel.Pack(kernel.Dense(p.Float32s(), out, in))
		}
	}
	return p.packed
}

// PackOnly packs the frozen weight of a [Linear] or [Embedding] and drops Value, which halves the memory of a base
// model under an adapter. Products and lookups work as before; to read the values themselves, call [Param.Unpack].
func (p *Param) PackOnly() {
	if p.Trainable() || p.dropped != nil || len(p.Shape()) != 2 {
		return
	}
	p.Packed()
	p.dropped = &valueForm{shape: append([]int(nil), p.Shape()...), bf16: p.IsBF16()}
	p.Value = nil
}

// Unpack restores Value after PackOnly, bit for bit. A quantized weight becomes float32, and its blocks are released.
func (p *Param) Unpack() {
	if p.dropped == nil {
		return
	}
	shape, w := p.dropped.shape, p.Float32Copy()
	if _, _, ok := p.Quantized(); ok {
		defer p.Invalidate()
	}
	if p.dropped.bf16 {
		bits := make([]uint16, len(w))
		for i, v := range w {
			bits[i] = uint16(math.Float32bits(v) >> 16)
		}
		p.Value = tensor.New(tensor.WithShape(shape...), tensor.WithBacking(bits))
	} else {
		p.Value = tensor.New(tensor.WithShape(shape...), tensor.WithBacking(w))
	}
	p.dropped = nil
}

// Invalidate drops the packed copy and the device copy of a frozen parameter whose Value has changed. A parameter that
// remains on a device is sent by [Resident.Send] instead.
func (p *Param) Invalidate() {
	p.packed = nil
	if p.holder() == nil {
		p.copied = nil
	}
}
