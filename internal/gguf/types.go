package gguf

import (
	"encoding/binary"
	"fmt"
	"math"

	"mambatrain/internal/float16"
)

// Type is the type of a tensor's elements, by its number in the format.
type Type uint32

// The types that are written.
const (
	F32  Type = 0
	F16  Type = 1
	Q8_0 Type = 8
	BF16 Type = 30
)

// layout is how a type stores elements: in blocks of a fixed number of elements and bytes.
type layout struct {
	name         string
	block, bytes int
}

// layouts has the types that occur in files of weights.
var layouts = map[Type]layout{
	F32: {"F32", 1, 4}, F16: {"F16", 1, 2}, BF16: {"BF16", 1, 2}, Q8_0: {"Q8_0", 32, 34},
	2: {"Q4_0", 32, 18}, 3: {"Q4_1", 32, 20}, 6: {"Q5_0", 32, 22}, 7: {"Q5_1", 32, 24}, 20: {"IQ4_NL", 32, 18},
	10: {"Q2_K", 256, 84}, 11: {"Q3_K", 256, 110}, 12: {"Q4_K", 256, 144}, 13: {"Q5_K", 256, 176}, 14: {"Q6_K", 256, 210},
	23: {"IQ4_XS", 256, 136},
}

// String returns llama.cpp's name of the type.
func (t Type) String() string {
	if l, ok := layouts[t]; ok {
		return l.name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// Block returns the number of elements in a block.
func (t Type) Block() int { return layouts[t].block }

// Encode returns v as it is stored: F32, F16 and BF16 rounded to nearest, Q8_0 quantized as llama.cpp does. v has whole
// blocks.
func (t Type) Encode(v []float32) []byte {
	b := make([]byte, 0, len(v)/t.Block()*layouts[t].bytes)
	switch t {
	case F32:
		for _, x := range v {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
		}
	case F16:
		for _, x := range v {
			b = binary.LittleEndian.AppendUint16(b, float16.FP16(x))
		}
	case BF16:
		for _, x := range v {
			b = binary.LittleEndian.AppendUint16(b, float16.BF16(x))
		}
	case Q8_0:
		for ; len(v) > 0; v = v[t.Block():] {
			b = appendQ8(b, v[:t.Block()])
		}
	default:
		panic(fmt.Sprintf("gguf: %s is not written", t))
	}
	return b
}

// appendQ8 appends a block: a half-precision scale d = max|x|/127 and the numbers round(x/d), halves away from zero.
func appendQ8(b []byte, v []float32) []byte {
	top := float32(0)
	for _, x := range v {
		top = max(top, float32(math.Abs(float64(x))))
	}
	d := top / 127
	inverse := float32(0)
	if d != 0 {
		inverse = 1 / d
	}
	b = binary.LittleEndian.AppendUint16(b, float16.FP16(d))
	for _, x := range v {
		b = append(b, byte(int8(math.Round(float64(x*inverse)))))
	}
	return b
}
