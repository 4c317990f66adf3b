package mamba

import (
	"fmt"

	"gorgonia.org/tensor"

	"mambatrain/autograd/kernel"
)

// NarrowBF16 rounds the projections and the table to bfloat16, as [LoadOptions].BF16 keeps them, one tensor at a time.
// They must be frozen. Programs and decoders made before keep computing with the old weights.
func (m *Model) NarrowBF16() error {
	for _, p := range m.params {
		if p.Trainable() && isMatrix(p.Name, p.Shape()) {
			return fmt.Errorf("mamba: %s trains, and bfloat16 weights cannot", p.Name)
		}
	}
	for _, p := range m.params {
		if p.IsBF16() || !isMatrix(p.Name, p.Shape()) {
			continue
		}
		p.Unpack()
		bits := make([]uint16, p.Size())
		kernel.ToBF16(bits, p.Float32s())
		p.Value = tensor.New(tensor.WithShape(p.Shape()...), tensor.WithBacking(bits))
		p.Invalidate()
	}
	return nil
}
