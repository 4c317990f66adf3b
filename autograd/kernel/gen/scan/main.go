// Command scan writes the selective scan's inner loops: one group of channels, a vector wide, over a run of rows without a
// reset. p points to a scanArgs, see scanvec.go.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mambatrain/autograd/kernel/gen/asm"
)

// Offsets of scanArgs' fields, in their order; rows of the planes are a vector long.
const (
	rows = 8 * iota
	dt
	u
	y
	b
	c
	ldb
	ldc
	a
	h
	hs
	es
	ldh
	gy
	du
	ddt
	da
	part
	ldpart
	next
)

// nexts is the number of places that a kernel prefetches row by row: address and stride each, from next on.
const nexts = 4

type args struct{ p reg.Register }

func head(name, suffix string, states int) args {
	TEXT(fmt.Sprintf("%s%d_%s", name, states, suffix), NOSPLIT, "func(p *byte)")
	Pragma("noescape")
	return args{Load(Param("p"), GP64())}
}

func (a args) get(offset int) reg.GPVirtual {
	r := GP64()
	MOVQ(Mem{Base: a.p, Disp: offset}, r)
	return r
}

// prefetch asks for one row at each of the places and moves them on.
func (a args) prefetch() {
	for i := 0; i < nexts; i++ {
		r := a.get(next + 16*i)
		PREFETCHT0(Mem{Base: r})
		ADDQ(Mem{Base: a.p, Disp: next + 16*i + 8}, r)
		MOVQ(r, Mem{Base: a.p, Disp: next + 16*i})
	}
}

// mulBroadcast sets dst = x·m, m one float32 for all lanes.
func mulBroadcast(v asm.ISA, m Mem, x, dst reg.Register) {
	if v.Bytes == 64 {
		VMULPS_BCST(m, x, dst)
		return
	}
	VBROADCASTSS(m, dst)
	VMULPS(x, dst, dst)
}

// fmaBroadcast adds x·m to acc.
func fmaBroadcast(v asm.ISA, m Mem, x, acc reg.Register) {
	if v.Bytes == 64 {
		VFMADD231PS_BCST(m, x, acc)
		return
	}
	t := v.Vec()
	VBROADCASTSS(m, t)
	VFMADD231PS(x, t, acc)
}

// forward emits h = exp2(dt·a)·h + dt·u·B, y += C·h; with keep it also stores h and the exponentials of every row.
func forward(v asm.ISA, states int, keep bool) {
	name := "scanForward"
	if keep {
		name = "scanStates"
	}
	g := head(name, v.Suffix, states)
	n, dtp, up, yp, bp, cp := g.get(rows), g.get(dt), g.get(u), g.get(y), g.get(b), g.get(c)
	ap, hp := g.get(a), g.get(h)
	var hsp, esp reg.GPVirtual
	if keep {
		hsp, esp = g.get(hs), g.get(es)
	}
	st := make([]reg.VecVirtual, states)
	for i := range st {
		st[i] = v.Vec()
		VMOVUPS(Mem{Base: hp, Disp: v.Bytes * i}, st[i])
	}
	coef := horner(v)
	Label("row")
	d, in, out := v.Vec(), v.Vec(), v.Vec()
	VMOVUPS(Mem{Base: dtp}, d)
	VMULPS(Mem{Base: up}, d, in)
	VMOVUPS(Mem{Base: yp}, out)
	g.prefetch()
	for i := range st {
		x, w := v.Vec(), v.Vec()
		VMULPS(Mem{Base: ap, Disp: v.Bytes * i}, d, x)
		x = coef(x)
		if keep {
			VMOVUPS(x, Mem{Base: esp, Disp: v.Bytes * i})
		}
		mulBroadcast(v, Mem{Base: bp, Disp: 4 * i}, in, w)
		VFMADD213PS(w, x, st[i])
		if keep {
			VMOVUPS(st[i], Mem{Base: hsp, Disp: v.Bytes * i})
		}
		fmaBroadcast(v, Mem{Base: cp, Disp: 4 * i}, st[i], out)
	}
	VMOVUPS(out, Mem{Base: yp})
	for _, p := range []reg.GPVirtual{dtp, up, yp} {
		ADDQ(U8(v.Bytes), p)
	}
	ADDQ(Mem{Base: g.p, Disp: ldb}, bp)
	ADDQ(Mem{Base: g.p, Disp: ldc}, cp)
	if keep {
		ADDQ(Mem{Base: g.p, Disp: ldh}, hsp)
		ADDQ(Mem{Base: g.p, Disp: ldh}, esp)
	}
	DECQ(n)
	JNZ(LabelRef("row"))
	for i := range st {
		VMOVUPS(st[i], Mem{Base: hp, Disp: v.Bytes * i})
	}
	VZEROUPPER()
	RET()
}

