package autograd

import (
	"fmt"
	"math"
	"sync"

	"gorgonia.org/tensor"

	"mambatrain/autograd/kernel"
	"mambatrain/internal/quant"
)

// Param is one tensor of a model. The same object serves from loading to export, so its checkpoint name is written
// down once.
type Param struct {
	// Name is the tensor's name in the checkpoint, such as "backbone.layers.0.mixer.in_proj.weight".
	Name string
	// Value holds float32, or float64 in gradient checks, or the bits of bfloat16 as uint16 for a frozen weight. It is nil
	// between PackOnly and Unpack, and for a quantized weight.
	Value *tensor.Dense
	// Grad has the shape and type of Value. Backward passes add to it. It is nil while the parameter is frozen.
	Grad *tensor.Dense

	packing sync.Mutex // of programs that share the parameter
	packed  *kernel.Packed
	dropped *valueForm // of Value while it is packed only, else nil
	copied  *paramCopy // on a device, nil for none
}

// valueForm is what Value has besides its numbers.
type valueForm struct {
	shape []int
	bf16  bool
}

// NewParam returns a frozen parameter that holds value, without copying it.
func NewParam(name string, value *tensor.Dense) *Param {
	return &Param{Name: name, Value: value}
}

// NewQuantized returns a frozen parameter (out, in) that stays in the blocks of a GGUF file, which it refers to: they may be mapped from
// the file. [Param.Unpack] replaces them by float32.
func NewQuantized(name string, of quant.Type, data []byte, out, in int) (*Param, error) {
	p, err := kernel.PackQuantized(of, data, out, in)
	if err != nil {
		return nil, fmt.Errorf("autograd: %s: %w", name, err)
	}
	return &Param{Name: name, packed: p, dropped: &valueForm{shape: []int{out, in}}}, nil
}

// Quantized returns the type and the blocks of a quantized weight, row after row as in the file.
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

// zeros returns a tensor of zeros, in memory that suits the kernels.
func zeros(of tensor.Dtype, shape tensor.Shape) *tensor.Dense {
	if of != tensor.Float32 {
		return tensor.New(tensor.WithShape(shape...), tensor.Of(of))
	}
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(kernel.Make[float32](shape.TotalSize())))
}

// Train makes the parameter trainable: it gets a gradient of zeros unless it has one. Bfloat16 and quantized parameters cannot train.
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

// Freeze drops the gradient; graphs compiled from now on compute none for this parameter.
func (p *Param) Freeze() {
	p.Grad = nil
	p.copied = nil // which is as old as the last run
}

// Trainable says whether backward passes compute a gradient for the parameter.
func (p *Param) Trainable() bool { return p.Grad != nil }

// IsBF16 says whether Value holds bfloat16 bits.
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

// Size is the number of elements.
func (p *Param) Size() int { return size(p.Shape()) }

// Bytes is the memory of value, packed copy and gradient, as far as they are there.
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

// Gather copies rows ids of the value, its first dimension against all others, to y as float32. It reads every form that
// a parameter of a model has: packed only, quantized, bfloat16 and float32.
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

// ReadRows copies as many rows as y has, beginning with row from, as [Param.Gather] does.
func (p *Param) ReadRows(y kernel.Mat[float32], from int) {
	ids := make([]int, y.Rows)
	for i := range ids {
		ids[i] = from + i
	}
	p.Gather(y, ids)
}

// Float32Copy returns a copy of the value as float32, from every form that [Param.Gather] reads.
func (p *Param) Float32Copy() []float32 {
	rows := p.Shape()[0]
	y := kernel.Dense(make([]float32, p.Size()), rows, p.Size()/rows)
	p.ReadRows(y, 0)
	return y.Data
}

// Float32s returns the memory of the value, to read or to change. It panics unless the value is float32.
func (p *Param) Float32s() []float32 { return p.Value.Data().([]float32) }

// BF16s returns the memory of a bfloat16 value. It panics on another type.
func (p *Param) BF16s() []uint16 { return p.Value.Data().([]uint16) }

// GradFloat32s returns the memory of the gradient, nil while the parameter is frozen.
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

// Packed returns a frozen (out, in) weight in the kernels' own layout. It is made at the first call and kept; whoever
// changes Value afterwards must call [Param.Invalidate].
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

// PackOnly packs the frozen weight of a [Linear] or [Embedding] and drops Value, which halves the memory of a base model
// under an adapter. Products and look-ups go on as before; whoever needs the numbers themselves calls [Param.Unpack].
func (p *Param) PackOnly() {
	if p.Trainable() || p.dropped != nil || len(p.Shape()) != 2 {
		return
	}
	p.Packed()
	p.dropped = &valueForm{shape: append([]int(nil), p.Shape()...), bf16: p.IsBF16()}
	p.Value = nil
}

// Unpack brings Value back after PackOnly, bit for bit. A quantized weight becomes float32, and its blocks are let go.
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

// Invalidate drops the copies of a frozen parameter whose Value has changed: packed, and on a device.
func (p *Param) Invalidate() { p.packed, p.copied = nil, nil }
