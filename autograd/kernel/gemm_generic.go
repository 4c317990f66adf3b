package kernel

import (
	"math"
	"unsafe"
)

// The tiles and packing of the generic kernel set, in plain Go, with the same arguments as the assembly.

// packTransposedGo transposes: dst[l·ldd + r] = alpha·rows[r][l] for l < k, r < height ≤ 16. k runs along the rows of the
// source.
func packTransposedGo(k int, rows *[16]*float32, height int, alpha float32, dst *float32, ldd int) {
	d := unsafe.Slice(dst, (k-1)*ldd+height)
	for r := range height {
		src := unsafe.Slice(rows[r], k)
		for l, v := range src {
			d[l*ldd+r] = alpha * v
		}
	}
}

// transposeSquaresGo transposes: dst[l·ldd + r] = src[r·lds + l] for l < k, r < 16.
func transposeSquaresGo(k int, src *float32, lds int, dst *float32, ldd int) {
	s, d := unsafe.Slice(src, 15*lds+k), unsafe.Slice(dst, (k-1)*ldd+16)
	for l := range k {
		to := d[l*ldd:][:16]
		for r := range to {
			to[r] = s[r*lds+l]
		}
	}
}

// packStraightGo writes dst[l·ldd + r] = alpha·src[l·lds + r] for l < k, r < width ≤ 32: k runs down the source.
func packStraightGo(k int, src *float32, lds, width int, alpha float32, dst *float32, ldd int) {
	s, d := unsafe.Slice(src, (k-1)*lds+width), unsafe.Slice(dst, (k-1)*ldd+width)
	for l := range k {
		to := d[l*ldd:][:width]
		for r, v := range s[l*lds:][:width] {
			to[r] = alpha * v
		}
	}
}

// packPanelsGo writes dst[p·ldp + l·height + r] = alpha·src[l·lds + p·height + r] for p < n, l < k, r < height ≤ 16.
func packPanelsGo(k int, src *float32, lds, n, height int, alpha float32, dst *float32, ldp int) {
	s, d := unsafe.Slice(src, (k-1)*lds+n*height), unsafe.Slice(dst, (n-1)*ldp+k*height)
	for l := range k {
		for p := range n {
			to := d[p*ldp+l*height:][:height]
			for r, v := range s[l*lds+p*height:][:height] {
				to[r] = alpha * v
			}
		}
	}
}

// widenPairsGo writes the two bfloat16 values in each 32-bit word of src (k, words) as float32 to rows 2l and 2l+1 of
// dst (2k, words).
func widenPairsGo(k int, src *float32, words int, dst *float32) {
	s, d := unsafe.Slice((*uint32)(unsafe.Pointer(src)), k*words), unsafe.Slice(dst, 2*k*words)
	for l := range k {
		even, odd := d[2*l*words:][:words], d[(2*l+1)*words:][:words]
		for i, v := range s[l*words:][:words] {
			even[i] = math.Float32frombits(v << 16)
			odd[i] = math.Float32frombits(v &^ 0xffff)
		}
	}
}

// tileGo returns a tile of height 1 or 2. It computes four columns at a time, as many as fit in 16 registers.
func tileGo(height, width int) tileFunc {
	return func(k int, a, b *float32, ldb int, c *float32, ldc, add int, _ *float32, _ int) {
		as := unsafe.Slice(a, k*height)
		bs := unsafe.Slice(b, (k-1)*ldb+width)
		cs := unsafe.Slice(c, (height-1)*ldc+width)
		for j := 0; j < width; j += 4 {
			if height == 1 {
				s := strip1(as, bs[j:], ldb)
				storeStrip(cs[j:j+4], s, add)
				continue
			}
			s0, s1 := strip2(as, bs[j:], ldb)
			storeStrip(cs[j:j+4], s0, add)
			storeStrip(cs[ldc+j:ldc+j+4], s1, add)
		}
	}
}

func strip1(a, b []float32, ldb int) [4]float32 {
	var s0, s1, s2, s3 float32
	for l, v := range a {
		q := b[l*ldb : l*ldb+4 : l*ldb+4]
		s0 += v * q[0]
		s1 += v * q[1]
		s2 += v * q[2]
		s3 += v * q[3]
	}
	return [4]float32{s0, s1, s2, s3}
}

func strip2(a, b []float32, ldb int) (r0, r1 [4]float32) {
	var s0, s1, s2, s3, t0, t1, t2, t3 float32
	for o := 0; len(a) >= 2; o += ldb {
		q := b[o : o+4 : o+4]
		v, w := a[0], a[1]
		s0 += v * q[0]
		s1 += v * q[1]
		s2 += v * q[2]
		s3 += v * q[3]
		t0 += w * q[0]
		t1 += w * q[1]
		t2 += w * q[2]
		t3 += w * q[3]
		a = a[2:]
	}
	return [4]float32{s0, s1, s2, s3}, [4]float32{t0, t1, t2, t3}
}

func storeStrip(c []float32, s [4]float32, add int) {
	for i, v := range s {
		if add != 0 {
			v += c[i]
		}
		c[i] = v
	}
}
