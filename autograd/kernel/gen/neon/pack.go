package main

import (
	"fmt"
	"math"

	"mambatrain/autograd/kernel/gen/a64"
)

// transpose transposes the 4 × 4 words in r.
func transpose(f *a64.Func, r []a64.V) []a64.V {
	t, u := f.Row(4), f.Row(4)
	f.TRN1(t[0], r[0], r[1])
	f.TRN2(t[1], r[0], r[1])
	f.TRN1(t[2], r[2], r[3])
	f.TRN2(t[3], r[2], r[3])
	f.ZIP1D(u[0], t[0], t[2])
	f.ZIP1D(u[1], t[1], t[3])
	f.ZIP2D(u[2], t[0], t[2])
	f.ZIP2D(u[3], t[1], t[3])
	return u
}

// packTransposed emits dst[l·ldd + r] = alpha·rows[r][l] for l < k, r < mr ≤ 16, k a multiple of 4. In bfloat16, k is a multiple of 8 and
// dst[(l/2)·ldd + r] contains elements l and l+1. All pointers up to a multiple of 4 rows must be valid.
func packTransposed(file *a64.File, name string, bf16 bool) {
	f := file.Func(name, "func(k int, rows *[16]*float32, mr int, alpha float32, dst *float32, ldd int)")
	k, rows, mr := f.Param("k"), f.Param("rows"), f.Param("mr")
	dst, ldd := f.Param("dst"), f.Param("ldd")
	alpha, bits, one := f.ParamV("alpha"), f.ParamBits("alpha"), f.X()
	f.MOVI(one, int(math.Float32bits(1)))
	f.LSLI(ldd, ldd, 2)
	n, to := f.X(), f.X()
	var p [4]a64.X
	for i := range p {
		p[i] = f.X()
	}
	step := 4
	if bf16 {
		step = 8
	}
	block := func(width int, scaled bool) {
		r := f.Row(4)
		for i := range r {
			if bf16 {
				roundEight(f, r[i], p[i], alpha)
				continue
			}
			f.LDpost(r[i], p[i], 16)
			if scaled {
				f.FMUL(r[i], r[i], alpha)
			}
		}
		for _, v := range transpose(f, r) {
			switch width {
			case 4:
				f.STpostX(v, to, ldd)
				continue
			case 3:
				f.STD(v, to, 0)
				t := f.X()
				f.ADDI(t, to, 8)
				f.STlane(v, 2, t)
			case 2:
				f.STD(v, to, 0)
			default:
				f.STS(v, to, 0)
			}
			f.ADD(to, to, ldd)
		}
	}
	f.Label("group")
	for i := range p {
		f.LDX(p[i], rows, 8*i)
	}
	f.MOV(to, dst)
	f.MOV(n, k)
	for w := 1; w <= 3; w++ {
		f.CMPI(mr, w)
		f.Bcond("EQ", fmt.Sprint("narrow", w))
	}
	if !bf16 {
		f.CMP(bits, one)
		f.Bcond("EQ", "copy")
	}
	f.Label("wide")
	block(4, true)
	f.SUBS(n, n, step)
	f.Bcond("GT", "wide")
	if !bf16 {
		f.B("next")
		f.Label("copy")
		block(4, false)
		f.SUBS(n, n, step)
		f.Bcond("GT", "copy")
		f.Label("next")
	}
	f.ADDI(rows, rows, 32)
	f.ADDI(dst, dst, 16)
	f.SUBS(mr, mr, 4)
	f.Bcond("GT", "group")
	f.RET()
	for w := 1; w <= 3; w++ {
		l := fmt.Sprint("narrow", w)
		f.Label(l)
		block(w, true)
		f.SUBS(n, n, step)
		f.Bcond("GT", l)
		f.RET()
	}
}

// roundEight loads eight elements, moves p past them, and rounds them times alpha to bfloat16.
func roundEight(f *a64.Func, d a64.V, p a64.X, alpha a64.V) {
	lo, hi := f.V(), f.V()
	f.LDpost(lo, p, 16)
	f.LDpost(hi, p, 16)
	f.FMUL(lo, lo, alpha)
	f.FMUL(hi, hi, alpha)
	f.BFCVTN(d, lo)
	f.BFCVTN2(d, hi)
}

