package quant

import (
	"encoding/binary"
	"math"
)

// superBlock is the number of values in a block of the K types. Q4_K and Q5_K have eight sub-blocks of 32 values, each with a
// scale and a minimum of six bits; Q6_K has sixteen of 16 values, each with a signed scale of eight bits.
const superBlock = 256

// scaleMin returns the scale and the minimum of sub-block j from the 12 bytes that contain all of them. The low six
// bits of bytes 0 to 7 are the first four scales and minima. The others have their low four bits in bytes 8 to 11 and
// their upper two in the upper bits of bytes 0 to 7.
func scaleMin(s []byte, j int) (scale, minimum byte) {
	if j < 4 {
		return s[j] & 63, s[j+4] & 63
	}
	return s[j+4]&15 | s[j-4]>>6<<4, s[j+4]>>4 | s[j]>>6<<4
}

// putScaleMins is the inverse of scaleMin.
func putScaleMins(s []byte, scales, minima *[8]byte) {
	for j := range 4 {
		s[j] = scales[j] | scales[j+4]>>4<<6
		s[j+4] = minima[j] | minima[j+4]>>4<<6
		s[j+8] = scales[j+4]&15 | minima[j+4]<<4
	}
}

// readQ4_K: d, dmin, 12 bytes of scales, 128 of integers, 32 for each two sub-blocks; y = d·scale·n − dmin·min.
func readQ4_K(y []float32, b []byte) {
	d, dmin, s, q := half(b), half(b[2:]), b[4:16], b[16:144]
	for j := range 8 {
		sc, mn := scaleMin(s, j)
		scale, low := d*float32(sc), dmin*float32(mn)
		for l, n := range q[j/2*32:][:32] {
			y[32*j+l] = scale*float32(n>>(4*(j&1))&15) - low
		}
	}
}

// readQ5_K: like Q4_K with 32 more bytes before the integers: bit j of byte l is the fifth bit of value l of sub-block j.
func readQ5_K(y []float32, b []byte) {
	d, dmin, s, h, q := half(b), half(b[2:]), b[4:16], b[16:48], b[48:176]
	for j := range 8 {
		sc, mn := scaleMin(s, j)
		scale, low := d*float32(sc), dmin*float32(mn)
		for l, n := range q[j/2*32:][:32] {
			y[32*j+l] = scale*float32(n>>(4*(j&1))&15|h[l]>>j&1<<4) - low
		}
	}
}

// readQ6_K: 128 bytes of low halves, 64 of the upper two bits, 16 scales, d; y = d·scale·(n − 32).
func readQ6_K(y []float32, b []byte) {
	low, high, scales, d := b[:128], b[128:192], b[192:208], half(b[208:])
	for i := range y[:superBlock] {
		t, part, l := i/128, i/32%4, i%32
		n := low[64*t+32*(part&1)+l]>>(4*(part>>1))&15 | high[32*t+l]>>(2*part)&3<<4
		y[i] = d * float32(int8(scales[i/16])) * float32(int(n)-32)
	}
}

// readQ2_K: 16 bytes, each with the scale and the minimum of 16 values in four bits each, 64 bytes of two-bit
// integers, d, dmin; y = d·scale·n − dmin·min.
func readQ2_K(y []float32, b []byte) {
	scales, q, d, dmin := b[:16], b[16:80], half(b[80:]), half(b[82:])
	for i := range y[:superBlock] {
		t, part, l, s := i/128, i/32%4, i%32, scales[i/16]
		y[i] = d*float32(s&15)*float32(q[32*t+l]>>(2*part)&3) - dmin*float32(s>>4)
	}
}

// readQ3_K: 32 bytes of third bits, 64 of two-bit integers, 12 with 16 six-bit scales, d; y = d·(scale − 32)·n, where
// n is from −4 to 3.
func readQ3_K(y []float32, b []byte) {
	third, q, s, d := b[:32], b[32:96], b[96:108], half(b[108:])
	for i := range y[:superBlock] {
		t, part, l, j := i/128, i/32%4, i%32, i/16
		scale := s[j%8]>>(4*(j/8))&15 | s[8+j%4]>>(2*(j/4))&3<<4
		n := int(q[32*t+l]>>(2*part)&3) - 4 + int(third[l]>>(i/32)&1)<<2
		y[i] = d * float32(int(scale)-32) * float32(n)
	}
}

