package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mambatrain/autograd/kernel/gen/asm"
	"mambatrain/autograd/kernel/gen/vec"
)

// Offsets of scanArgs' fields, in their order.
const (
	rows = 8 * iota
	row
	b
	c
	ldb
	ldc
	a
	h
	hs
	ldh
	da
	part
	ldpart
	addPart
	next
)

// prefetch fetches a line from each of the streams in scanArgs.next, an address and a stride each, and advances them: first
// those to be read, then those to be written.
func (a args) prefetch(read, written int) {
	p := reg.RAX // which PREFETCHWAX reads
	for i := 0; i < read+written; i++ {
		MOVQ(at(a.p, next+16*i), p)
		if i < read {
			PREFETCHT0(Mem{Base: p})
		} else {
			asm.PREFETCHWAX(0)
		}
		ADDQ(at(a.p, next+16*i+8), p)
		MOVQ(p, at(a.p, next+16*i))
	}
}

// at addresses a field of the record that r points to.
func at(r reg.Register, field int) Mem { return Mem{Base: r, Disp: field} }

// state addresses state i of an array of states. Where states are stored row by row, rowState addresses state i of a row, and
// rowExp its exponential.
func state(r reg.Register, i int) Mem    { return Mem{Base: r, Disp: stateBytes * i} }
func rowState(r reg.Register, i int) Mem { return Mem{Base: r, Disp: 2 * stateBytes * i} }
func rowExp(r reg.Register, i int) Mem   { return Mem{Base: r, Disp: 2*stateBytes*i + stateBytes} }

// element addresses element i of a row of float32.
func element(r reg.Register, i int) Mem { return Mem{Base: r, Disp: 4 * i} }

// allStates reports whether the kernel covers all of the model's states. It then overwrites the sums over states that other
// kernels add to.
func allStates(states int) bool { return states == 16 }

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

// forward emits h = exp2(Δ·a)·h + Δ·u·B, out (+)= C·h. With storeStates it also stores h and the exponentials of every row.
func forward(v asm.ISA, states int, storeStates bool) {
	name := "scanForward"
	if storeStates {
		name = "scanStates"
	}
	g := head(fmt.Sprint(name, states), v.Suffix)
	n, rp, bp, cp := g.get(rows), g.get(row), g.get(b), g.get(c)
	ap, hp := g.get(a), g.get(h)
	var hsp reg.GPVirtual
	if storeStates {
		hsp = g.get(hs)
	}
	st := make([]reg.VecVirtual, states)
	for i := range st {
		st[i] = v.Vec()
		VMOVUPS(state(hp, i), st[i])
		if storeStates {
			VMOVUPS(st[i], rowState(hsp, i))
		}
	}
	if storeStates {
		ADDQ(at(g.p, ldh), hsp)
	}
	exp2 := exp2Emitter(v)
	Label("row")
	d, in, sum := v.Vec(), v.Vec(), v.Zero()
	VMOVUPS(at(rp, vec.Delta), d)
	VMOVUPS(at(rp, vec.Input), in)
	if !allStates(states) {
		VMOVUPS(at(rp, vec.Out), sum)
	}
	if storeStates {
		g.prefetch(5, 0)
	} else {
		g.prefetch(3, 2)
	}
	for i := range st {
		x, w := v.Vec(), v.Vec()
		VMULPS(state(ap, i), d, x)
		x = exp2(x)
		if storeStates {
			VMOVUPS(x, rowExp(hsp, i))
		}
		mulBroadcast(v, element(bp, i), in, w)
		VFMADD213PS(w, x, st[i])
		if storeStates {
			VMOVUPS(st[i], rowState(hsp, i))
		}
		fmaBroadcast(v, element(cp, i), st[i], sum)
	}
	VMOVUPS(sum, at(rp, vec.Out))
	ADDQ(U32(vec.RecordBytes), rp)
	ADDQ(at(g.p, ldb), bp)
	ADDQ(at(g.p, ldc), cp)
	if storeStates {
		ADDQ(at(g.p, ldh), hsp)
	}
	DECQ(n)
	JNZ(LabelRef("row"))
	for i := range st {
		VMOVUPS(st[i], state(hp, i))
	}
	VZEROUPPER()
	RET()
}

