package main

import (
	"fmt"

	"mambatrain/autograd/kernel/gen/a64"
	"mambatrain/autograd/kernel/gen/vec"
)

// Offsets of scanArgs' fields, in their order.
const (
	argRows = 8 * iota
	argRow
	argB
	argC
	argLdb
	argLdc
	argA
	argH
	argHs
	argLdh
	argDa
	argPart
	argLdpart
	argAddPart
)

// stateBytes is the distance between states in arrays of states. In arrays of states and exponentials, two states are followed by
// their exponentials: stateAt and exponentialAt are the offsets of state i, an even number, and of its exponential.
const stateBytes = 16

func stateAt(i int) int       { return 2 * stateBytes * i }
func exponentialAt(i int) int { return 2 * stateBytes * (i + 1) }

// allStates reports whether the kernel covers all of the model's states. It then overwrites the sums over states that other
// kernels add to.
func allStates(states int) bool { return states == 16 }

// together returns the number of states whose exponentials are computed together.
func together(states int) int {
	if states == 16 {
		return 2
	}
	return 4
}

// forwardRow is the forward pass under construction, for four channels.
type forwardRow struct {
	isa
	bp, cp, ap, hs a64.X
	h, sums        row
	d, in, least   a64.V
	bias           a64.V
	storeStates    bool
}

// forward emits, for four channels, h = exp2(Δ·a)·h + Δ·u·B, out (+)= C·h. With storeStates it also stores h and the exponentials
// of every row.
func forward(file *a64.File, states int, storeStates bool) {
	name := "scanForward"
	if storeStates {
		name = "scanStates"
	}
	f := file.Func(fmt.Sprint(name, states, "Neon"), "func(p *byte)")
	f.UseConsts()
	k := forwardRow{isa: isa{Func: f}, storeStates: storeStates}
	p := f.Param("p")
	n, rp := field(f, p, argRows), field(f, p, argRow)
	k.bp, k.cp = field(f, p, argB), field(f, p, argC)
	ldb, ldc := field(f, p, argLdb), field(f, p, argLdc)
	k.ap = field(f, p, argA)
	hp := field(f, p, argH)
	var ldh a64.X
	if storeStates {
		k.hs, ldh = field(f, p, argHs), field(f, p, argLdh)
	}
	k.h = k.load(states, hp, 0)
	if storeStates {
		for i := 0; i < states; i += 2 {
			f.STP(k.h[i], k.h[i+1], k.hs, stateAt(i))
		}
		f.ADD(k.hs, k.hs, ldh)
	}
	k.least, k.bias = f.Const(-126), f.Const(roundBias)
	f.Label("row")
	k.d, k.in, k.sums = f.V(), f.V(), f.Row(2)
	f.LD(k.d, rp, vec.Delta)
	f.LD(k.in, rp, vec.Input)
	if allStates(states) {
		f.Zero(k.sums[0])
	} else {
		f.LD(k.sums[0], rp, vec.Out)
	}
	f.Zero(k.sums[1])
	k.update()
	f.FADD(k.sums[0], k.sums[0], k.sums[1])
	f.ST(k.sums[0], rp, vec.Out)
	f.ADDI(rp, rp, vec.RecordBytes)
	f.ADD(k.bp, k.bp, ldb)
	f.ADD(k.cp, k.cp, ldc)
	if storeStates {
		f.ADD(k.hs, k.hs, ldh)
	}
	f.SUBI(n, n, 1)
	f.CBNZ(n, "row")
	k.store(k.h, hp, 0)
	f.RET()
}