// packQuads emits the packing for tiles of quads: mr and k are multiples of 4 and 8, and elements l to l+3 of a row, l a multiple
// of 4, are contiguous; those of row r start at word l/2·mr + 2·r of dst.
func packQuads(file *a64.File) {
	f := file.Func("packQuadsBFCvt", "func(k int, rows *[16]*float32, mr int, alpha float32, dst *float32)")
	k, rows, mr, dst := f.Param("k"), f.Param("rows"), f.Param("mr"), f.Param("dst")
	alpha := f.ParamV("alpha")
	ldd, n, to := f.X(), f.X(), f.X()
	f.LSLI(ldd, mr, 3)
	var p [4]a64.X
	for i := range p {
		p[i] = f.X()
	}
	f.Label("group")
	for i := range p {
		f.LDX(p[i], rows, 8*i)
	}
	f.MOV(to, dst)
	f.MOV(n, k)
	f.Label("loop")
	r, v := f.Row(4), f.Row(4)
	for i := range r {
		roundEight(f, r[i], p[i], alpha)
	}
	for i := 0; i < 4; i += 2 {
		f.ZIP1D(v[i/2], r[i], r[i+1])
		f.ZIP2D(v[2+i/2], r[i], r[i+1])
	}
	for i := 0; i < 4; i += 2 {
		f.STP(v[i], v[i+1], to, 0)
		f.ADD(to, to, ldd)
	}
	f.SUBS(n, n, 8)
	f.Bcond("GT", "loop")
	f.ADDI(rows, rows, 32)
	f.ADDI(dst, dst, 32)
	f.SUBS(mr, mr, 4)
	f.Bcond("GT", "group")
	f.RET()
}

// transposeSquares emits dst[l·ldd + r] = src[r·lds + l] for l < k, r < 16, k a multiple of 8.
func transposeSquares(file *a64.File) {
	f := file.Func("transposeSquaresNeon", "func(k int, src *float32, lds int, dst *float32, ldd int)")
	k, src, lds, dst, ldd := f.Param("k"), f.Param("src"), f.Param("lds"), f.Param("dst"), f.Param("ldd")
	f.LSLI(lds, lds, 2)
	f.LSLI(ldd, ldd, 2)
	n, to, groups := f.X(), f.X(), f.X()
	var p [4]a64.X
	f.MOVI(groups, 4)
	f.Label("group")
	for i := range p {
		p[i] = f.X()
		f.MOV(p[i], src)
		f.ADD(src, src, lds)
	}
	f.MOV(to, dst)
	f.MOV(n, k)
	f.Label("loop")
	near, far := f.Row(4), f.Row(4)
	for i := range p {
		f.LDPpost(near[i], far[i], p[i], 32)
	}
	for _, r := range [][]a64.V{near, far} {
		for _, v := range transpose(f, r) {
			f.STpostX(v, to, ldd)
		}
	}
	f.SUBS(n, n, 8)
	f.Bcond("GT", "loop")
	f.ADDI(dst, dst, 16)
	f.SUBI(groups, groups, 1)
	f.CBNZ(groups, "group")
	f.RET()
}

// packStraight emits dst[l·ldd + r] = alpha·src[l·lds + r] for l < k, r < w.
func packStraight(file *a64.File) {
	f := file.Func("packStraightNeon", "func(k int, src *float32, lds, w int, alpha float32, dst *float32, ldd int)")
	k, src, lds, w := f.Param("k"), f.Param("src"), f.Param("lds"), f.Param("w")
	dst, ldd := f.Param("dst"), f.Param("ldd")
	alpha := f.ParamV("alpha")
	f.LSLI(lds, lds, 2)
	f.LSLI(ldd, ldd, 2)
	from, to, n, v := f.X(), f.X(), f.X(), f.V()
	f.Label("row")
	f.MOV(from, src)
	f.MOV(to, dst)
	copyRow(f, from, to, w, n, v, alpha)
	f.ADD(src, src, lds)
	f.ADD(dst, dst, ldd)
	f.SUBI(k, k, 1)
	f.CBNZ(k, "row")
	f.RET()
}

