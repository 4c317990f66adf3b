package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mambatrain/autograd/kernel/gen/asm"
)

// packTransposed emits dst[l·ldd + r] = alpha·rows[r][l] for l < k, r < mr ≤ 16, a transpose: k runs along the rows of the source. All 16
// pointers in rows must be valid; the elements behind those from mr on are read and ignored.
func packTransposed() {
	TEXT("packTransposed512", NOSPLIT, "func(k int, rows *[16]*float32, mr int, alpha float32, dst *float32, ldd int)")
	Pragma("noescape")
	k := Load(Param("k"), GP64())
	rows := Load(Param("rows"), GP64())
	mask := asm.LowMask(Load(Param("mr"), GP64()))
	alpha := ZMM()
	VBROADCASTSS(NewParamAddr("alpha", 24), alpha)
	dst := Load(Param("dst"), GP64())
	ldd := Load(Param("ldd"), GP64())
	SHLQ(U8(2), ldd)
	off := GP64()
	XORQ(off, off)
	var r, t [16]reg.Register
	for i := range r {
		r[i], t[i] = ZMM(), ZMM()
	}
	Label("loop")
	in := asm.LowMask(k)
	for i := range r {
		p := GP64()
		MOVQ(Mem{Base: rows, Disp: 8 * i}, p)
		VMOVUPS_Z(Mem{Base: p, Index: off, Scale: 1}, in, r[i])
		VMULPS(alpha, r[i], r[i])
	}
	asm.Transpose16(r, t)
	storeColumns(r, mask, k, dst, ldd)
	ADDQ(U8(64), off)
	SUBQ(U8(16), k)
	JGT(LabelRef("loop"))
	Label("done")
	VZEROUPPER()
	RET()
}