// update emits a row's update of the states and the sums of C·h.
func (k *forwardRow) update() {
	w := together(len(k.h))
	var bs, cs a64.V
	for i := 0; i < len(k.h); i += w {
		if i%4 == 0 {
			bs, cs = k.V(), k.V()
			k.LD(bs, k.bp, 4*i)
			k.LD(cs, k.cp, 4*i)
		}
		x, h := k.load(w, k.ap, stateBytes*i), k.h[i:i+w]
		for j := range x {
			k.FMUL(x[j], x[j], k.d)
		}
		e := k.exp2(x, k.least, k.bias)
		for j := range e {
			k.FMUL(h[j], h[j], e[j])
		}
		for j := range h {
			k.FMLAe(h[j], k.in, bs, (i+j)%4)
		}
		for j := 0; k.storeStates && j < w; j += 2 {
			k.STP(h[j], h[j+1], k.hs, stateAt(i+j))
			k.STP(e[j], e[j+1], k.hs, exponentialAt(i+j))
		}
		for j := range h {
			k.FMLAe(k.sums[j%2], h[j], cs, (i+j)%4)
		}
	}
}

// backwardRow is the backward pass under construction, for four channels. before points to the states before the row, hs to those
// after it.
type backwardRow struct {
	isa
	bp, cp, ap, dap, rp, pp a64.X
	hs, before              a64.X
	dh, sB, sA              row
	gy, in, addPart         a64.V
	withA                   bool
}

// backward emits the backward pass for four channels, as gen/scan describes it. dB and dC of four states are stored together.
func backward(file *a64.File, states int, withA bool) {
	name := "scanBackward"
	if withA {
		name = "scanBackwardA"
	}
	f := file.Func(fmt.Sprint(name, states, "Neon"), "func(p *byte)")
	k := backwardRow{isa: isa{Func: f}, withA: withA}
	p := f.Param("p")
	n := field(f, p, argRows)
	k.rp, k.bp, k.cp = field(f, p, argRow), field(f, p, argB), field(f, p, argC)
	ldb, ldc := field(f, p, argLdb), field(f, p, argLdc)
	k.ap = field(f, p, argA)
	hp := field(f, p, argH)
	k.hs = field(f, p, argHs)
	ldh := field(f, p, argLdh)
	k.pp = field(f, p, argPart)
	ldpart := field(f, p, argLdpart)
	if withA {
		k.dap = field(f, p, argDa)
	}
	k.before = f.X()
	k.addPart = mask(f, p, argAddPart)
	k.dh = k.load(states, hp, 0)
	f.Label("row")
	f.SUB(k.before, k.hs, ldh)
	k.gy, k.in, k.sB, k.sA = f.V(), f.V(), f.Row(2), f.Row(2)
	f.LD(k.gy, k.rp, vec.Gy)
	f.LD(k.in, k.rp, vec.Input)
	for i := range k.sB {
		if i == 0 && !allStates(states) {
			f.LD(k.sB[i], k.rp, vec.SumB)
			f.LD(k.sA[i], k.rp, vec.SumA)
		} else {
			f.Zero(k.sB[i])
			f.Zero(k.sA[i])
		}
	}
	for i := 0; i < states; i += 8 {
		k.outputGrad(i)
		for j := i; j < i+8; j += 4 {
			k.toRowBefore(j, k.storePart(j))
		}
	}
	f.FADD(k.sB[0], k.sB[0], k.sB[1])
	f.FADD(k.sA[0], k.sA[0], k.sA[1])
	f.ST(k.sB[0], k.rp, vec.SumB)
	f.ST(k.sA[0], k.rp, vec.SumA)
	f.SUBI(k.rp, k.rp, vec.RecordBytes)
	f.SUB(k.bp, k.bp, ldb)
	f.SUB(k.cp, k.cp, ldc)
	f.MOV(k.hs, k.before)
	f.SUB(k.pp, k.pp, ldpart)
	f.SUBI(n, n, 1)
	f.CBNZ(n, "row")
	k.store(k.dh, hp, 0)
	f.RET()
}

// outputGrad adds the gradient of the row's output to those of eight states from i on, and their shares to Σ dh·B.
func (k *backwardRow) outputGrad(i int) {
	bs, cs := k.load(2, k.bp, 4*i), k.load(2, k.cp, 4*i)
	for j := range 8 {
		k.FMLAe(k.dh[i+j], k.gy, cs[j/4], j%4)
	}
	for j := range 8 {
		k.FMLAe(k.sB[j%2], k.dh[i+j], bs[j/4], j%4)
	}
}

