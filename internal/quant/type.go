// Package quant reads and writes the element types of llama.cpp's tensors: floating-point numbers, and blocks of small
// integers with scales. The formats are those of ggml-common.h. The quantizers produce the same bytes as llama.cpp
// without an importance matrix.
//
// All arithmetic is float32. Every product in a dequantizer is exact, so its results have the same bits however it is
// computed. Quantizers produce the same bytes only if no multiplication is fused with an addition; the conversions
// float32(x*y) prevent that.
package quant

import (
	"encoding/binary"
	"fmt"
	"math"

	"mambatrain/internal/float16"
)

// Type is the type of a tensor's elements, numbered as in llama.cpp.
type Type uint32

// The types that can be read. Those with 32 elements per block store them in order or as two halves; those with a K
// have 256 elements in sub-blocks.
const (
	F32    Type = 0
	F16    Type = 1
	Q4_0   Type = 2
	Q4_1   Type = 3
	Q5_0   Type = 6
	Q5_1   Type = 7
	Q8_0   Type = 8
	Q2_K   Type = 10
	Q3_K   Type = 11
	Q4_K   Type = 12
	Q5_K   Type = 13
	Q6_K   Type = 14
	IQ4_NL Type = 20
	IQ4_XS Type = 23
	BF16   Type = 30
)

// format is how a type stores elements.
type format struct {
	name         string
	block, bytes int // elements and bytes of a block
	dequantize   func(y []float32, b []byte)
	quantize     func(b []byte, x []float32) // nil if the type can only be read
	exponents    []int                       // where a block has the upper half of a floating-point number
}

var formats = map[Type]*format{
	F32:    {"F32", 1, 4, readF32, writeF32, []int{2}},
	F16:    {"F16", 1, 2, readF16, writeF16, []int{0}},
	BF16:   {"BF16", 1, 2, readBF16, writeBF16, []int{0}},
	Q4_0:   {"Q4_0", 32, 18, blockwise(32, 18, readQ4_0), blockwiseTo(32, 18, writeQ4_0), []int{0}},
	Q4_1:   {"Q4_1", 32, 20, blockwise(32, 20, readQ4_1), blockwiseTo(32, 20, writeQ4_1), []int{0, 2}},
	Q5_0:   {"Q5_0", 32, 22, blockwise(32, 22, readQ5_0), blockwiseTo(32, 22, writeQ5_0), []int{0}},
	Q5_1:   {"Q5_1", 32, 24, blockwise(32, 24, readQ5_1), blockwiseTo(32, 24, writeQ5_1), []int{0, 2}},
	Q8_0:   {"Q8_0", 32, 34, blockwise(32, 34, readQ8_0), blockwiseTo(32, 34, writeQ8_0), []int{0}},
	IQ4_NL: {"IQ4_NL", 32, 18, blockwise(32, 18, readIQ4_NL), nil, []int{0}},
	Q2_K:   {"Q2_K", superBlock, 84, blockwise(superBlock, 84, readQ2_K), nil, []int{80, 82}},
	Q3_K:   {"Q3_K", superBlock, 110, blockwise(superBlock, 110, readQ3_K), nil, []int{108}},
	IQ4_XS: {"IQ4_XS", superBlock, 136, blockwise(superBlock, 136, readIQ4_XS), nil, []int{0}},
	Q4_K:   {"Q4_K", superBlock, 144, blockwise(superBlock, 144, readQ4_K), blockwiseTo(superBlock, 144, writeQ4_K), []int{0, 2}},
	Q5_K:   {"Q5_K", superBlock, 176, blockwise(superBlock, 176, readQ5_K), blockwiseTo(superBlock, 176, writeQ5_K), []int{0, 2}},
	Q6_K:   {"Q6_K", superBlock, 210, blockwise(superBlock, 210, readQ6_K), blockwiseTo(superBlock, 210, writeQ6_K), []int{208}},
}