// readIQ4_XS: d, upper bits of the scales, 4 bytes of their low halves, 128 bytes as in IQ4_NL; y = d·(scale − 32)·nonLinear[n].
func readIQ4_XS(y []float32, b []byte) {
	d, high, low, q := half(b), binary.LittleEndian.Uint16(b[2:]), b[4:8], b[8:136]
	for j := range 8 {
		scale := low[j/2]>>(4*(j%2))&15 | byte(high>>(2*j)&3)<<4
		f := d * float32(int(scale)-32)
		for l, n := range q[16*j:][:16] {
			y[32*j+l], y[32*j+l+16] = f*nonLinear[n&15], f*nonLinear[n>>4]
		}
	}
}

// nearest rounds to the nearest integer, halves to even, for |v| < 2²²: the addition leaves no bits for a fraction.
func nearest(v float32) int {
	return int(int32(math.Float32bits(float32(v)+12582912)&0x7fffff) - 0x400000)
}

func clamp(n, lo, hi int) int { return max(lo, min(n, hi)) }

// fitter finds the scale and the minimum of a sub-block by trying several candidates.
type fitter struct {
	levels     float32 // the largest integer
	first      float32 // first change of levels to try
	step       float32
	tries      int
	integers   *[32]byte // result
	candidates [32]byte
}

// fit returns the scale and the negated minimum for which integers from 0 to levels best approximate x, with errors
// weighted by w. For each candidate set of integers, both follow by least squares. This is llama.cpp's
// make_qkx2_quants.
func (f *fitter) fit(x, w []float32) (scale, minimum float32) {
	lo, hi := x[0], x[0]
	sumW, sumX := float32(0), float32(0)
	for i, v := range x {
		lo, hi = min(lo, v), max(hi, v)
		sumW += w[i]
		sumX += float32(w[i] * v)
	}
	lo = min(lo, 0)
	if hi == lo {
		*f.integers = [32]byte{}
		return 0, -lo
	}
	top := int(f.levels)
	inverse := f.levels / (hi - lo)
	scale = 1 / inverse
	best := float32(0)
	for i, v := range x {
		n := clamp(nearest(float32(inverse*(v-lo))), 0, top)
		f.integers[i] = byte(n)
		d := float32(float32(scale*float32(n))+lo) - v
		best += float32(w[i] * float32(d*d))
	}
	for t := range f.tries + 1 {
		inverse = (float32(f.first+float32(f.step*float32(t))) + f.levels) / (hi - lo)
		var sumL, sumL2, sumXL float32
		for i, v := range x {
			n := clamp(nearest(float32(inverse*(v-lo))), 0, top)
			f.candidates[i] = byte(n)
			l := float32(n)
			wl := float32(w[i] * l)
			sumL += wl
			sumL2 += float32(wl * l)
			sumXL += float32(wl * v)
		}
		det := float32(sumW*sumL2) - float32(sumL*sumL)
		if det <= 0 {
			continue
		}
		s := (float32(sumW*sumXL) - float32(sumX*sumL)) / det
		m := (float32(sumL2*sumX) - float32(sumL*sumXL)) / det
		if m > 0 {
			m, s = 0, sumXL/sumL2
		}
		e := float32(0)
		for i, v := range x {
			d := float32(float32(s*float32(f.candidates[i]))+m) - v
			e += float32(w[i] * float32(d*d))
		}
		if e < best {
			*f.integers, best, scale, lo = f.candidates, e, s, m
		}
	}
	return scale, -lo
}

// superBlockFit is the common part of Q4_K and Q5_K.
type superBlockFit struct {
	integers       [8][32]byte
	scales, minima [8]byte
	d, dmin        float32
}

// fitSuperBlock fits each sub-block, rounds the scales and minima to six bits, and recomputes the integers for the
// rounded values.
func fitSuperBlock(x []float32, f fitter) *superBlockFit {
	var r superBlockFit
	var scales, minima [8]float32
	for j := range 8 {
		sub := x[32*j:][:32]
		var w [32]float32
		sum := float32(0)
		for _, v := range sub {
			sum += float32(v * v)
		}
		mean := float32(math.Sqrt(float64(sum / 32)))
		for i, v := range sub {
			w[i] = mean + float32(math.Abs(float64(v)))
		}
		f.integers = &r.integers[j]
		scales[j], minima[j] = f.fit(sub, w[:])
	}
	topScale, topMin := float32(0), float32(0)
	for j := range 8 {
		topScale, topMin = max(topScale, scales[j]), max(topMin, minima[j])
	}
	perScale, perMin := sixBits(topScale), sixBits(topMin)
	for j := range 8 {
		r.scales[j] = byte(min(63, nearest(float32(perScale*scales[j]))))
		r.minima[j] = byte(min(63, nearest(float32(perMin*minima[j]))))
	}
	r.d, r.dmin = topScale/63, topMin/63
	var stored [4]byte
	putHalf(stored[:], r.d)
	putHalf(stored[2:], r.dmin)
	d, dmin := half(stored[:]), half(stored[2:])
	for j := range 8 {
		scale, low := d*float32(r.scales[j]), dmin*float32(r.minima[j])
		if scale == 0 {
			continue // keep the integers of the fit
		}
		for i, v := range x[32*j:][:32] {
			r.integers[j][i] = byte(clamp(nearest((v+low)/scale), 0, int(f.levels)))
		}
	}
	return &r
}

