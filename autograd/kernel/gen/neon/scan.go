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

// stateBytes is the distance of states in arrays of states, rowStateBytes where each is followed by its exponential.
const (
	stateBytes    = 16
	rowStateBytes = 32
)

// allStates reports whether the kernel covers all of the model's states. It then overwrites the sums over states that other
// kernels add to.
func allStates(states int) bool { return states == 16 }

// together returns of how many states the exponentials are computed together.
func together(states int) int {
	if states == 16 {
		return 2
	}
	return 4
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
	m := isa{Func: f}
	p := f.Param("p")
	n, rp, bp, cp := field(f, p, argRows), field(f, p, argRow), field(f, p, argB), field(f, p, argC)
	ldb, ldc, ap, hp := field(f, p, argLdb), field(f, p, argLdc), field(f, p, argA), field(f, p, argH)
	var hs, ldh a64.X
	if storeStates {
		hs, ldh = field(f, p, argHs), field(f, p, argLdh)
	}
	h := f.Row(states)
	for i := range h {
		f.LD(h[i], hp, stateBytes*i)
		if storeStates {
			f.ST(h[i], hs, rowStateBytes*i)
		}
	}
	if storeStates {
		f.ADD(hs, hs, ldh)
	}
	least, bias := f.Const(-126), f.Const(roundBias)
	f.Label("row")
	d, in, sums := f.V(), f.V(), f.Row(2)
	f.LD(d, rp, vec.Delta)
	f.LD(in, rp, vec.Input)
	for i := range sums {
		if i == 0 && !allStates(states) {
			f.LD(sums[i], rp, vec.Out)
		} else {
			f.Zero(sums[i])
		}
	}
	w := together(states)
	var bs, cs a64.V
	for i := 0; i < states; i += w {
		if i%4 == 0 {
			bs, cs = f.V(), f.V()
			f.LD(bs, bp, 4*i)
			f.LD(cs, cp, 4*i)
		}
		x := vec.NewRow(m, w)
		for j := range x {
			f.LD(x[j], ap, stateBytes*(i+j))
			f.FMUL(x[j], x[j], d)
		}
		e := m.exp2(x, least, bias)
		for j := range e {
			if storeStates {
				f.ST(e[j], hs, rowStateBytes*(i+j)+stateBytes)
			}
			f.FMUL(h[i+j], h[i+j], e[j])
		}
		for j := range e {
			f.FMLAe(h[i+j], in, bs, (i+j)%4)
		}
		for j := range e {
			if storeStates {
				f.ST(h[i+j], hs, rowStateBytes*(i+j))
			}
			f.FMLAe(sums[j%2], h[i+j], cs, (i+j)%4)
		}
	}
	f.FADD(sums[0], sums[0], sums[1])
	f.ST(sums[0], rp, vec.Out)
	f.ADDI(rp, rp, vec.RecordBytes)
	f.ADD(bp, bp, ldb)
	f.ADD(cp, cp, ldc)
	if storeStates {
		f.ADD(hs, hs, ldh)
	}
	f.SUBI(n, n, 1)
	f.CBNZ(n, "row")
	for i := range h {
		f.ST(h[i], hp, stateBytes*i)
	}
	f.RET()
}

// backward emits the backward pass for four channels, as gen/scan describes it. dB and dC of four states are stored together.
func backward(file *a64.File, states int, withA bool) {
	name := "scanBackward"
	if withA {
		name = "scanBackwardA"
	}
	f := file.Func(fmt.Sprint(name, states, "Neon"), "func(p *byte)")
	p := f.Param("p")
	n, rp, bp, cp := field(f, p, argRows), field(f, p, argRow), field(f, p, argB), field(f, p, argC)
	ldb, ldc, ap, hp := field(f, p, argLdb), field(f, p, argLdc), field(f, p, argA), field(f, p, argH)
	hs, ldh, pp, ldpart := field(f, p, argHs), field(f, p, argLdh), field(f, p, argPart), field(f, p, argLdpart)
	var dap a64.X
	if withA {
		dap = field(f, p, argDa)
	}
	before := f.X()
	addPart := mask(f, p, argAddPart)
	dh := f.Row(states)
	for i := range dh {
		f.LD(dh[i], hp, stateBytes*i)
	}
	f.Label("row")
	f.SUB(before, hs, ldh)
	g0, in, sB, sA := f.V(), f.V(), f.Row(2), f.Row(2)
	f.LD(g0, rp, vec.Gy)
	f.LD(in, rp, vec.Input)
	for i := range sB {
		if i == 0 && !allStates(states) {
			f.LD(sB[i], rp, vec.SumB)
			f.LD(sA[i], rp, vec.SumA)
		} else {
			f.Zero(sB[i])
			f.Zero(sA[i])
		}
	}
	for i := 0; i < states; i += 4 {
		bs, cs := f.V(), f.V()
		f.LD(bs, bp, 4*i)
		f.LD(cs, cp, 4*i)
		for j := range 4 {
			f.FMLAe(dh[i+j], g0, cs, j)
		}
		for j := range 4 {
			f.FMLAe(sB[j%2], dh[i+j], bs, j)
		}
		dB := laneSums(f, func(j int) a64.V {
			x := f.V()
			f.FMUL(x, in, dh[i+j])
			return x
		})
		dC := laneSums(f, func(j int) a64.V {
			x := f.V()
			f.LD(x, hs, rowStateBytes*(i+j))
			f.FMUL(x, x, g0)
			return x
		})
		for j, v := range []a64.V{dB, dC} {
			t := f.V()
			f.LD(t, pp, 8*i+16*j)
			f.AND(t, t, addPart)
			f.FADD(v, v, t)
			f.ST(v, pp, 8*i+16*j)
		}
		for j := range 4 {
			e, q := f.V(), f.V()
			f.LD(e, hs, rowStateBytes*(i+j)+stateBytes)
			f.FMUL(dh[i+j], dh[i+j], e)
			f.LD(q, before, rowStateBytes*(i+j))
			f.FMUL(q, q, dh[i+j])
			a := f.V()
			f.LD(a, ap, stateBytes*(i+j))
			f.FMLA(sA[j%2], q, a)
			if withA {
				d, t := f.V(), f.V()
				f.LD(d, rp, vec.Delta)
				f.LD(t, dap, stateBytes*(i+j))
				f.FMLA(t, q, d)
				f.ST(t, dap, stateBytes*(i+j))
			}
		}
	}
	f.FADD(sB[0], sB[0], sB[1])
	f.FADD(sA[0], sA[0], sA[1])
	f.ST(sB[0], rp, vec.SumB)
	f.ST(sA[0], rp, vec.SumA)
	f.SUBI(rp, rp, vec.RecordBytes)
	f.SUB(bp, bp, ldb)
	f.SUB(cp, cp, ldc)
	f.MOV(hs, before)
	f.SUB(pp, pp, ldpart)
	f.SUBI(n, n, 1)
	f.CBNZ(n, "row")
	for i := range dh {
		f.ST(dh[i], hp, stateBytes*i)
	}
	f.RET()
}

// laneSums returns the sums of the lanes of four vectors.
func laneSums(f *a64.Func, x func(j int) a64.V) a64.V {
	var pair [2]a64.V
	for j := range pair {
		u, v := x(2*j), x(2*j+1)
		f.FADDP(u, u, v)
		pair[j] = u
	}
	f.FADDP(pair[0], pair[0], pair[1])
	return pair[0]
}

// step emits one row for 16 states that lie side by side, channel by channel.
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