// foreign lists other types that occur in files, for error messages.
var foreign = map[Type]string{
	9: "Q8_1", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 21: "IQ3_S", 22: "IQ2_S",
	24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
	40: "NVFP4", 41: "Q1_0", 42: "Q2_0",
}

// String returns llama.cpp's name of the type.
func (t Type) String() string {
	if f := formats[t]; f != nil {
		return f.name
	}
	if name := foreign[t]; name != "" {
		return name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// Readable reports whether elements of the type can be read.
func (t Type) Readable() bool { return formats[t] != nil }

// Writable reports whether elements of the type can be written by [Type.Encode].
func (t Type) Writable() bool { return formats[t] != nil && formats[t].quantize != nil }

// Block returns the number of elements in a block, 1 for single numbers. The type must be readable.
func (t Type) Block() int { return formats[t].block }

// Bytes returns the size of n elements, which must be whole blocks. The type must be readable.
func (t Type) Bytes(n int) int { return n / formats[t].block * formats[t].bytes }

// Dequantize writes the values of the blocks b to y, which must have room for all of them.
func (t Type) Dequantize(y []float32, b []byte) { formats[t].dequantize(y, b) }

// Quantize writes x, which must be whole blocks, to b in its stored form. Values beyond the range of a half-precision
// scale become infinite, as in llama.cpp; see [Type.Finite]. The type must be writable: not IQ4_NL, IQ4_XS, Q2_K, or
// Q3_K.
func (t Type) Quantize(b []byte, x []float32) { formats[t].quantize(b, x) }

// Encode is like [Type.Quantize] and returns the stored form in newly allocated memory.
func (t Type) Encode(x []float32) []byte {
	b := make([]byte, t.Bytes(len(x)))
	t.Quantize(b, x)
	return b
}

// Finite reports whether the floating-point numbers in b, such as the scales of blocks, are finite.
func (t Type) Finite(b []byte) bool {
	exponent := uint16(0x7c00)
	if t == F32 || t == BF16 {
		exponent = 0x7f80
	}
	f := formats[t]
	for _, at := range f.exponents {
		for ; at < len(b); at += f.bytes {
			if binary.LittleEndian.Uint16(b[at:])&exponent == exponent {
				return false
			}
		}
	}
	return true
}

// blockwise turns a function for one block into a function for whole rows.
func blockwise(elements, bytes int, read func(y []float32, b []byte)) func([]float32, []byte) {
	return func(y []float32, b []byte) {
		for ; len(b) > 0; y, b = y[elements:], b[bytes:] {
			read(y[:elements], b[:bytes])
		}
	}
}

func blockwiseTo(elements, bytes int, write func(b []byte, x []float32)) func([]byte, []float32) {
	return func(b []byte, x []float32) {
		for ; len(x) > 0; b, x = b[bytes:], x[elements:] {
			write(b[:bytes], x[:elements])
		}
	}
}

func readF32(y []float32, b []byte) {
	for i := range y[:len(b)/4] {
		y[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
}

func writeF32(b []byte, x []float32) {
	for i, v := range x {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(v))
	}
}

func readF16(y []float32, b []byte) {
	for i := range y[:len(b)/2] {
		y[i] = half(b[2*i:])
	}
}

func writeF16(b []byte, x []float32) {
	for i, v := range x {
		putHalf(b[2*i:], v)
	}
}

func readBF16(y []float32, b []byte) {
	for i := range y[:len(b)/2] {
		y[i] = float16.FromBF16(binary.LittleEndian.Uint16(b[2*i:]))
	}
}

func writeBF16(b []byte, x []float32) {
	for i, v := range x {
		binary.LittleEndian.PutUint16(b[2*i:], float16.BF16(v))
	}
}

// half returns the half-precision number at the start of b.
func half(b []byte) float32 { return float16.FromFP16(binary.LittleEndian.Uint16(b)) }

// putHalf writes x, rounded to half precision, to the start of b.
func putHalf(b []byte, x float32) { binary.LittleEndian.PutUint16(b, float16.FP16(x)) }