// horner returns Exp2 with the coefficients in registers where there are enough of them.
func horner(v asm.ISA) func(x reg.VecVirtual) reg.VecVirtual {
	if v.Bytes != 64 {
		return func(x reg.VecVirtual) reg.VecVirtual { return v.Exp2(x) }
	}
	k := asm.Exp2Coefficients
	one := v.Splat(1)
	var r [5]reg.VecVirtual
	for i := range r {
		r[i] = v.Splat(k[i])
	}
	return func(x reg.VecVirtual) reg.VecVirtual {
		n, p := v.Vec(), v.Vec()
		v.Round(x, n)
		VSUBPS(n, x, x)
		VMOVAPS(r[4], p)
		for i := 3; i >= 0; i-- {
			VFMADD213PS(r[i], x, p)
		}
		VFMADD213PS(one, x, p)
		VSCALEFPS(n, p, p)
		return p
	}
}

// summing turns 16 vectors into one whose lane i is the sum of the lanes of the i-th, in the order of order.
type summing struct {
	high, pair, odd reg.OpmaskVirtual
	pending         [3]*reg.VecVirtual
}

// order is the order in which a tree wants its eight vectors.
var order = [8]int{0, 4, 2, 6, 1, 5, 3, 7}

func mask(bits uint32) reg.OpmaskVirtual {
	r, k := GP32(), K()
	MOVL(U32(bits), r)
	KMOVW(r, k)
	return k
}

// add takes the next vector; after the eighth it returns the tree's result: the sums in lanes 4–7 and 0–3 of both 256-bit
// halves still apart.
func (s *summing) add(x reg.VecVirtual) (reg.VecVirtual, bool) {
	merge := []func(a, b reg.VecVirtual) reg.VecVirtual{s.halves, s.quads, s.singles}
	for level := range merge {
		if s.pending[level] == nil {
			s.pending[level] = &x
			return nil, false
		}
		first := *s.pending[level]
		s.pending[level] = nil
		x = merge[level](first, x)
	}
	return x, true
}

// halves returns a's two halves added in the lower half, b's in the upper.
func (s *summing) halves(a, b reg.VecVirtual) reg.VecVirtual {
	t := ZMM()
	VSHUFF32X4(U8(0x4e), b, a, t)
	VBLENDMPS(b, a, s.high, a)
	VADDPS(a, t, t)
	return t
}

// quads does the same to the halves of each 128 bits.
func (s *summing) quads(a, b reg.VecVirtual) reg.VecVirtual {
	t := ZMM()
	VSHUFPS(U8(0x4e), b, a, t)
	VBLENDMPS(b, a, s.pair, a)
	VADDPS(a, t, t)
	return t
}

// singles does the same to neighbours.
func (s *summing) singles(a, b reg.VecVirtual) reg.VecVirtual {
	t := ZMM()
	VBLENDMPS(a, b, s.odd, t)
	VPERMILPS(U8(0xb1), t, t)
	VBLENDMPS(b, a, s.odd, a)
	VADDPS(a, t, t)
	return t
}