// sixBits returns 63/top, or 0 if top is 0.
func sixBits(top float32) float32 {
	if top > 0 {
		return 63 / top
	}
	return 0
}

// head writes d, dmin, and the scales.
func (r *superBlockFit) head(b []byte) {
	putHalf(b, r.d)
	putHalf(b[2:], r.dmin)
	putScaleMins(b[4:16], &r.scales, &r.minima)
}

// low writes the low four bits of the integers to 128 bytes.
func (r *superBlockFit) low(q []byte) {
	for j := 0; j < 8; j += 2 {
		for l := range 32 {
			q[j/2*32+l] = r.integers[j][l]&15 | r.integers[j+1][l]&15<<4
		}
	}
}

func writeQ4_K(b []byte, x []float32) {
	r := fitSuperBlock(x, fitter{levels: 15, first: -1, step: 0.1, tries: 20})
	r.head(b)
	r.low(b[16:])
}

func writeQ5_K(b []byte, x []float32) {
	r := fitSuperBlock(x, fitter{levels: 31, first: -0.5, step: 0.1, tries: 15})
	r.head(b)
	for l := range 32 {
		b[16+l] = 0
		for j := range 8 {
			b[16+l] |= r.integers[j][l] >> 4 << j
		}
	}
	r.low(b[48:])
}

// tiny is the magnitude below which Q6_K treats a value as zero.
const tiny = 1e-15

// fitSigned writes to integers the values from −32 to 31, with 32 added, that best approximate the 16 values of x,
// with errors weighted by x². It returns their scale. This is llama.cpp's make_qx_quants.
func fitSigned(integers *[16]byte, x []float32) float32 {
	top := extreme(x)
	if float32(math.Abs(float64(top))) < tiny {
		*integers = [16]byte{}
		return 0
	}
	try := func(inverse float32) (n [16]byte, sumXL, sumL2 float32) {
		for i, v := range x {
			integer := clamp(nearest(float32(inverse*v)), -32, 31)
			n[i] = byte(integer + 32)
			l, w := float32(integer), float32(v*v)
			sumXL += float32(float32(w*v) * l)
			sumL2 += float32(float32(w*l) * l)
		}
		return n, sumXL, sumL2
	}
	n, sumXL, sumL2 := try(-32 / top)
	scale := float32(0)
	if sumL2 != 0 {
		scale = sumXL / sumL2
	}
	*integers = n
	best := float32(scale * sumXL)
	for k := -9; k <= 9; k++ {
		if k == 0 {
			continue
		}
		n, sumXL, sumL2 := try(-(32 + float32(float32(0.1)*float32(k))) / top)
		if sumL2 > 0 && float32(sumXL*sumXL) > float32(best*sumL2) {
			*integers, scale = n, sumXL/sumL2
			best = float32(scale * sumXL)
		}
	}
	return scale
}

func writeQ6_K(b []byte, x []float32) {
	clear(b)
	var scales [16]float32
	var integers [16][16]byte
	for j := range scales {
		scales[j] = fitSigned(&integers[j], x[16*j:][:16])
	}
	top := extreme(scales[:])
	if float32(math.Abs(float64(top))) < tiny {
		return
	}
	inverse := -128 / top
	putHalf(b[208:], 1/inverse)
	d := half(b[208:])
	for j := range scales {
		stored := int8(min(127, nearest(float32(inverse*scales[j]))))
		b[192+j] = byte(stored)
		scale := d * float32(stored)
		if scale == 0 {
			continue // keep the integers of the fit
		}
		for i, v := range x[16*j:][:16] {
			integers[j][i] = byte(clamp(nearest(v/scale), -32, 31) + 32)
		}
	}
	for i := range superBlock {
		t, part, l, n := i/128, i/32%4, i%32, integers[i/16][i%16]
		b[64*t+32*(part&1)+l] |= n & 15 << (4 * (part >> 1))
		b[128+32*t+l] |= n >> 4 << (2 * part)
	}
}
