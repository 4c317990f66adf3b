// Command scan writes the selective scan's inner loops: one group of channels, a vector wide, over a run of rows without a
// reset. p points to a scanArgs, see scanvec.go.
package main

import (
	"fmt"
	"math"

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

// rowBytes is the distance of rows in planes and of states in arrays of states: a group is 16 channels wide, which a
// narrower vector takes in two goes.
const rowBytes = 64

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
		VMOVUPS(Mem{Base: hp, Disp: rowBytes * i}, st[i])
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
		VMULPS(Mem{Base: ap, Disp: rowBytes * i}, d, x)
		x = coef(x)
		if keep {
			VMOVUPS(x, Mem{Base: esp, Disp: rowBytes * i})
		}
		mulBroadcast(v, Mem{Base: bp, Disp: 4 * i}, in, w)
		VFMADD213PS(w, x, st[i])
		if keep {
			VMOVUPS(st[i], Mem{Base: hsp, Disp: rowBytes * i})
		}
		fmaBroadcast(v, Mem{Base: cp, Disp: 4 * i}, st[i], out)
	}
	VMOVUPS(out, Mem{Base: yp})
	for _, p := range []reg.GPVirtual{dtp, up, yp} {
		ADDQ(U8(rowBytes), p)
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
		VMOVUPS(st[i], Mem{Base: hp, Disp: rowBytes * i})
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

// summing turns eight vectors into one whose lane i of each 256 bits is the sum of the i-th's lanes there, if they come in
// the order given by eights.
type summing struct {
	asm.ISA
	high, pair, odd reg.Register // masks of the lanes that come from the second of two vectors
	pending         [3]*reg.VecVirtual
}

func newSumming(v asm.ISA) summing {
	if v.Bytes == 64 {
		return summing{ISA: v, high: mask(0xff00), pair: mask(0xcccc), odd: mask(0xaaaa)}
	}
	return summing{ISA: v}
}

func mask(bits uint32) reg.OpmaskVirtual {
	r, k := GP32(), K()
	MOVL(U32(bits), r)
	KMOVW(r, k)
	return k
}

// add takes the next vector; after the eighth it returns the result.
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

// blend sets dst to a, with b in the lanes of the mask: k, or bits for AVX2.
func (s *summing) blend(k reg.Register, bits uint8, b, a, dst reg.VecVirtual) {
	if s.Bytes == 64 {
		VBLENDMPS(b, a, k, dst)
	} else {
		VBLENDPS(U8(bits), b, a, dst)
	}
}

// halves returns a's two halves added in the lower half, b's in the upper. It may overwrite a, as may the next two.
func (s *summing) halves(a, b reg.VecVirtual) reg.VecVirtual {
	t := s.Vec()
	if s.Bytes == 64 {
		VSHUFF32X4(U8(0x4e), b, a, t)
	} else {
		VPERM2F128(U8(0x21), b, a, t)
	}
	s.blend(s.high, 0xf0, b, a, a)
	VADDPS(a, t, t)
	return t
}

// quads does the same to the halves of each 128 bits.
func (s *summing) quads(a, b reg.VecVirtual) reg.VecVirtual {
	t := s.Vec()
	VSHUFPS(U8(0x4e), b, a, t)
	s.blend(s.pair, 0xcc, b, a, a)
	VADDPS(a, t, t)
	return t
}

// singles does the same to neighbours.
func (s *summing) singles(a, b reg.VecVirtual) reg.VecVirtual {
	t := s.Vec()
	s.blend(s.odd, 0xaa, a, b, t)
	VPERMILPS(U8(0xb1), t, t)
	s.blend(s.odd, 0xaa, b, a, a)
	VADDPS(a, t, t)
	return t
}

// eights is the order in which a summing wants eight vectors.
var eights = [8]int{0, 4, 2, 6, 1, 5, 3, 7}

// backward emits the way back over a run of rows for some states; pointers stand at the last row. With dh the gradient of
// the state: dh += C·gy, dB = Σ dh·dt·u, dC = Σ gy·h (over channels, added to part as [dB | dC]), dh = dh·e,
// q = dh·h(before), da += q·dt, du += dt·Σ dh·B, ddt += u·Σ dh·B + Σ q·a.
//
// AVX-512 takes eight states, each sum over channels in a tree of its own, joined at the end; AVX2 takes four, whose dB and
// dC share one tree, and keeps da in memory for want of registers.
func backward(v asm.ISA) {
	states := v.Lanes / 2
	wide := v.Bytes == 64
	g := head("scanBackward", v.Suffix, states)
	n, bp, cp := g.get(rows), g.get(b), g.get(c)
	ap, dhp, hsp, esp := g.get(a), g.get(h), g.get(hs), g.get(es)
	pp, dap := g.get(part), g.get(da)
	trees := []summing{newSumming(v)}
	order := []int{0, 2, 1, 3}
	if wide {
		trees = append(trees, trees[0])
		order = eights[:]
	}
	dh, dA := make([]reg.VecVirtual, states), make([]reg.VecVirtual, states)
	for i := range dh {
		dh[i] = v.Vec()
		VMOVUPS(Mem{Base: dhp, Disp: rowBytes * i}, dh[i])
		if wide {
			dA[i] = v.Vec()
			VMOVUPS(Mem{Base: dap, Disp: rowBytes * i}, dA[i])
		}
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
	var sums []reg.VecVirtual
	for _, i := range order {
		add := func(tree int, x reg.VecVirtual) {
			if r, done := trees[tree%len(trees)].add(x); done {
				sums = append(sums, r)
			}
		}
		fmaBroadcast(v, Mem{Base: cp, Disp: 4 * i}, dy, dh[i])
		x := v.Vec()
		VMULPS(in, dh[i], x)
		add(0, x)
		w := v.Vec()
		VMULPS(Mem{Base: hsp, Disp: rowBytes * i}, dy, w)
		add(1, w)
		q := v.Vec()
		fmaBroadcast(v, Mem{Base: bp, Disp: 4 * i}, dh[i], sumB)
		VMULPS(Mem{Base: esp, Disp: rowBytes * i}, dh[i], dh[i])
		VMULPS(Mem{Base: before, Disp: rowBytes * i}, dh[i], q)
		VFMADD231PS(Mem{Base: ap, Disp: rowBytes * i}, q, sumA)
		if wide {
			VFMADD231PS(q, d, dA[i])
		} else {
			m := Mem{Base: dap, Disp: rowBytes * i}
			VFMADD213PS(m, d, q)
			VMOVUPS(q, m)
		}
	}
	if wide {
		t, w := v.Vec(), v.Vec()
		VSHUFF32X4(U8(0x88), sums[1], sums[0], t)
		VSHUFF32X4(U8(0xdd), sums[1], sums[0], w)
		VADDPS(w, t, t)
		sums[0] = t
	}
	VADDPS(Mem{Base: pp}, sums[0], sums[0])
	VMOVUPS(sums[0], Mem{Base: pp})

	VFMADD231PS(at(u), sumB, sumA)
	VADDPS(at(ddt), sumA, sumA)
	VMOVUPS(sumA, at(ddt))
	VFMADD213PS(at(du), d, sumB)
	VMOVUPS(sumB, at(du))

	SUBQ(U8(rowBytes), off)
	SUBQ(Mem{Base: g.p, Disp: ldb}, bp)
	SUBQ(Mem{Base: g.p, Disp: ldc}, cp)
	SUBQ(Mem{Base: g.p, Disp: ldh}, esp)
	MOVQ(before, hsp)
	SUBQ(Mem{Base: g.p, Disp: ldpart}, pp)
	DECQ(n)
	JNZ(LabelRef("row"))
	dhp = g.get(h)
	for i := range dh {
		VMOVUPS(dh[i], Mem{Base: dhp, Disp: rowBytes * i})
		if wide {
			VMOVUPS(dA[i], Mem{Base: dap, Disp: rowBytes * i})
		}
	}
	VZEROUPPER()
	RET()
}

// step emits one row for 16 states that lie side by side, channel by channel: h = exp(−exp(A_log)·Δ)·h + in·B, y = Σ C·h.
func step(v asm.ISA) {
	TEXT("step16_"+v.Suffix, NOSPLIT, "func(d int, y, h, alog, delta, in, b, c *float32)")
	Pragma("noescape")
	load := func(name string) reg.Register { return Load(Param(name), GP64()) }
	d, yp, hp, ap, dp, ip, bp, cp := load("d"), load("y"), load("h"), load("alog"), load("delta"), load("in"), load("b"), load("c")
	vectors := 16 / v.Lanes
	bs, cs := make([]reg.VecVirtual, vectors), make([]reg.VecVirtual, vectors)
	for i := range bs {
		bs[i], cs[i] = v.Vec(), v.Vec()
		VMOVUPS(Mem{Base: bp, Disp: i * v.Bytes}, bs[i])
		VMOVUPS(Mem{Base: cp, Disp: i * v.Bytes}, cs[i])
	}
	Label("channel")
	delta, in, sum := v.Vec(), v.Vec(), v.Zero()
	VBROADCASTSS(Mem{Base: dp}, delta)
	v.MulC(-math.Log2E, delta, delta)
	VBROADCASTSS(Mem{Base: ip}, in)
	for i := range bs {
		x, w := v.Vec(), v.Vec()
		VMOVUPS(Mem{Base: ap, Disp: i * v.Bytes}, x)
		x = v.Exp(x)
		VMULPS(delta, x, x)
		x = v.Exp2(x)
		VMULPS(bs[i], in, w)
		VFMADD231PS(Mem{Base: hp, Disp: i * v.Bytes}, x, w)
		VMOVUPS(w, Mem{Base: hp, Disp: i * v.Bytes})
		VFMADD231PS(cs[i], w, sum)
	}
	VMOVSS(asm.Fold(v, sum, func(a, b, d Op) { VADDPS(a, b, d) }, false), Mem{Base: yp})
	for _, p := range []reg.Register{yp, dp, ip} {
		ADDQ(U8(4), p)
	}
	ADDQ(U8(64), hp)
	ADDQ(U8(64), ap)
	DECQ(d)
	JNZ(LabelRef("channel"))
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
	backward(asm.AVX512)
	forward(asm.AVX2, 8, false)
	forward(asm.AVX2, 8, true)
	backward(asm.AVX2)
	addRows()
	step(asm.AVX512)
	step(asm.AVX2)
	Generate()
}