// packTransposedNarrow emits packTransposed for eight rows, without edges: k is a multiple of 8, and eight elements are stored at
// each dst[l·ldd], whatever the height.
func packTransposedNarrow() {
	TEXT("packTransposed256", NOSPLIT, "func(k int, rows *[8]*float32, alpha float32, dst *float32, ldd int)")
	Pragma("noescape")
	k := Load(Param("k"), GP64())
	rows := Load(Param("rows"), GP64())
	dst := Load(Param("dst"), GP64())
	ldd := Load(Param("ldd"), GP64())
	SHLQ(U8(2), ldd)
	off := GP64()
	XORQ(off, off)
	var r, t [8]reg.Register
	for i := range r {
		r[i], t[i] = YMM(), YMM()
	}
	Label("loop")
	VBROADCASTSS(NewParamAddr("alpha", 16), t[0])
	for i := range r {
		p := GP64()
		MOVQ(Mem{Base: rows, Disp: 8 * i}, p)
		VMULPS(Mem{Base: p, Index: off, Scale: 1}, t[0], r[i])
	}
	asm.Transpose8(r, t)
	for c := range r {
		VMOVUPS(r[c], Mem{Base: dst})
		ADDQ(ldd, dst)
	}
	ADDQ(U8(32), off)
	SUBQ(U8(8), k)
	JGT(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// transposeSquares emits dst[l·ldd + r] = src[r·lds + l] for l < k, r < 16, k a multiple of 16: packTransposed
// without edges, for weights.
func transposeSquares() {
	TEXT("transposeSquares512", NOSPLIT, "func(k int, src *float32, lds int, dst *float32, ldd int)")
	Pragma("noescape")
	k := Load(Param("k"), GP64())
	src := Load(Param("src"), GP64())
	lds := Load(Param("lds"), GP64())
	dst := Load(Param("dst"), GP64())
	ldd := Load(Param("ldd"), GP64())
	SHLQ(U8(2), lds)
	SHLQ(U8(2), ldd)
	lds3, ldd3 := GP64(), GP64()
	LEAQ(Mem{Base: lds, Index: lds, Scale: 2}, lds3)
	LEAQ(Mem{Base: ldd, Index: ldd, Scale: 2}, ldd3)
	var r, t [16]reg.Register
	for i := range r {
		r[i], t[i] = ZMM(), ZMM()
	}
	p := GP64()
	each := func(base, ld, ld3 reg.Register, f func(i int, m Mem)) {
		for i := 0; i < 16; i += 4 {
			f(i, Mem{Base: base})
			f(i+1, Mem{Base: base, Index: ld, Scale: 1})
			f(i+2, Mem{Base: base, Index: ld, Scale: 2})
			f(i+3, Mem{Base: base, Index: ld3, Scale: 1})
			LEAQ(Mem{Base: base, Index: ld, Scale: 4}, base)
		}
	}
	Label("loop")
	MOVQ(src, p)
	each(p, lds, lds3, func(i int, m Mem) { VMOVUPS(m, r[i]) })
	asm.Transpose16(r, t)
	each(dst, ldd, ldd3, func(i int, m Mem) { VMOVUPS(r[i], m) })
	ADDQ(U8(64), src)
	SUBQ(U8(16), k)
	JGT(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// storeColumns stores the 16 vectors under the mask, ldd bytes apart, and jumps to "done" after the k-th.
func storeColumns(r [16]reg.Register, mask, k, dst, ldd reg.Register) {
	for c := range r {
		VMOVUPS(r[c], mask, Mem{Base: dst})
		ADDQ(ldd, dst)
		if c < 15 {
			CMPQ(k, U8(c+1))
			JEQ(LabelRef("done"))
		}
	}
}

// packTransposedBF16 is packTransposed with pairs along k rounded to bfloat16: dst[(l/2)·ldd + r] has elements l and l+1.
func packTransposedBF16() {
	TEXT("packTransposedBF16", NOSPLIT, "func(k int, rows *[16]*float32, mr int, alpha float32, dst *float32, ldd int)")
	Pragma("noescape")
	k := Load(Param("k"), GP64())
	rows := Load(Param("rows"), GP64())
	mask := asm.LowMask(Load(Param("mr"), GP64()))
	dst := Load(Param("dst"), GP64())
	ldd := Load(Param("ldd"), GP64())
	SHLQ(U8(2), ldd)
	off := GP64()
	XORQ(off, off)
	var r, t [16]reg.Register
	for i := range r {
		r[i], t[i] = asm.Z[i], asm.Z[16+i]
	}
	words := GP64()
	Label("loop")
	VBROADCASTSS(NewParamAddr("alpha", 24), asm.Z[31])
	lo := asm.LowMask(k)
	over := GP64()
	zero := GP64()
	XORQ(zero, zero)
	MOVQ(k, over)
	SUBQ(U8(16), over)
	CMOVQLT(zero, over)
	hi := asm.LowMask(over)
	for i := range r {
		p := GP64()
		MOVQ(Mem{Base: rows, Disp: 8 * i}, p)
		VMOVUPS_Z(Mem{Base: p, Index: off, Scale: 1}, lo, asm.Z[16])
		VMOVUPS_Z(Mem{Base: p, Index: off, Scale: 1, Disp: 64}, hi, asm.Z[17])
		VMULPS(asm.Z[31], asm.Z[16], asm.Z[16])
		VMULPS(asm.Z[31], asm.Z[17], asm.Z[17])
		asm.VCVTNE2PS2BF16(16, 17, i)
	}
	asm.Transpose16(r, t)
	MOVQ(k, words)
	INCQ(words)
	SHRQ(U8(1), words)
	storeColumns(r, mask, words, dst, ldd)
	ADDQ(U8(128), off)
	SUBQ(U8(32), k)
	JGT(LabelRef("loop"))
	Label("done")
	VZEROUPPER()
	RET()
}

// packStraight emits dst[l·ldd + r] = alpha·src[l·lds + r] for l < k, r < w ≤ 32: k runs down the source.
func packStraight() {
	TEXT("packStraight512", NOSPLIT, "func(k int, src *float32, lds, w int, alpha float32, dst *float32, ldd int)")
	Pragma("noescape")
	k := Load(Param("k"), GP64())
	src := Load(Param("src"), GP64())
	lds := Load(Param("lds"), GP64())
	w := Load(Param("w"), GP64())
	SHLQ(U8(2), lds)
	alpha := ZMM()
	VBROADCASTSS(NewParamAddr("alpha", 32), alpha)
	dst := Load(Param("dst"), GP64())
	ldd := Load(Param("ldd"), GP64())
	SHLQ(U8(2), ldd)
	far := GP64()
	LEAQ(Mem{Base: lds, Index: lds, Scale: 2}, far)
	SHLQ(U8(2), far) // twelve rows

	rows := straightRows{k, src, lds, far, alpha, dst, ldd}
	CMPQ(w, U8(16))
	JEQ(LabelRef("one"))
	JLT(LabelRef("less"))
	CMPQ(w, U8(32))
	JEQ(LabelRef("two"))
	SUBQ(U8(16), w)
	m := asm.LowMask(w)
	rows.copy("more", 2, m)
	Label("two")
	rows.copy("twoRows", 2, nil)
	Label("less")
	m = asm.LowMask(w)
	rows.copy("lessRows", 1, m)
	Label("one")
	rows.copy("oneRows", 1, nil)
}

// straightRows are the registers of packStraight's loop.
type straightRows struct{ k, src, lds, far, alpha, dst, ldd reg.Register }

// copy emits the loop for n vectors, the last under the mask if there is one, and returns. The data after the row's piece is likely to be
// needed next, so it is prefetched, as are later rows.
func (s straightRows) copy(label string, n int, mask reg.Register) {
	Label(label)
	for i := 0; i < n; i++ {
		x := ZMM()
		from, to := Mem{Base: s.src, Disp: 64 * i}, Mem{Base: s.dst, Disp: 64 * i}
		PREFETCHT0(Mem{Base: s.src, Index: s.far, Scale: 1, Disp: 64 * i})
		if mask != nil && i == n-1 {
			VMOVUPS_Z(from, mask, x)
			VMULPS(s.alpha, x, x)
			VMOVUPS(x, mask, to)
		} else {
			VMULPS(from, s.alpha, x)
			VMOVUPS(x, to)
		}
	}
	PREFETCHT0(Mem{Base: s.src, Disp: 64 * n})
	ADDQ(s.lds, s.src)
	ADDQ(s.ldd, s.dst)
	DECQ(s.k)
	JNZ(LabelRef(label))
	VZEROUPPER()
	RET()
}

// packPanels emits, for each of n adjacent panels p, dst[p·ldp + l·mr + r] = alpha·src[l·lds + p·mr + r] for l < k, r < mr. All panels are
// written row by row, so that no row of src is fetched twice. With AVX-512 mr is up to 16. With AVX2 there are no edges: eight elements are
// read and stored for each row, whatever the height.
func packPanels(v asm.ISA) {
	TEXT("packPanels"+v.Suffix, NOSPLIT, "func(k int, src *float32, lds, n, mr int, alpha float32, dst *float32, ldp int)")
	Pragma("noescape")
	k := Load(Param("k"), GP64())
	src := Load(Param("src"), GP64())
	lds := Load(Param("lds"), GP64())
	n := Load(Param("n"), GP64())
	mr := Load(Param("mr"), GP64())
	alpha := v.Vec()
	VBROADCASTSS(NewParamAddr("alpha", 40), alpha)
	dst := Load(Param("dst"), GP64())
	ldp := Load(Param("ldp"), GP64())
	move := func(from, to Mem, x reg.Register) {
		VMULPS(from, alpha, x)
		VMOVUPS(x, to)
	}
	if v.Bytes == 64 {
		mask := asm.LowMask(mr)
		move = func(from, to Mem, x reg.Register) {
			VMOVUPS_Z(from, mask, x)
			VMULPS(alpha, x, x)
			VMOVUPS(x, mask, to)
		}
	}
	for _, r := range []reg.Register{lds, mr, ldp} {
		SHLQ(U8(2), r)
	}
	from, to, left := GP64(), GP64(), GP64()
	Label("row")
	MOVQ(src, from)
	MOVQ(dst, to)
	MOVQ(n, left)
	Label("panel")
	move(Mem{Base: from}, Mem{Base: to}, v.Vec())
	ADDQ(mr, from)
	ADDQ(ldp, to)
	DECQ(left)
	JNZ(LabelRef("panel"))
	ADDQ(lds, src)
	ADDQ(mr, dst)
	DECQ(k)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// packStraightNarrow emits packStraight for a width that is a multiple of 8.
func packStraightNarrow() {
	TEXT("packStraight256", NOSPLIT, "func(k int, src *float32, lds, w int, alpha float32, dst *float32, ldd int)")
	Pragma("noescape")
	k := Load(Param("k"), GP64())
	src := Load(Param("src"), GP64())
	lds := Load(Param("lds"), GP64())
	w := Load(Param("w"), GP64())
	alpha := YMM()
	VBROADCASTSS(NewParamAddr("alpha", 32), alpha)
	dst := Load(Param("dst"), GP64())
	ldd := Load(Param("ldd"), GP64())
	for _, r := range []reg.Register{lds, w, ldd} {
		SHLQ(U8(2), r)
	}
	off := GP64()
	Label("row")
	XORQ(off, off)
	Label("vector")
	x := YMM()
	VMULPS(Mem{Base: src, Index: off, Scale: 1}, alpha, x)
	VMOVUPS(x, Mem{Base: dst, Index: off, Scale: 1})
	ADDQ(U8(32), off)
	CMPQ(off, w)
	JLT(LabelRef("vector"))
	ADDQ(lds, src)
	ADDQ(ldd, dst)
	DECQ(k)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// packPairsTransposed emits the transpose of 32 outputs × 32 inputs of a packed bfloat16 block: src has 16 rows of lds words,
// row i the inputs 2i and 2i+1 of each output; dst gets rows of 32 words, row o the outputs 2o and 2o+1 of each input.
// k outputs, a multiple of 16, are transposed.
func packPairsTransposed() {
	TEXT("packPairsTransposed", NOSPLIT, "func(k int, src *float32, lds int, dst *float32)")
	Pragma("noescape")
	k := Load(Param("k"), GP64())
	src := Load(Param("src"), GP64())
	lds := Load(Param("lds"), GP64())
	dst := Load(Param("dst"), GP64())
	SHLQ(U8(2), lds)
	var r, t [16]reg.Register
	for i := range r {
		r[i], t[i] = ZMM(), ZMM()
	}
	// Unpacking words works within 128 bits. Rows are loaded in the order that makes inputs ascend afterwards.
	lane := [16]int{0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15}
	Label("loop")
	p := GP64()
	MOVQ(src, p)
	for i := range r {
		VMOVUPS(Mem{Base: p}, r[lane[i]])
		if i < 15 {
			ADDQ(lds, p)
		}
	}
	asm.Transpose16(r, t)
	for o := 0; o < 16; o += 2 {
		lo, hi := ZMM(), ZMM()
		VPUNPCKLWD(r[o+1], r[o], lo)
		VPUNPCKHWD(r[o+1], r[o], hi)
		VMOVUPS(lo, Mem{Base: dst, Disp: 64 * o})
		VMOVUPS(hi, Mem{Base: dst, Disp: 64*o + 64})
	}
	ADDQ(U8(64), src)
	ADDQ(U32(1024), dst)
	SUBQ(U8(16), k)
	JGT(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// widenPairs emits dst[2l][w], dst[2l+1][w] = the two float32 halves of src[l][w], w = 16·nv words, for k rows of words.
func widenPairs(v asm.ISA) {
	TEXT("widenPairs"+v.Suffix, NOSPLIT, "func(k int, src *float32, w int, dst *float32)")
	Pragma("noescape")
	k := Load(Param("k"), GP64())
	src := Load(Param("src"), GP64())
	w := Load(Param("w"), GP64())
	dst := Load(Param("dst"), GP64())
	odd := GP64()
	SHLQ(U8(2), w)
	mask := v.Vec()
	if v.Bytes == 64 {
		VPTERNLOGD(U8(0xff), mask, mask, mask)
	} else {
		VPCMPEQD(mask, mask, mask)
	}
	VPSLLD(U8(16), mask, mask)
	off := GP64()
	Label("row")
	LEAQ(Mem{Base: dst, Index: w, Scale: 1}, odd)
	XORQ(off, off)
	Label("vector")
	x, y := v.Vec(), v.Vec()
	VMOVUPS(Mem{Base: src, Index: off, Scale: 1}, x)
	VPSLLD(U8(16), x, y)
	if v.Bytes == 64 {
		VPANDD(mask, x, x)
	} else {
		VPAND(mask, x, x)
	}
	VMOVUPS(y, Mem{Base: dst, Index: off, Scale: 1})
	VMOVUPS(x, Mem{Base: odd, Index: off, Scale: 1})
	ADDQ(U8(v.Bytes), off)
	CMPQ(off, w)
	JLT(LabelRef("vector"))
	ADDQ(w, src)
	LEAQ(Mem{Base: odd, Index: w, Scale: 1}, dst)
	DECQ(k)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}
