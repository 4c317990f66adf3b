// Command ssd writes the inner loops of Mamba-2 that are not matrix products: the decays between the rows of a chunk, loops over
// rows with a factor for each row, one step of the recurrence, and the gradient of the gated norm. The plain loops are in
// ssd_rows_ref.go, ssd_ref.go, and gatednorm_ref.go.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mambatrain/autograd/kernel/gen/asm"
)

// blockBytes is the size of a block of 16 float32. Loops advance by a block, whatever the width of a vector.
const blockBytes = 64

func main() {
	ConstraintExpr("amd64")
	for _, v := range []asm.ISA{asm.AVX512, asm.AVX2} {
		decay(v)
		decayGrad(v)
		scaleRows(v, "ssdScaleRows", false)
		scaleRows(v, "ssdAddRows", true)
		dotRows(v)
		step(v)
		gatedSums(v)
		gatedGrad(v)
	}
	Generate()
}

func load(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }

// broadcast returns a vector filled with the scalar argument called name.
func broadcast(v asm.ISA, name string) reg.VecVirtual {
	a, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	r := v.Vec()
	VBROADCASTSS(a.Addr, r)
	return r
}

// splat returns a vector filled with the float32 at m.
func splat(v asm.ISA, m Mem) reg.VecVirtual {
	r := v.Vec()
	VBROADCASTSS(m, r)
	return r
}

// ones is a table: a vector loaded from 4·(16−c) bytes into it has all bits set in its first c lanes and none in the others.
var ones Mem

func table() Mem {
	if ones.Base == nil {
		ones = GLOBL("ssdOnes", RODATA|NOPTR)
		for i := 0; i < 48; i++ {
			bits := U32(0)
			if i < 16 {
				bits = U32(0xffffffff)
			}
			DATA(4*i, bits)
		}
	}
	return ones
}

// least is the smallest exponent of a decay, and half of it the smallest of each of two factors. A decay of 2^least is negligible next to
// the 1 on the diagonal, and smaller ones would produce denormal numbers, which are slow on some processors.
const least = -100

// triangle is a loop over the columns j ≤ i of a row i; both are in bytes. The decay from column j to row i is 2^(s_i − s_j), with
// s = hi + lo. Left of the block that contains the diagonal, whose first column is b, it is computed as the product of
// 2^(s_i − s_{b−1}), one number for the row, and 2^(s_{b−1} − s_j), which is the same for all rows of the block: right contains it.
type triangle struct {
	asm.ISA
	hi, lo, right reg.GPVirtual
	i, j, mask    reg.GPVirtual
}

// and clears the lanes of x that are beyond the diagonal; strict clears the diagonal too.
func (t triangle) and(x reg.VecVirtual, vector int, strict bool) {
	disp := vector * t.Bytes
	if strict {
		disp += 4
	}
	m := Mem{Base: t.mask, Disp: disp}
	if t.Bytes == 64 {
		VPANDD(m, x, x)
	} else {
		VPAND(m, x, x)
	}
}

// columns emits far for each vector left of the diagonal's block, with the row's factor, and near for each vector of the block,
// with the decays.
func (t triangle) columns(far func(vector int, left reg.VecVirtual), near func(vector int, decay reg.VecVirtual)) {
	end := t.mask
	MOVQ(t.i, end)
	XORQ(t.j, t.j)
	ANDQ(I8(-blockBytes), end)
	JZ(LabelRef("near"))
	corner := Mem{Base: t.hi, Index: end, Scale: 1, Disp: -4}
	left := t.between(t.row(t.hi), t.row(t.lo), splat(t.ISA, corner), splat(t.ISA, t.based(corner, t.lo)), least/2)
	Label("far")
	for k := 0; k < blockBytes/t.Bytes; k++ {
		far(k, left)
	}
	ADDQ(U8(blockBytes), t.j)
	CMPQ(t.j, end)
	JLT(LabelRef("far"))
	Label("near")
	LEAQ(table(), t.mask) // 16 − (i − j + 1) lanes into the table
	ADDQ(U8(blockBytes-4), t.mask)
	SUBQ(t.i, t.mask)
	ADDQ(t.j, t.mask)
	hiI, loI := t.row(t.hi), t.row(t.lo)
	for k := 0; k < blockBytes/t.Bytes; k++ {
		near(k, t.between(hiI, loI, t.at(t.hi, k), t.at(t.lo, k), least))
	}
}