// backward emits the way back over a run of rows for eight states; pointers stand at the last row. With dh the gradient of
// the state: dh += C·gy, dB = Σ dh·dt·u, dC = Σ gy·h (over channels, added to part as [dB | dC]), dh = dh·e,
// q = dh·h(before), da += q·dt, du += dt·Σ dh·B, ddt += u·Σ dh·B + Σ q·a.
func backward() {
	const states = 8
	v := asm.AVX512
	g := head("scanBackward", v.Suffix, states)
	n, bp, cp := g.get(rows), g.get(b), g.get(c)
	ap, dhp, hsp, esp := g.get(a), g.get(h), g.get(hs), g.get(es)
	pp := g.get(part)
	tree := [2]summing{}
	tree[0].high, tree[0].pair, tree[0].odd = mask(0xff00), mask(0xcccc), mask(0xaaaa)
	tree[1] = tree[0]
	dh, dA := make([]reg.VecVirtual, states), make([]reg.VecVirtual, states)
	dap := g.get(da)
	for i := range dh {
		dh[i], dA[i] = v.Vec(), v.Vec()
		VMOVUPS(Mem{Base: dhp, Disp: 64 * i}, dh[i])
		VMOVUPS(Mem{Base: dap, Disp: 64 * i}, dA[i])
	}
	before := GP64() // the states before the row; hsp points behind it
	off := GP64()
	XORQ(off, off)
	at := func(field int) Mem {
		return Mem{Base: g.get(field), Index: off, Scale: 1}
	}
	Label("row")
	MOVQ(hsp, before)
	SUBQ(Mem{Base: g.p, Disp: ldh}, before)
	dy, d, in, sumA, sumB := v.Vec(), v.Vec(), v.Vec(), v.Zero(), v.Zero()
	VMOVUPS(at(gy), dy)
	VMOVUPS(at(dt), d)
	VMULPS(at(u), d, in)
	g.prefetch()
	var half [2]reg.VecVirtual
	for _, i := range order {
		fmaBroadcast(v, Mem{Base: cp, Disp: 4 * i}, dy, dh[i])
		add := func(k int, x reg.VecVirtual) {
			if r, done := tree[k].add(x); done {
				half[k] = r
			}
		}
		x := v.Vec()
		VMULPS(in, dh[i], x)
		add(0, x)
		w := v.Vec()
		VMULPS(Mem{Base: hsp, Disp: 64 * i}, dy, w)
		add(1, w)
		q := v.Vec()
		fmaBroadcast(v, Mem{Base: bp, Disp: 4 * i}, dh[i], sumB)
		VMULPS(Mem{Base: esp, Disp: 64 * i}, dh[i], dh[i])
		VMULPS(Mem{Base: before, Disp: 64 * i}, dh[i], q)
		VFMADD231PS(Mem{Base: ap, Disp: 64 * i}, q, sumA)
		VFMADD231PS(q, d, dA[i])
	}
	t, w := v.Vec(), v.Vec()
	VSHUFF32X4(U8(0x88), half[1], half[0], t)
	VSHUFF32X4(U8(0xdd), half[1], half[0], w)
	VADDPS(w, t, t)
	VADDPS(Mem{Base: pp}, t, t)
	VMOVUPS(t, Mem{Base: pp})

	VFMADD231PS(at(u), sumB, sumA)
	VADDPS(at(ddt), sumA, sumA)
	VMOVUPS(sumA, at(ddt))
	VFMADD213PS(at(du), d, sumB)
	VMOVUPS(sumB, at(du))

	SUBQ(U8(v.Bytes), off)
	SUBQ(Mem{Base: g.p, Disp: ldb}, bp)
	SUBQ(Mem{Base: g.p, Disp: ldc}, cp)
	SUBQ(Mem{Base: g.p, Disp: ldh}, esp)
	MOVQ(before, hsp)
	SUBQ(Mem{Base: g.p, Disp: ldpart}, pp)
	DECQ(n)
	JNZ(LabelRef("row"))
	dap = g.get(da)
	dhp = g.get(h)
	for i := range dh {
		VMOVUPS(dh[i], Mem{Base: dhp, Disp: 64 * i})
		VMOVUPS(dA[i], Mem{Base: dap, Disp: 64 * i})
	}
	VZEROUPPER()
	RET()
}

// addRows emits dst[t·ldd + i] += src[16·t + i] for t < k, i < w ≤ 16.
func addRows() {
	TEXT("addRows512", NOSPLIT, "func(k int, dst *float32, ldd, w int, src *float32)")
	Pragma("noescape")
	k, dst, ldd := Load(Param("k"), GP64()), Load(Param("dst"), GP64()), Load(Param("ldd"), GP64())
	m := asm.LowMask(Load(Param("w"), GP64()))
	src := Load(Param("src"), GP64())
	SHLQ(U8(2), ldd)
	x := ZMM()
	Label("row")
	VMOVUPS_Z(Mem{Base: dst}, m, x)
	PREFETCHT0(Mem{Base: dst, Index: ldd, Scale: 8})
	VADDPS(Mem{Base: src}, x, x)
	VMOVUPS(x, m, Mem{Base: dst})
	ADDQ(ldd, dst)
	ADDQ(U8(64), src)
	DECQ(k)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

func main() {
	ConstraintExpr("amd64")
	forward(asm.AVX512, 16, false)
	forward(asm.AVX512, 16, true)
	forward(asm.AVX512, 8, false)
	forward(asm.AVX512, 8, true)
	backward()
	addRows()
	Generate()
}