// copyRow emits a copy of w elements, multiplied by alpha, and advances both pointers past them.
func copyRow(f *a64.Func, from, to, w, n a64.X, v, alpha a64.V) {
	f.SUBS(n, w, 4)
	f.Bcond("LT", "few")
	f.Label("vector")
	f.LDpost(v, from, 16)
	f.FMUL(v, v, alpha)
	f.STpost(v, to, 16)
	f.SUBS(n, n, 4)
	f.Bcond("GE", "vector")
	f.Label("few")
	f.ADDS(n, n, 4)
	f.Bcond("EQ", "end")
	f.Label("one")
	f.LDS(v, from, 0)
	f.FMUL(v, v, alpha)
	f.STS(v, to, 0)
	f.ADDI(from, from, 4)
	f.ADDI(to, to, 4)
	f.SUBI(n, n, 1)
	f.CBNZ(n, "one")
	f.Label("end")
}

// packPanels emits, for each of n adjacent panels p, dst[p·ldp + l·mr + r] = alpha·src[l·lds + p·mr + r] for l < k, r < mr.
func packPanels(file *a64.File) {
	f := file.Func("packPanelsNeon", "func(k int, src *float32, lds, n, mr int, alpha float32, dst *float32, ldp int)")
	k, src, lds, n, mr := f.Param("k"), f.Param("src"), f.Param("lds"), f.Param("n"), f.Param("mr")
	dst, ldp := f.Param("dst"), f.Param("ldp")
	alpha := f.ParamV("alpha")
	f.LSLI(lds, lds, 2)
	f.LSLI(ldp, ldp, 2)
	from, to, at, left, m, v := f.X(), f.X(), f.X(), f.X(), f.X(), f.V()
	f.Label("row")
	f.MOV(from, src)
	f.MOV(at, dst)
	f.MOV(left, n)
	f.Label("panel")
	f.MOV(to, at)
	copyRow(f, from, to, mr, m, v, alpha)
	f.ADD(at, at, ldp)
	f.SUBI(left, left, 1)
	f.CBNZ(left, "panel")
	f.ADD(src, src, lds)
	f.LSLI(m, mr, 2)
	f.ADD(dst, dst, m)
	f.SUBI(k, k, 1)
	f.CBNZ(k, "row")
	f.RET()
}

// packPairsTransposed emits the transpose of 32 outputs × 32 inputs of a packed bfloat16 block, as gen/gemm describes it. k outputs, a
// multiple of 4, are transposed.
func packPairsTransposed(file *a64.File) {
	f := file.Func("packPairsTransposedNeon", "func(k int, src *float32, lds int, dst *float32)")
	k, src, lds, dst := f.Param("k"), f.Param("src"), f.Param("lds"), f.Param("dst")
	f.LSLI(lds, lds, 2)
	p := f.X()
	f.Label("loop")
	f.MOV(p, src)
	for i := 0; i < 16; i += 4 { // rows of src, two inputs each
		r := f.Row(4)
		for _, v := range r {
			f.LD(v, p, 0)
			f.ADD(p, p, lds)
		}
		r = transpose(f, r)
		for o := 0; o < 4; o += 2 {
			lo, hi := f.V(), f.V()
			f.ZIP1H(lo, r[o], r[o+1])
			f.ZIP2H(hi, r[o], r[o+1])
			f.STP(lo, hi, dst, 8*i+64*o)
		}
	}
	f.ADDI(src, src, 16)
	f.ADDI(dst, dst, 256)
	f.SUBS(k, k, 4)
	f.Bcond("GT", "loop")
	f.RET()
}

// widenPairs emits dst[2l][w], dst[2l+1][w] = the two float32 halves of src[l][w], for k rows of w words, w a multiple of 4.
func widenPairs(file *a64.File) {
	f := file.Func("widenPairsNeon", "func(k int, src *float32, w int, dst *float32)")
	k, src, w, dst := f.Param("k"), f.Param("src"), f.Param("w"), f.Param("dst")
	odd, n, x, y := f.X(), f.X(), f.V(), f.V()
	f.Label("row")
	f.LSLI(odd, w, 2)
	f.ADD(odd, dst, odd)
	f.MOV(n, w)
	f.Label("vector")
	f.LDpost(x, src, 16)
	f.SHL(y, x, 16)
	f.SSHR(x, x, 16)
	f.SHL(x, x, 16)
	f.STpost(y, dst, 16)
	f.STpost(x, odd, 16)
	f.SUBS(n, n, 4)
	f.Bcond("GT", "vector")
	f.MOV(dst, odd)
	f.SUBI(k, k, 1)
	f.CBNZ(k, "row")
	f.RET()
}