// prepare computes right for the block of row i, times scale if that is not nil.
func (t triangle) prepare(scale reg.Register) {
	end := t.mask
	MOVQ(t.i, end)
	XORQ(t.j, t.j)
	ANDQ(I8(-blockBytes), end)
	JZ(LabelRef("prepared"))
	corner := Mem{Base: t.hi, Index: end, Scale: 1, Disp: -4}
	hiB, loB := splat(t.ISA, corner), splat(t.ISA, t.based(corner, t.lo))
	Label("prepare")
	for k := 0; k < blockBytes/t.Bytes; k++ {
		e := t.between(hiB, loB, t.at(t.hi, k), t.at(t.lo, k), least/2)
		if scale != nil {
			VMULPS(t.at(scale, k), e, e)
		}
		VMOVUPS(e, t.at(t.right, k))
	}
	ADDQ(U8(blockBytes), t.j)
	CMPQ(t.j, end)
	JLT(LabelRef("prepare"))
	Label("prepared")
}

// row returns a vector of element i of an array.
func (t triangle) row(base reg.Register) reg.VecVirtual {
	return splat(t.ISA, Mem{Base: base, Index: t.i, Scale: 1})
}

// based is m with another base.
func (t triangle) based(m Mem, base reg.Register) Mem {
	m.Base = base
	return m
}

// at addresses a vector at column j of the row that base points to.
func (t triangle) at(base reg.Register, vector int) Mem {
	return Mem{Base: base, Index: t.j, Scale: 1, Disp: vector * t.Bytes}
}

// between returns 2^(s_i − s_j) for the parts of s_i and s_j.
func (t triangle) between(hiI, loI reg.Register, hiJ, loJ Op, least float32) reg.VecVirtual {
	d, l := t.Vec(), t.Vec()
	VSUBPS(hiJ, hiI, d)
	VSUBPS(loJ, loI, l)
	VADDPS(l, d, d)
	VMAXPS(d, t.Splat(least), d) // NaN in d, the second source, is preserved
	return t.Exp2Normal(d)
}

// clearNext stores zeros over the block that follows the last one.
func (t triangle) clearNext(base reg.Register) {
	zero := t.Zero()
	for k := 0; k < blockBytes/t.Bytes; k++ {
		VMOVUPS(zero, t.at(base, blockBytes/t.Bytes+k))
	}
}

