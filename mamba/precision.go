package mamba

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"mambatrain/internal/quant"
)

// Precision is the form in which a model's matrices, its projections and its table, are stored in memory while they
// are frozen. Everything else is float32, including all sums.
type Precision string

const (
	// Stored, the same as "", keeps the blocks of a GGUF file. Other matrices, including those in half precision,
	// become float32.
	Stored  Precision = "auto"
	Float32 Precision = "float32"
	BF16    Precision = "bf16"
	// Q8 and Q4 store blocks of integers, in the types that llama.cpp uses for Q8_0 and Q4_K_M. A matrix for which
	// there is no such type is rounded to half precision.
	Q8 Precision = "q8"
	Q4 Precision = "q4"
)

// Precisions lists the values of [Precision].
func Precisions() []string {
	return []string{string(Stored), string(Float32), string(BF16), string(Q8), string(Q4)}
}

// Validate returns an error if p is not one of [Precisions].
func (p Precision) Validate() error {
	if p == "" || slices.Contains(Precisions(), string(p)) {
		return nil
	}
	return fmt.Errorf("mamba: precision %q: want one of %s", p, strings.Join(Precisions(), ", "))
}

// Trains reports whether weights of precision p can be trained in a model with this configuration.
func (c Config) Trains(p Precision) bool {
	return p == Float32 || cmp.Or(p, Stored) == Stored && len(c.blocks) == 0
}

// kept returns the type in which a parameter is stored.
func (c Config) kept(p Precision, name string, shape []int) quant.Type {
	if !isMatrix(name, shape) {
		return quant.F32
	}
	switch cmp.Or(p, Stored) {
	case BF16:
		return quant.BF16
	case Q8:
		return c.ggufType(GGUFQ8, name, shape)
	case Q4:
		return c.ggufType(ggufQ4, name, shape)
	case Stored:
		return c.blocks[name] // F32 if absent
	}
	return quant.F32
}

// bytesOf returns the memory that a parameter of the given type takes. Float16 weights are converted to float32.
func bytesOf(as quant.Type, elements int) int64 {
	if as == quant.F16 {
		as = quant.F32
	}
	return int64(as.Bytes(elements))
}

// Blocks describes the block types in which a model's matrices are stored, such as "Q4_K, Q6_K", in descending order
// of elements; "" if there are none.
func (c Config) Blocks(p Precision) string {
	elements := map[quant.Type]int{}
	for _, t := range layout(c) {
		if as := c.kept(p, t.name, t.shape); as.Block() > 1 {
			elements[as] += t.shape[0] * t.shape[1]
		}
	}
	var types []quant.Type
	for as := range elements {
		types = append(types, as)
	}
	slices.SortFunc(types, func(a, b quant.Type) int { return elements[b] - elements[a] })
	names := make([]string, len(types))
	for i, as := range types {
		names[i] = as.String()
	}
	return strings.Join(names, ", ")
}
