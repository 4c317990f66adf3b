package autograd

import (
	"fmt"

	"gorgonia.org/tensor"

	"mambatrain/autograd/kernel"
)

// Param is one tensor of a model. The same object serves from loading to export, so its checkpoint name is written
// down once.
type Param struct {
	// Name is the tensor's name in the checkpoint, such as "backbone.layers.0.mixer.in_proj.weight".
	Name string
	// Value holds float32, or float64 in gradient checks, or the bits of bfloat16 as uint16 for a frozen weight.
	Value *tensor.Dense
	// Grad has the shape and type of Value. Backward passes add to it. It is nil while the parameter is frozen.
	Grad *tensor.Dense

	packed *kernel.Packed
}

// NewParam returns a frozen parameter that holds value, without copying it.
func NewParam(name string, value *tensor.Dense) *Param {
	return &Param{Name: name, Value: value}
}

// Zeros returns a frozen float32 parameter filled with zeros.
func Zeros(name string, shape ...int) *Param {
	return NewParam(name, tensor.New(tensor.WithShape(shape...), tensor.Of(tensor.Float32)))
}

// Train makes the parameter trainable: it gets a gradient of zeros unless it has one. A bfloat16 parameter cannot train.
func (p *Param) Train() error {
	if p.IsBF16() {
		return fmt.Errorf("autograd: %s: bfloat16 weights are frozen and cannot be trained", p.Name)
	}
	if p.Grad == nil {
		p.Grad = tensor.New(tensor.WithShape(p.Shape()...), tensor.Of(p.Value.Dtype()))
		p.packed = nil
	}
	return nil
}

// Freeze drops the gradient; graphs compiled from now on compute none for this parameter.
func (p *Param) Freeze() { p.Grad = nil }

// Trainable says whether backward passes compute a gradient for the parameter.
func (p *Param) Trainable() bool { return p.Grad != nil }

// IsBF16 says whether Value holds bfloat16 bits.
func (p *Param) IsBF16() bool { return p.Value.Dtype() == tensor.Uint16 }

// Shape returns the dimensions. The caller must not change them.
func (p *Param) Shape() []int { return p.Value.Shape() }

// Size is the number of elements.
func (p *Param) Size() int { return p.Value.Shape().TotalSize() }

// Bytes is the memory of the value and, where there is one, of the gradient.
func (p *Param) Bytes() int64 {
	n := int64(p.Size()) * int64(p.Value.Dtype().Size())
	if p.Trainable() {
		n *= 2
	}
	return n
}

// Float32s returns the memory of the value. It panics unless the value is float32.
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
// changes Value afterwards must call [Param.Touch].
func (p *Param) Packed() *kernel.Packed {
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

// Touch says that Value of a frozen parameter has changed.
func (p *Param) Touch() { p.packed = nil }