// decay emits m_ij = g_ij·2^(s_i−s_j)·Δ_j for j ≤ i, and zeros beyond, up to the end of the block after the diagonal's. right is scratch
// memory for a row.
func decay(v asm.ISA) {
	TEXT("ssdDecay_"+v.Suffix, NOSPLIT, "func(rows int, m, gram *float32, ld int, hi, lo, delta, right *float32)")
	Pragma("noescape")
	rows, m, g, ld, delta := load("rows"), load("m"), load("gram"), load("ld"), load("delta")
	SHLQ(U8(2), rows)
	SHLQ(U8(2), ld)
	t := triangle{v, load("hi"), load("lo"), load("right"), GP64(), GP64(), GP64()}
	XORQ(t.i, t.i)
	Label("row")
	TESTQ(U32(blockBytes-1), t.i)
	JNZ(LabelRef("prepared"))
	t.prepare(delta)
	t.columns(func(k int, left reg.VecVirtual) {
		e := v.Vec()
		VMULPS(t.at(g, k), left, e)
		VMULPS(t.at(t.right, k), e, e)
		VMOVUPS(e, t.at(m, k))
	}, func(k int, e reg.VecVirtual) {
		VMULPS(t.at(g, k), e, e)
		VMULPS(t.at(delta, k), e, e)
		t.and(e, k, false)
		VMOVUPS(e, t.at(m, k))
	})
	t.clearNext(m)
	ADDQ(ld, m)
	ADDQ(ld, g)
	ADDQ(U8(4), t.i)
	CMPQ(t.i, rows)
	JLT(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// decayGrad emits, from the last row to the first, with e = 2^(s_i−s_j) and k_ij the products of gradients and inputs,
//
//	m_ij = g_ij·e·Δ_j    w_ij += e·k_ij·Δ_j    r_j += g_ij·e·k_ij    for j ≤ i
//	da_i = Σ_{j<i} r_j·Δ_j
//
// and zeros in m beyond the diagonal, as decay does. ldb is in bytes.
func decayGrad(v asm.ISA) {
	TEXT("ssdDecayGrad_"+v.Suffix, NOSPLIT, "func(rows int, m, gram, w, k *float32, ldb int, hi, lo, delta, right, r, da *float32)")
	Pragma("noescape")
	m, g, w, kp := load("m"), load("gram"), load("w"), load("k")
	delta, r := load("delta"), load("r")
	ldb, err := Param("ldb").Resolve()
	if err != nil {
		panic(err)
	}
	t := triangle{v, load("hi"), load("lo"), load("right"), GP64(), GP64(), GP64()}
	Load(Param("rows"), t.i)
	DECQ(t.i)
	MOVQ(ldb.Addr, t.j)
	IMULQ(t.i, t.j)
	for _, p := range []reg.GPVirtual{m, g, w, kp} {
		ADDQ(t.j, p)
	}
	SHLQ(U8(2), t.i)
	JMP(LabelRef("first"))
	Label("row")
	MOVQ(t.i, t.j)
	NOTQ(t.j)
	TESTQ(U32(blockBytes-4), t.j) // the block's last row comes first
	JNZ(LabelRef("prepared"))
	Label("first")
	t.prepare(nil)
	sum := v.Zero()
	accumulate := func(k int, e reg.VecVirtual, near bool) {
		x, y, d := v.Vec(), v.Vec(), v.Vec()
		VMOVUPS(t.at(g, k), y)
		VMOVUPS(t.at(delta, k), d)
		VMULPS(t.at(kp, k), e, x) // e·k
		VMULPS(y, e, e)           // e·g
		VMULPS(y, x, y)           // e·g·k
		if near {
			t.and(x, k, false)
			t.and(e, k, false)
			t.and(y, k, false)
		}
		VMULPS(d, e, e)
		VMOVUPS(e, t.at(m, k))
		VMOVUPS(t.at(w, k), e)
		VFMADD231PS(d, x, e)
		VMOVUPS(e, t.at(w, k))
		VADDPS(t.at(r, k), y, y)
		VMOVUPS(y, t.at(r, k))
		if near {
			VMULPS(d, y, y)
			t.and(y, k, true)
			VADDPS(y, sum, sum)
		} else {
			VFMADD231PS(d, y, sum)
		}
	}
	t.columns(func(k int, left reg.VecVirtual) {
		e := v.Vec()
		VMULPS(t.at(t.right, k), left, e)
		accumulate(k, e, false)
	}, func(k int, e reg.VecVirtual) { accumulate(k, e, true) })
	t.clearNext(m)
	da := t.mask
	Load(Param("da"), da)
	VMOVSS(asm.Fold(v, sum, func(a, b, d Op) { VADDPS(a, b, d) }, false), Mem{Base: da, Index: t.i, Scale: 1})
	for _, p := range []reg.GPVirtual{m, g, w, kp} {
		SUBQ(ldb.Addr, p)
	}
	SUBQ(U8(4), t.i)
	JGE(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// blocks emits a loop over n columns, 16 at a time: body is called for each vector of a block with its offset.
func blocks(v asm.ISA, n, j reg.GPVirtual, body func(vector int, at func(base reg.Register) Mem)) {
	XORQ(j, j)
	Label("block")
	for k := 0; k < blockBytes/v.Bytes; k++ {
		body(k, func(base reg.Register) Mem { return Mem{Base: base, Index: j, Scale: 1, Disp: k * v.Bytes} })
	}
	ADDQ(U8(blockBytes), j)
	CMPQ(j, n)
	JLT(LabelRef("block"))
}

// scaleRows emits y_i = w_i·x_i, or y_i += w_i·x_i, for rows of n elements.
func scaleRows(v asm.ISA, name string, add bool) {
	TEXT(name+"_"+v.Suffix, NOSPLIT, "func(rows, n int, y *float32, ldy int, x *float32, ldx int, w *float32)")
	Pragma("noescape")
	rows, n, y, ldy, x, ldx, w := load("rows"), load("n"), load("y"), load("ldy"), load("x"), load("ldx"), load("w")
	for _, r := range []reg.GPVirtual{n, ldy, ldx} {
		SHLQ(U8(2), r)
	}
	Label("row")
	scale := splat(v, Mem{Base: w})
	blocks(v, n, GP64(), func(_ int, at func(reg.Register) Mem) {
		t := v.Vec()
		if add {
			VMOVUPS(at(y), t)
			VFMADD231PS(at(x), scale, t)
		} else {
			VMULPS(at(x), scale, t)
		}
		VMOVUPS(t, at(y))
	})
	ADDQ(ldy, y)
	ADDQ(ldx, x)
	ADDQ(U8(4), w)
	DECQ(rows)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// dotRows emits y_i = Σ a_i·b_i for rows of n elements.
func dotRows(v asm.ISA) {
	TEXT("ssdDotRows_"+v.Suffix, NOSPLIT, "func(rows, n int, y, a *float32, lda int, b *float32, ldb int)")
	Pragma("noescape")
	rows, n, y, a, lda, b, ldb := load("rows"), load("n"), load("y"), load("a"), load("lda"), load("b"), load("ldb")
	for _, r := range []reg.GPVirtual{n, lda, ldb} {
		SHLQ(U8(2), r)
	}
	Label("row")
	sums := make([]reg.VecVirtual, blockBytes/v.Bytes)
	for k := range sums {
		sums[k] = v.Zero()
	}
	blocks(v, n, GP64(), func(k int, at func(reg.Register) Mem) {
		t := v.Vec()
		VMOVUPS(at(a), t)
		VFMADD231PS(at(b), t, sums[k])
	})
	for _, s := range sums[1:] {
		VADDPS(s, sums[0], sums[0])
	}
	VMOVSS(asm.Fold(v, sums[0], func(a, b, d Op) { VADDPS(a, b, d) }, false), Mem{Base: y})
	ADDQ(lda, a)
	ADDQ(ldb, b)
	ADDQ(U8(4), y)
	DECQ(rows)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// step emits h_i = decay·h_i + Δ·x_i·b, y_i = Σ c·h_i + skip·x_i, for rows h_i of n states.
func step(v asm.ISA) {
	TEXT("ssdStep_"+v.Suffix, NOSPLIT, "func(rows, n int, y, h, x, b, c *float32, decay, delta, skip float32)")
	Pragma("noescape")
	rows, n, y, h, x, b, c := load("rows"), load("n"), load("y"), load("h"), load("x"), load("b"), load("c")
	SHLQ(U8(2), n)
	keep, delta, skip := broadcast(v, "decay"), broadcast(v, "delta"), broadcast(v, "skip")
	Label("row")
	in, sums := splat(v, Mem{Base: x}), make([]reg.VecVirtual, blockBytes/v.Bytes)
	for k := range sums {
		sums[k] = v.Zero()
	}
	passed := v.Copy(in)
	VMULPS(skip, passed, passed)
	VMULPS(delta, in, in)
	blocks(v, n, GP64(), func(k int, at func(reg.Register) Mem) {
		t := v.Vec()
		VMULPS(at(h), keep, t)
		VFMADD231PS(at(b), in, t)
		VMOVUPS(t, at(h))
		VFMADD231PS(at(c), t, sums[k])
	})
	for _, s := range sums[1:] {
		VADDPS(s, sums[0], sums[0])
	}
	sum := asm.Fold(v, sums[0], func(a, b, d Op) { VADDPS(a, b, d) }, false)
	VADDSS(passed.AsX(), sum, sum)
	VMOVSS(sum, Mem{Base: y})
	ADDQ(n, h)
	ADDQ(U8(4), x)
	ADDQ(U8(4), y)
	DECQ(rows)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}
