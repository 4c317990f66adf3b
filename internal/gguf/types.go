package gguf

import "mambatrain/internal/quant"

// Type is the type of a tensor's elements.
type Type = quant.Type

// The types of tensors that are not quantized, and the one that every width divisible by 32 can have.
const (
	F32  = quant.F32
	F16  = quant.F16
	BF16 = quant.BF16
	Q8_0 = quant.Q8_0
)
