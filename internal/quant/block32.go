package quant

import (
	"encoding/binary"
	"math"
)

// Blocks of 32 values: a half-precision scale d, for some types a minimum m, and the integers n. Four- and five-bit
// types store values 0 to 15 in the low halves of 16 bytes and values 16 to 31 in the high halves. The fifth bits are
// in a separate word.

// readQ8_0: d, 32 signed bytes; y = d·n.
func readQ8_0(y []float32, b []byte) {
	d := half(b)
	for i, n := range b[2:34] {
		y[i] = d * float32(int8(n))
	}
}

// readQ4_0: d, 16 bytes; y = d·(n − 8).
func readQ4_0(y []float32, b []byte) {
	d := half(b)
	for i, n := range b[2:18] {
		y[i], y[i+16] = d*float32(int(n&15)-8), d*float32(int(n>>4)-8)
	}
}

// readQ4_1: d, m, 16 bytes; y = d·n + m.
func readQ4_1(y []float32, b []byte) {
	d, m := half(b), half(b[2:])
	for i, n := range b[4:20] {
		y[i], y[i+16] = d*float32(n&15)+m, d*float32(n>>4)+m
	}
}

// readQ5_0: d, fifth bits, 16 bytes; y = d·(n − 16).
func readQ5_0(y []float32, b []byte) {
	d, fifth := half(b), binary.LittleEndian.Uint32(b[2:])
	for i, n := range b[6:22] {
		lo, hi := fiveBits(n, fifth, i)
		y[i], y[i+16] = d*float32(lo-16), d*float32(hi-16)
	}
}

// readQ5_1: d, m, fifth bits, 16 bytes; y = d·n + m.
func readQ5_1(y []float32, b []byte) {
	d, m, fifth := half(b), half(b[2:]), binary.LittleEndian.Uint32(b[4:])
	for i, n := range b[8:24] {
		lo, hi := fiveBits(n, fifth, i)
		y[i], y[i+16] = d*float32(lo)+m, d*float32(hi)+m
	}
}

// fiveBits returns the integers of values i and i+16.
func fiveBits(n byte, fifth uint32, i int) (lo, hi int) {
	return int(n&15) | int(fifth>>i&1)<<4, int(n>>4) | int(fifth>>(i+16)&1)<<4
}

// nonLinear are the values of IQ4_NL's sixteen integers.
var nonLinear = [16]float32{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}

// readIQ4_NL: d, 16 bytes; y = d·nonLinear[n].
func readIQ4_NL(y []float32, b []byte) {
	d := half(b)
	for i, n := range b[2:18] {
		y[i], y[i+16] = d*nonLinear[n&15], d*nonLinear[n>>4]
	}
}

// writeQ8_0: d = max|x|/127, n = x/d rounded, halves away from zero.
func writeQ8_0(b []byte, x []float32) {
	top := float32(0)
	for _, v := range x {
		top = max(top, float32(math.Abs(float64(v))))
	}
	d := top / 127
	inverse := reciprocal(d)
	putHalf(b, d)
	for i, v := range x {
		b[2+i] = byte(int8(math.Round(float64(finite(v * inverse)))))
	}
}

// writeQ4_0: d = m/−8, where m is the value of largest magnitude.
func writeQ4_0(b []byte, x []float32) {
	d := extreme(x) / -8
	inverse := reciprocal(d)
	putHalf(b, d)
	pack4(b[2:], x, func(v float32) int { return min(15, truncate(float32(v*inverse)+8.5)) })
}

// writeQ4_1: d = (max − min)/15, m = min.
func writeQ4_1(b []byte, x []float32) {
	lo, hi := span(x)
	d := (hi - lo) / 15
	inverse := reciprocal(d)
	putHalf(b, d)
	putHalf(b[2:], lo)
	pack4(b[4:], x, func(v float32) int { return min(15, truncate(float32((v-lo)*inverse)+0.5)) })
}

// writeQ5_0: like writeQ4_0, with d = m/−16.
func writeQ5_0(b []byte, x []float32) {
	d := extreme(x) / -16
	inverse := reciprocal(d)
	putHalf(b, d)
	pack5(b[2:], x, func(v float32) int { return min(31, truncate(float32(v*inverse)+16.5)) })
}

// writeQ5_1: like writeQ4_1, with d = (max − min)/31.
func writeQ5_1(b []byte, x []float32) {
	lo, hi := span(x)
	d := (hi - lo) / 31
	inverse := reciprocal(d)
	putHalf(b, d)
	putHalf(b[2:], lo)
	pack5(b[4:], x, func(v float32) int { return truncate(float32((v-lo)*inverse) + 0.5) })
}

// pack4 writes the integers of x to 16 bytes.
func pack4(b []byte, x []float32, integer func(float32) int) {
	for i := range 16 {
		b[i] = byte(integer(x[i])&15 | integer(x[i+16])&15<<4)
	}
}

// pack5 writes the fifth bits of the integers of x, followed by the low four bits as in pack4.
func pack5(b []byte, x []float32, integer func(float32) int) {
	fifth := uint32(0)
	for i := range 16 {
		lo, hi := integer(x[i]), integer(x[i+16])
		b[4+i] = byte(lo&15 | hi&15<<4)
		fifth |= uint32(lo>>4&1)<<i | uint32(hi>>4&1)<<(i+16)
	}
	binary.LittleEndian.PutUint32(b, fifth)
}

// reciprocal returns 1/d, or 0 if d is 0.
func reciprocal(d float32) float32 {
	if d == 0 {
		return 0
	}
	return 1 / d
}

// extreme returns the value of largest magnitude, with its sign. If there are several, it returns the first.
func extreme(x []float32) float32 {
	top, largest := float32(0), float32(0)
	for _, v := range x {
		if a := float32(math.Abs(float64(v))); a > largest {
			top, largest = v, a
		}
	}
	return top
}

// span returns the smallest and the largest value.
func span(x []float32) (lo, hi float32) {
	lo, hi = x[0], x[0]
	for _, v := range x {
		lo, hi = min(lo, v), max(hi, v)
	}
	return lo, hi
}

// finite returns x if it is finite, and 0 otherwise: a scale that small is stored as 0. Testing x − x would not work:
// if x is a product, arm64 subtracts before the product is rounded.
func finite(x float32) float32 {
	if max(x, -x) <= math.MaxFloat32 {
		return x
	}
	return 0
}

// truncate drops the fraction.
func truncate(x float32) int { return int(finite(x)) }