// exp2Emitter returns a function that emits 2^x for x ≤ 0, exact at 0; x is consumed. With AVX-512 that is a table of 2^(k/32)
// in two registers and a polynomial of degree two: x = k/32 + r, where the sum with 1.5·2^18 has k in its low bits, and
//
//	2^r = 1 + r·(c1 + c2·r), |r| ≤ 1/64, off by at most 5.3e-8
//
// where c1 + c2·r is the tangent at 0 of (2^r − 1)/r, moved so that the cubic term's error has the shape of a Chebyshev polynomial. The
// shorter polynomial pays off because the loop is limited by its multiply-adds.
func exp2Emitter(v asm.ISA) func(x reg.VecVirtual) reg.VecVirtual {
	if v.Bytes != 64 {
		return v.Exp2
	}
	const ln2 = math.Ln2
	shift, c1, c2 := v.Splat(asm.PowersShift), v.Splat(ln2+ln2*ln2*ln2/6*0.75/(64*64)), v.Splat(ln2*ln2/2)
	low, high := v.Powers()
	return func(x reg.VecVirtual) reg.VecVirtual {
		p, n, q := v.Vec(), v.Vec(), v.Copy(c2)
		VADDPS(shift, x, p)
		VSUBPS(shift, p, n)
		VSUBPS(n, x, x)
		VPERMI2PS(high, low, p)
		VFMADD213PS(c1, x, q)
		VMULPS(p, x, x)
		VFMADD231PS(q, x, p)
		VSCALEFPS(n, p, p) // by 2 to the power of ⌊n⌋
		return p
	}
}

// laneSums adds up the lanes of vectors. It combines eight vectors, taken in the order of sumOrder, into one: lane i of each 256 bits is
// the sum of vector i's lanes there. Vectors are merged in pairs, in a tree of three levels.
type laneSums struct {
	asm.ISA
	high, pair, odd reg.Register // masks of the lanes that come from the second of two vectors
	pending         [3]*reg.VecVirtual
}

func newLaneSums(v asm.ISA) laneSums {
	if v.Bytes == 64 {
		return laneSums{ISA: v, high: mask(0xff00), pair: mask(0xcccc), odd: mask(0xaaaa)}
	}
	return laneSums{ISA: v}
}

func mask(bits uint32) reg.OpmaskVirtual {
	r, k := GP32(), K()
	MOVL(U32(bits), r)
	KMOVW(r, k)
	return k
}

