package mamba

import (
	"fmt"

	"gorgonia.org/tensor"

	ag "mambatrain/autograd"
)

// Outline returns the model that c describes without its numbers, for counting its parameters and estimating graphs of
// it: all parameters of one type share one block of memory, which takes none as long as nobody writes to it. The model
// must not be computed with.
func Outline(c Config, o LoadOptions) (*Model, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("mamba: config: %w", err)
	}
	wide, narrow := 0, 0 // elements of the largest parameter of each type
	build(c, func(name string, shape ...int) *ag.Param {
		if n := tensor.Shape(shape).TotalSize(); o.BF16 && isMatrix(name, shape) {
			narrow = max(narrow, n)
		} else {
			wide = max(wide, n)
		}
		return nil
	})
	floats, bits := make([]float32, wide), make([]uint16, narrow)
	return build(c, func(name string, shape ...int) *ag.Param {
		n := tensor.Shape(shape).TotalSize()
		var backing any
		if o.BF16 && isMatrix(name, shape) {
			backing = bits[:n]
		} else {
			backing = floats[:n]
		}
		return ag.NewParam(name, tensor.New(tensor.WithShape(shape...), tensor.WithBacking(backing)))
	}), nil
}
