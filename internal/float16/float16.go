// Package float16 converts between float32 and the two 16-bit formats of weight files, bfloat16 and IEEE half precision.
package float16

import "math"

// BF16 rounds x to bfloat16, to nearest even. NaN remains NaN.
func BF16(x float32) uint16 {
	b := math.Float32bits(x)
	if x != x {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// FromBF16 returns the value of a bfloat16, exactly.
func FromBF16(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// FP16 rounds x to IEEE half precision, to nearest even, with denormals. Values that round to more than 65504 become
// infinite.
func FP16(x float32) uint16 {
	b := math.Float32bits(x)
	sign := uint16(b >> 16 & 0x8000)
	b &= 0x7fffffff
	switch {
	case b > 0x7f800000: // NaN
		return sign | 0x7e00
	case b >= 0x477ff000: // 65520 and above round to infinity
		return sign | 0x7c00
	case b < 0x38800000: // below 2⁻¹⁴: adding ½ shifts the fraction into place and rounds it in hardware
		return sign | uint16(math.Float32bits(math.Float32frombits(b)+0.5)-0x3f000000)
	}
	return sign | uint16((b-0x38000000+0xfff+b>>13&1)>>13)
}

// FromFP16 returns the value of an IEEE half-precision number, exactly.
func FromFP16(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	e, f := uint32(h>>10&31), uint32(h&0x3ff)
	switch e {
	case 0:
		return math.Float32frombits(sign | math.Float32bits(float32(f)*0x1p-24))
	case 31:
		return math.Float32frombits(sign | 0x7f800000 | f<<13)
	}
	return math.Float32frombits(sign | (e+112)<<23 | f<<13)
}