// storePart adds dB and dC of four states to part, or overwrites it. It returns the states' exponentials.
func (k *backwardRow) storePart(i int) (e row) {
	dB := laneSums(k.Func, func(j int) (x, y a64.V) {
		x, y = k.V(), k.V()
		k.FMUL(x, k.in, k.dh[i+j])
		k.FMUL(y, k.in, k.dh[i+j+1])
		return x, y
	})
	dC := laneSums(k.Func, func(j int) (x, y a64.V) {
		h := k.load(4, k.hs, stateAt(i+j))
		e = append(e, h[2:]...)
		k.FMUL(h[0], h[0], k.gy)
		k.FMUL(h[1], h[1], k.gy)
		return h[0], h[1]
	})
	t := k.load(2, k.pp, 8*i)
	for j, v := range []a64.V{dB, dC} {
		k.AND(t[j], t[j], k.addPart)
		k.FADD(t[j], v, t[j])
	}
	k.store(t, k.pp, 8*i)
	return e
}

// toRowBefore turns the gradients of four states, whose exponentials are e, into those at the previous row, and adds their shares to
// Σ q·a and da.
func (k *backwardRow) toRowBefore(i int, e row) {
	for j := 0; j < 4; j += 2 {
		dh, q := k.dh[i+j:], k.load(2, k.before, stateAt(i+j))
		for l := range q {
			k.FMUL(dh[l], dh[l], e[j+l])
			k.FMUL(q[l], q[l], dh[l])
		}
		a := k.load(2, k.ap, stateBytes*(i+j))
		for l := range q {
			k.FMLA(k.sA[l], q[l], a[l])
		}
		if k.withA {
			d, t := k.V(), k.load(2, k.dap, stateBytes*(i+j))
			k.LD(d, k.rp, vec.Delta)
			for l := range q {
				k.FMLA(t[l], q[l], d)
			}
			k.store(t, k.dap, stateBytes*(i+j))
		}
	}
}

// laneSums returns the sums of the lanes of four vectors, which x returns two at a time, from the j-th on.
func laneSums(f *a64.Func, x func(j int) (u, v a64.V)) a64.V {
	var pair [2]a64.V
	for j := range pair {
		u, v := x(2 * j)
		f.FADDP(u, u, v)
		pair[j] = u
	}
	f.FADDP(pair[0], pair[0], pair[1])
	return pair[0]
}

// step emits one row for 16 contiguous states, channel by channel.
func step(file *a64.File) {
	f := file.Func("step16Neon", "func(d int, y, h, alog, delta, in, b, c *float32)")
	m := newISA(f)
	d, yp, hp, ap := f.Param("d"), f.Param("y"), f.Param("h"), f.Param("alog")
	dp, ip, bp, cp := f.Param("delta"), f.Param("in"), f.Param("b"), f.Param("c")
	bs, cs := m.load(4, bp, 0), m.load(4, cp, 0)
	f.Label("channel")
	dl, in := f.V(), f.V()
	x := vec.Exp(m, m.load(4, ap, 0))
	f.LD1R(dl, dp)
	f.FMULe(dl, dl, m.reduce, 3)
	for i := range x {
		f.FMUL(x[i], x[i], dl)
	}
	e := m.exp2(x, f.Const(-126), f.Const(roundBias))
	f.LD1R(in, ip)
	h := m.load(4, hp, 0)
	for i := range h {
		f.FMUL(h[i], h[i], e[i])
		f.FMLA(h[i], bs[i], in)
	}
	m.store(h, hp, 0)
	for i := range h {
		f.FMUL(h[i], h[i], cs[i])
	}
	f.STS(m.fold(h), yp, 0)
	for _, p := range []a64.X{yp, dp, ip} {
		f.ADDI(p, p, 4)
	}
	f.ADDI(hp, hp, 64)
	f.ADDI(ap, ap, 64)
	f.SUBI(d, d, 1)
	f.CBNZ(d, "channel")
	f.RET()
}
