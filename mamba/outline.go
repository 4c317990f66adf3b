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
	matrix, other := largest(c)
	wide, narrow := max(matrix, other), 0
	if o.BF16 {
		wide, narrow = other, matrix
	}
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

// largest returns the elements of the largest parameter that may be kept in 16 bits, and of the largest of the others.
func largest(c Config) (matrix, other int) {
	for _, t := range layout(c) {
		if n := tensor.Shape(t.shape).TotalSize(); isMatrix(t.name, t.shape) {
			matrix = max(matrix, n)
		} else {
			other = max(other, n)
		}
	}
	return matrix, other
}

// Footprint returns the bytes that the weights of the model which c describes take as o keeps them, and what the largest of
// them takes in float32.
func Footprint(c Config, o LoadOptions) (all, one int64, err error) {
	if err := c.Validate(); err != nil {
		return 0, 0, fmt.Errorf("mamba: config: %w", err)
	}
	c.VocabSize = max(c.VocabSize, o.VocabSize)
	const float32Bytes, bfloat16Bytes = 4, 2
	for _, t := range layout(c) {
		n := int64(tensor.Shape(t.shape).TotalSize())
		if o.BF16 && isMatrix(t.name, t.shape) {
			all += bfloat16Bytes * n
		} else {
			all += float32Bytes * n
		}
		one = max(one, float32Bytes*n)
	}
	return all, one, nil
}
