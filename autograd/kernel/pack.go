package kernel

import (
	"math"
	"unsafe"
)

// pack writes n panels of height rows, the first of which is row r of A, over steps [k0, k0+kc) to dst, each as [kc][height].
func (a *left) pack(dst []float32, r, n, height, k0, kc int) {
	if a.turned {
		packPanels(kc, &a.mat.Data[k0*a.mat.Stride+r], a.mat.Stride, n, height, a.alpha, &dst[0], kc*height)
		return
	}
	for i := range n {
		packAlong(a, dst[i*kc*height:], r+i*height, height, k0, kc)
	}
}

// packAlong packs rows that run along k.
func packAlong(a *left, dst []float32, r, height, k0, kc int) {
	if a.bf16 {
		rows := rowPointers(a.mat, r, height, 2*k0)
		packTurned16(min(2*kc, a.mat.Cols-2*k0), &rows, height, a.alpha, &dst[0], height)
		return
	}
	rows := rowPointers(a.mat, r, height, k0)
	packTurned(kc, &rows, height, a.alpha, &dst[0], height)
}

// rowPointers returns the addresses of element col of rows r … r+height−1; the rest repeats the last.
func rowPointers(m Mat[float32], r, height, col int) (rows [16]*float32) {
	for i := range rows {
		rows[i] = &m.Data[(r+min(i, height-1))*m.Stride+col]
	}
	return rows
}

// plainRight is B (k, n) as it lies in memory.
type plainRight struct{ mat Mat[float32] }

func (b plainRight) packs() bool { return true }

func (b plainRight) panel(scratch []float32, j, k0, kc int) (*float32, int) {
	width := min(panel, b.mat.Cols-j*panel)
	packStraight(kc, &b.mat.Data[k0*b.mat.Stride+j*panel], b.mat.Stride, width, 1, &scratch[0], panel)
	return &scratch[0], panel
}

func (b plainRight) upcoming(j, k0, kc, i, n int) (*float32, int) {
	return upcomingRow(b.mat, k0+kc*i/n, j*panel)
}

// upcomingRow points at 32 columns of one row: strided panels are left to the packing's own prefetch.
func upcomingRow(m Mat[float32], row, col int) (*float32, int) {
	return &m.Data[row*m.Stride+min(col, m.Cols-1)], 4 * panel
}

// directRight is plainRight without packing, for products with so few rows that each panel is read but a few times.
// Its last columns must not need more than there are: it is for n a multiple of 16.
type directRight struct{ mat Mat[float32] }

func (b directRight) packs() bool { return false }

func (b directRight) panel(_ []float32, j, k0, kc int) (*float32, int) {
	return &b.mat.Data[k0*b.mat.Stride+j*panel], b.mat.Stride
}

func (b directRight) upcoming(j, k0, kc, i, n int) (*float32, int) {
	return &b.mat.Data[k0*b.mat.Stride+j*panel], 4 * b.mat.Stride * kc
}

// turnedRight is B (k, n) given as its transpose (n, k).
type turnedRight struct{ mat Mat[float32] }

func (b turnedRight) packs() bool { return true }

func (b turnedRight) panel(scratch []float32, j, k0, kc int) (*float32, int) {
	for c := 0; c < panel && j*panel+c < b.mat.Rows; c += 16 {
		row := j*panel + c
		if kc%16 == 0 && b.mat.Rows-row >= 16 {
			turnSquares(kc, &b.mat.Data[row*b.mat.Stride+k0], b.mat.Stride, &scratch[c], panel)
			continue
		}
		rows := rowPointers(b.mat, row, min(16, b.mat.Rows-row), k0)
		packTurned(kc, &rows, 16, 1, &scratch[c], panel)
	}
	return &scratch[0], panel
}

func (b turnedRight) upcoming(j, k0, kc, i, n int) (*float32, int) {
	row := j*panel + panel*i/n
	return &b.mat.Data[min(row, b.mat.Rows-1)*b.mat.Stride+k0], 4 * kc
}

// shareable is a B that is packed once for all if A is high: it would be packed again for each band of A's rows.
type shareable interface {
	right
	shareable()
}

func (plainRight) shareable()  {}
func (turnedRight) shareable() {}

// prepack builds all panels of b (k, n), one behind the other.
func prepack(b right, k, n int) *buffer {
	buf := borrow((n + panel - 1) / panel * panel * k)
	blocks := (k + kBlock - 1) / kBlock
	Run((n+panel-1)/panel*blocks, func(t int) {
		j, k0 := t/blocks, t%blocks*kBlock
		b.panel(buf.data[(j*k+k0)*panel:], j, k0, min(kBlock, k-k0))
	})
	return buf
}

// prepacked is what prepack leaves, k steps deep.
type prepacked struct {
	data []float32
	k    int
}

func (prepacked) packs() bool { return false }

func (b prepacked) panel(_ []float32, j, k0, _ int) (*float32, int) {
	return &b.data[(j*b.k+k0)*panel], panel
}

func (b prepacked) upcoming(j, k0, kc, i, n int) (*float32, int) {
	part := (kc*panel + n - 1) / n
	return &b.data[min((j*b.k+k0)*panel+i*part, len(b.data)-1)], 4 * part
}

// packTurnedGo writes dst[l·ldd + r] = alpha·rows[r][l] for l < k, r < height ≤ 16: k runs along the rows of the source.
func packTurnedGo(k int, rows *[16]*float32, height int, alpha float32, dst *float32, ldd int) {
	d := unsafe.Slice(dst, (k-1)*ldd+height)
	for r := range height {
		src := unsafe.Slice(rows[r], k)
		for l, v := range src {
			d[l*ldd+r] = alpha * v
		}
	}
}

// turnSquaresGo writes dst[l·ldd + r] = src[r·lds + l] for l < k, r < 16.
func turnSquaresGo(k int, src *float32, lds int, dst *float32, ldd int) {
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

// widenPairsGo writes the two float32 that each 32-bit word of src (k, words) holds to rows 2l and 2l+1 of dst (2k, words).
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

// tileGo returns the plain form of a tile of height 1 or 2, four columns at a time: what fits in 16 registers.
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
