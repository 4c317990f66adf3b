package mamba

import (
	"cmp"
	"errors"
	"fmt"

	"gorgonia.org/tensor"

	ag "mambatrain/autograd"
	"mambatrain/internal/quant"
)

// Outline returns the model that c describes without its weights, for counting parameters and estimating graphs. All
// parameters of one type share one block of memory, which uses no physical memory until it is written to. The model
// must not be run.
func Outline(c Config, o LoadOptions) (*Model, error) {
	if err := c.prepare(o); err != nil {
		return nil, err
	}
	var wide, narrow, quantized int
	for _, t := range layout(c) {
		n := tensor.Shape(t.shape).TotalSize()
		switch as := c.kept(o.Precision, t.name, t.shape); {
		case as.Block() > 1:
			quantized = max(quantized, as.Bytes(n))
		case as == quant.BF16:
			narrow = max(narrow, n)
		default:
			wide = max(wide, n)
		}
	}
	floats, bits, blocks := make([]float32, wide), make([]uint16, narrow), make([]byte, quantized)
	var err error
	m := build(c, func(name string, shape ...int) *ag.Param {
		n := tensor.Shape(shape).TotalSize()
		as := c.kept(o.Precision, name, shape)
		var backing any
		switch {
		case as.Block() > 1:
			p, e := ag.NewQuantized(name, as, blocks[:as.Bytes(n)], shape[0], shape[1])
			err = errors.Join(err, e)
			return p
		case as == quant.BF16:
			backing = bits[:n]
		default:
			backing = floats[:n]
		}
		return ag.NewParam(name, tensor.New(tensor.WithShape(shape...), tensor.WithBacking(backing)))
	})
	return m, err
}

// prepare sets the vocabulary that o requests and returns what is wrong with the configuration or with o.
func (c *Config) prepare(o LoadOptions) error {
	c.VocabSize = cmp.Or(o.VocabSize, c.VocabSize)
	if err := c.Validate(); err != nil {
		return fmt.Errorf("mamba: config: %w", err)
	}
	return o.Precision.Validate()
}

// Footprint returns the bytes that the weights of a model with configuration c occupy when stored as o specifies, and
// the bytes of the largest of them in float32.
func Footprint(c Config, o LoadOptions) (all, one int64, err error) {
	if err := c.prepare(o); err != nil {
		return 0, 0, err
	}
	const float32Bytes = 4
	for _, t := range layout(c) {
		n := tensor.Shape(t.shape).TotalSize()
		all += bytesOf(c.kept(o.Precision, t.name, t.shape), n)
		one = max(one, float32Bytes*int64(n))
	}
	return all, one, nil
}