// add takes the next vector, or two vectors that are merged already if level is 1. After the last it returns the result.
func (s *laneSums) add(level int, x reg.VecVirtual) (reg.VecVirtual, bool) {
	merge := []func(a, b reg.VecVirtual) reg.VecVirtual{s.addHalves, s.addQuarters, s.addNeighbors}
	for ; level < len(merge); level++ {
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

// blend replaces the lanes of a in the mask, k or for AVX2 bits, by b's.
func (s *laneSums) blend(k reg.Register, bits uint8, b Op, a reg.VecVirtual) {
	if s.Bytes == 64 {
		VMOVUPS(b, k, a)
	} else {
		VBLENDPS(U8(bits), b, a, a)
	}
}

// addHalves adds the two halves of a to the lower half of the result, and those of b to the upper half. It may overwrite a, as
// may addQuarters and addNeighbors.
func (s *laneSums) addHalves(a, b reg.VecVirtual) reg.VecVirtual {
	t := s.crossed(a, b)
	s.blend(s.high, 0xf0, b, a)
	VADDPS(a, t, t)
	return t
}

// crossed returns a's upper half and b's lower.
func (s *laneSums) crossed(a reg.VecVirtual, b Op) reg.VecVirtual {
	t := s.Vec()
	if s.Bytes == 64 {
		VSHUFF32X4(U8(0x4e), b, a, t)
	} else {
		VPERM2F128(U8(0x21), b, a, t)
	}
	return t
}

// addHalvesOfProducts is addHalves of a·m and b·m, where swapped is m with its halves exchanged. It merges before it multiplies.
func (s *laneSums) addHalvesOfProducts(a reg.VecVirtual, b Op, m, swapped reg.VecVirtual) reg.VecVirtual {
	t, u := s.crossed(a, b), s.Copy(a)
	s.blend(s.high, 0xf0, b, u)
	VMULPS(m, u, u)
	VFMADD231PS(swapped, t, u)
	return u
}

// addQuarters is addHalves for the halves of each 128 bits.
func (s *laneSums) addQuarters(a, b reg.VecVirtual) reg.VecVirtual {
	t := s.Vec()
	VSHUFPS(U8(0x4e), b, a, t)
	s.blend(s.pair, 0xcc, b, a)
	VADDPS(a, t, t)
	return t
}

// addNeighbors is addHalves for neighboring lanes.
func (s *laneSums) addNeighbors(a, b reg.VecVirtual) reg.VecVirtual {
	t := s.Copy(b)
	s.blend(s.odd, 0xaa, a, t)
	VPERMILPS(U8(0xb1), t, t)
	s.blend(s.odd, 0xaa, b, a)
	VADDPS(a, t, t)
	return t
}

// sumOrder is the order in which laneSums takes eight vectors.
var sumOrder = [8]int{0, 4, 2, 6, 1, 5, 3, 7}

// backwardPass is the backward pass under construction.
type backwardPass struct {
	asm.ISA
	withA                    bool
	bp, cp, ap, dap          reg.GPVirtual
	hsp, before, rp, pp      reg.GPVirtual
	dh                       []reg.VecVirtual
	gy, in, gyT, inT, sB, sA reg.VecVirtual
	p, addPart               reg.Register // the arguments, and for AVX-512 addPart as a mask
}

// backward emits the backward pass over rows of one document for some states; pointers are to the last row. With dh the gradient
// of the state and e = exp(Δ·A):
//
//	dh += C·gy,  dB = Σ dh·Δ·u,  dC = Σ gy·h    over channels, stored as [dB | dC]
//	sumB (+)= Σ dh·B,  dh = dh·e,  q = dh·h(before),  sumA (+)= Σ q·a    over states
//	da += q·Δ    with withA
//
// dB and dC are added to part, or overwrite it if addPart is zero.
//
// AVX-512 takes eight states at a time, and sums dB and dC over channels in separate trees, which it joins at the end. AVX2 takes
// four states, whose dB and dC share one tree.
func backward(v asm.ISA, states int, withA bool) {
	name := "scanBackward"
	if withA {
		name = "scanBackwardA"
	}
	g := head(fmt.Sprint(name, states), v.Suffix)
	n, dhp := g.get(rows), g.get(h)
	k := backwardPass{ISA: v, withA: withA, bp: g.get(b), cp: g.get(c), ap: g.get(a), hsp: g.get(hs), before: GP64(), rp: g.get(row), pp: g.get(part)}
	if withA {
		k.dap = g.get(da)
	}
	k.p = g.p
	if v.Bytes == 64 {
		m := K()
		KMOVW(at(g.p, addPart), m)
		k.addPart = m
	}
	tree := newLaneSums(v)
	k.dh = make([]reg.VecVirtual, states)
	for i := range k.dh {
		k.dh[i] = v.Vec()
		VMOVUPS(state(dhp, i), k.dh[i])
	}
	Label("row")
	MOVQ(k.hsp, k.before) // the states before the row; hsp points to those after it
	SUBQ(at(g.p, ldh), k.before)
	k.gy, k.in, k.sA, k.sB = v.Vec(), v.Vec(), v.Zero(), v.Zero()
	VMOVUPS(at(k.rp, vec.Gy), k.gy)
	VMOVUPS(at(k.rp, vec.Input), k.in)
	g.prefetch(0, 4)
	if v.Bytes == 64 {
		k.gyT, k.inT = tree.crossed(k.gy, k.gy), tree.crossed(k.in, k.in)
		for i := 0; i < states; i += 8 {
			k.eightStates(tree, i)
		}
	} else {
		k.fourStates(tree)
	}
	if !allStates(states) {
		VADDPS(at(k.rp, vec.SumB), k.sB, k.sB)
		VADDPS(at(k.rp, vec.SumA), k.sA, k.sA)
	}
	VMOVUPS(k.sB, at(k.rp, vec.SumB))
	VMOVUPS(k.sA, at(k.rp, vec.SumA))
	SUBQ(U32(vec.RecordBytes), k.rp)
	SUBQ(at(g.p, ldb), k.bp)
	SUBQ(at(g.p, ldc), k.cp)
	MOVQ(k.before, k.hsp)
	SUBQ(at(g.p, ldpart), k.pp)
	DECQ(n)
	JNZ(LabelRef("row"))
	for i := range k.dh {
		VMOVUPS(k.dh[i], state(dhp, i))
	}
	VZEROUPPER()
	RET()
}

// addOutputGrad adds the gradient of the row's output to that of state i, and state i's share to Σ dh·B.
func (k *backwardPass) addOutputGrad(i int) {
	fmaBroadcast(k.ISA, element(k.cp, i), k.gy, k.dh[i])
	fmaBroadcast(k.ISA, element(k.bp, i), k.dh[i], k.sB)
}

// toRowBefore turns the gradient of state i into that at the previous row, and adds state i's share to Σ q·a and da.
func (k *backwardPass) toRowBefore(i int) {
	q := k.Vec()
	VMULPS(rowExp(k.hsp, i), k.dh[i], k.dh[i])
	VMULPS(rowState(k.before, i), k.dh[i], q)
	VFMADD231PS(state(k.ap, i), q, k.sA)
	if k.withA {
		d := k.Vec()
		VMOVUPS(at(k.rp, vec.Delta), d)
		VFMADD213PS(state(k.dap, i), d, q)
		VMOVUPS(q, state(k.dap, i))
	}
}

// eightStates emits eight states from i on. The two states of a pair are merged before they are multiplied.
func (k *backwardPass) eightStates(tree laneSums, i int) {
	dB, dC := tree, tree
	var x, w reg.VecVirtual
	for p := 0; p < 8; p += 2 {
		first, second := i+sumOrder[p], i+sumOrder[p+1]
		k.addOutputGrad(first)
		k.addOutputGrad(second)
		x, _ = dB.add(1, dB.addHalvesOfProducts(k.dh[first], k.dh[second], k.in, k.inT))
		after := k.Vec()
		VMOVUPS(rowState(k.hsp, first), after)
		w, _ = dC.add(1, dC.addHalvesOfProducts(after, rowState(k.hsp, second), k.gy, k.gyT))
		k.toRowBefore(first)
		k.toRowBefore(second)
	}
	t := k.Vec()
	VSHUFF32X4(U8(0x88), w, x, t)
	VSHUFF32X4(U8(0xdd), w, x, x)
	VADDPS(x, t, t)
	k.storePart(t, 8*i)
}

// fourStates emits all four states of a kernel.
func (k *backwardPass) fourStates(tree laneSums) {
	for _, i := range []int{0, 2, 1, 3} {
		k.addOutputGrad(i)
		x := k.Vec()
		VMULPS(k.in, k.dh[i], x)
		tree.add(0, x)
		w := k.Vec()
		VMULPS(rowState(k.hsp, i), k.gy, w)
		if sum, done := tree.add(0, w); done {
			k.storePart(sum, 0)
		}
		k.toRowBefore(i)
	}
}

// storePart adds a vector of dB and dC to part, or overwrites it.
func (k *backwardPass) storePart(x reg.VecVirtual, offset int) {
	m, t := Mem{Base: k.pp, Disp: offset}, k.Vec()
	if k.Bytes == 64 {
		VMOVUPS_Z(m, k.addPart, t)
	} else {
		VBROADCASTSS(at(k.p, addPart), t)
		VANDPS(m, t, t)
	}
	VADDPS(t, x, x)
	VMOVUPS(x, m)
}
