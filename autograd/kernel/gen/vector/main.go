// Command vector writes the elementwise kernels: loops over n elements, n a multiple of 16.
package main

import (
	"strings"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mambatrain/autograd/kernel/gen/asm"
)

// loop is one elementwise kernel under construction.
type loop struct {
	asm.ISA
	ptrs map[string]reg.Register
	off  reg.Register
}

// at addresses the current elements of the slice called name.
func (l loop) at(name string) Mem { return Mem{Base: l.ptrs[name], Index: l.off, Scale: 1} }

// load returns the current elements of the slice called name.
func (l loop) load(name string) reg.VecVirtual {
	r := l.Vec()
	VMOVUPS(l.at(name), r)
	return r
}

func (l loop) store(r reg.Register, name string) { VMOVUPS(r, l.at(name)) }

// kernel describes func name(n int, slices… *float32, scalars… float32) result. Lists are separated by commas.
type kernel struct {
	name, slices, scalars, result string
	before                        func(l loop)                           // emitted ahead of the loop, if not nil
	body                          func(l loop, scalars []reg.VecVirtual) // emitted once per vector; scalars fill a vector each
	after                         func(l loop)                           // emitted after the loop, if not nil
}

// elementwise emits a kernel that only has a body.
func elementwise(v asm.ISA, name, slices, scalars string, body func(l loop, scalars []reg.VecVirtual)) {
	kernel{name: name, slices: slices, scalars: scalars, body: body}.emit(v)
}

func (k kernel) emit(v asm.ISA) {
	sig := "func(n int"
	if k.slices != "" {
		sig += ", " + k.slices + " *float32"
	}
	if k.scalars != "" {
		sig += ", " + k.scalars + " float32"
	}
	TEXT(k.name+v.Suffix, NOSPLIT, sig+")"+k.result)
	Pragma("noescape")
	n := Load(Param("n"), GP64())
	l := loop{v, map[string]reg.Register{}, GP64()}
	for _, p := range strings.Split(k.slices, ", ") {
		l.ptrs[p] = Load(Param(p), GP64())
	}
	var s []reg.VecVirtual
	if k.scalars != "" {
		for _, c := range strings.Split(k.scalars, ", ") {
			a, err := Param(c).Resolve()
			if err != nil {
				panic(err)
			}
			r := v.Vec()
			VBROADCASTSS(a.Addr, r)
			s = append(s, r)
		}
	}
	SHLQ(U8(2), n)
	XORQ(l.off, l.off)
	if k.before != nil {
		k.before(l)
	}
	Label("loop")
	k.body(l, s)
	ADDQ(U8(v.Bytes), l.off)
	CMPQ(l.off, n)
	JLT(LabelRef("loop"))
	if k.after != nil {
		k.after(l)
	}
	VZEROUPPER()
	RET()
}

// siluSlope returns σ(x)·(1 + x·(1 − σ(x))).
func siluSlope(v asm.ISA, x reg.VecVirtual) reg.VecVirtual {
	s := v.Gated(asm.Row{x}, nil)[0]
	t := v.Splat(1)
	VSUBPS(s, t, t)
	VMULPS(x, t, t)
	v.AddC(1, t, t)
	VMULPS(s, t, t)
	return t
}

func functions(v asm.ISA) {
	elementwise(v, "exp", "y, x", "", func(l loop, _ []reg.VecVirtual) { l.store(v.Exp(l.load("x")), "y") })
	elementwise(v, "sigmoid", "y, x", "", func(l loop, _ []reg.VecVirtual) { l.store(v.Gated(asm.Row{l.load("x")}, nil)[0], "y") })
	elementwise(v, "silu", "y, x", "", func(l loop, _ []reg.VecVirtual) {
		x := l.load("x")
		l.store(v.Gated(asm.Row{x}, asm.Row{x})[0], "y")
	})
	elementwise(v, "softplus", "y, x", "", func(l loop, _ []reg.VecVirtual) { l.store(v.Softplus(asm.Row{l.load("x")})[0], "y") })
	elementwise(v, "siluGrad", "y, gy, x", "", func(l loop, _ []reg.VecVirtual) {
		t := siluSlope(v, l.load("x"))
		VMULPS(l.at("gy"), t, t)
		l.store(t, "y")
	})
	// y = x·silu(z)
	elementwise(v, "gate", "y, x, z", "", func(l loop, _ []reg.VecVirtual) {
		z, p := l.load("z"), v.Vec()
		VMULPS(l.at("x"), z, p)
		l.store(v.Gated(asm.Row{z}, asm.Row{p})[0], "y")
	})
}

func arithmetic(v asm.ISA) {
	elementwise(v, "add", "y, x", "", func(l loop, _ []reg.VecVirtual) {
		t := l.load("x")
		VADDPS(l.at("y"), t, t)
		l.store(t, "y")
	})
	// y = a·b
	elementwise(v, "mul", "y, a, b", "", func(l loop, _ []reg.VecVirtual) {
		t := l.load("a")
		VMULPS(l.at("b"), t, t)
		l.store(t, "y")
	})
	// y += a·b
	elementwise(v, "mulAdd", "y, a, b", "", func(l loop, _ []reg.VecVirtual) {
		t, y := l.load("a"), l.load("y")
		VFMADD231PS(l.at("b"), t, y)
		l.store(y, "y")
	})
	// y = x·k + c
	elementwise(v, "scaleShift", "y, x", "k, c", func(l loop, s []reg.VecVirtual) {
		t := l.load("x")
		VFMADD213PS(s[1], s[0], t)
		l.store(t, "y")
	})
	// y = x·s·w
	elementwise(v, "scaleBy", "y, x, w", "s", func(l loop, s []reg.VecVirtual) {
		t := l.load("x")
		VMULPS(s[0], t, t)
		VMULPS(l.at("w"), t, t)
		l.store(t, "y")
	})
	// dx += s·w·dy − k·x
	elementwise(v, "rmsGrad", "dx, dy, x, w", "s, k", func(l loop, s []reg.VecVirtual) {
		t, y := l.load("w"), l.load("dx")
		VMULPS(l.at("dy"), t, t)
		VFMADD231PS(s[0], t, y)
		VFNMADD231PS(l.at("x"), s[1], y)
		l.store(y, "dx")
	})
	// y += a·b·s
	elementwise(v, "mulAddScaled", "y, a, b", "s", func(l loop, s []reg.VecVirtual) {
		t, y := l.load("a"), l.load("y")
		VMULPS(s[0], t, t)
		VFMADD231PS(l.at("b"), t, y)
		l.store(y, "y")
	})
}

// reductions return one number. Products are summed in float64.
func reductions(v asm.ISA) {
	half := func(m Mem, i int) Mem { m.Disp += i * v.Bytes / 2; return m }
	var sums [2]reg.VecVirtual
	zeroSums := func(loop) { sums = [2]reg.VecVirtual{v.Zero(), v.Zero()} }
	storeSums := func(loop) {
		VADDPD(sums[0], sums[1], sums[0])
		Store(asm.Fold(v, sums[0], func(a, b, d Op) { VADDPD(a, b, d) }, true), ReturnIndex(0))
	}
	// Σ a·b
	kernel{name: "dot", slices: "a, b", result: " float64", before: zeroSums, after: storeSums, body: func(l loop, _ []reg.VecVirtual) {
		for i := range sums {
			x, y := v.Vec(), v.Vec()
			VCVTPS2PD(half(l.at("a"), i), x)
			VCVTPS2PD(half(l.at("b"), i), y)
			VFMADD231PD(x, y, sums[i])
		}
	}}.emit(v)
	// Σ (a·b)·c, the first product in float32
	kernel{name: "dot3", slices: "a, b, c", result: " float64", before: zeroSums, after: storeSums, body: func(l loop, _ []reg.VecVirtual) {
		for i := range sums {
			x, y, z := halfVec(v), v.Vec(), v.Vec()
			VMOVUPS(half(l.at("a"), i), x)
			VMULPS(half(l.at("b"), i), x, x)
			VCVTPS2PD(x, y)
			VCVTPS2PD(half(l.at("c"), i), z)
			VFMADD231PD(y, z, sums[i])
		}
	}}.emit(v)

	var top reg.VecVirtual
	kernel{
		name: "max", slices: "x", result: " float32",
		before: func(l loop) { top = l.load("x") },
		body:   func(l loop, _ []reg.VecVirtual) { VMAXPS(l.at("x"), top, top) },
		after: func(loop) {
			Store(asm.Fold(v, top, func(a, b, d Op) { VMAXPS(a, b, d) }, false), ReturnIndex(0))
		},
	}.emit(v)

	// e = exp(x − shift), and their sum
	var sum reg.VecVirtual
	zero := func(loop) { sum = v.Zero() }
	store := func(loop) {
		Store(asm.Fold(v, sum, func(a, b, d Op) { VADDPS(a, b, d) }, false), ReturnIndex(0))
	}
	kernel{name: "expSumStore", slices: "e, x", scalars: "shift", result: " float32", before: zero, after: store, body: func(l loop, s []reg.VecVirtual) {
		t := l.load("x")
		VSUBPS(s[0], t, t)
		t = v.Exp(t)
		VADDPS(t, sum, sum)
		l.store(t, "e")
	}}.emit(v)
	kernel{name: "expSum", slices: "x", scalars: "shift", result: " float32", before: zero, after: store, body: func(l loop, s []reg.VecVirtual) {
		t := l.load("x")
		VSUBPS(s[0], t, t)
		VADDPS(v.Exp(t), sum, sum)
	}}.emit(v)
}

func halfVec(v asm.ISA) reg.VecVirtual {
	if v.Bytes == 64 {
		return YMM()
	}
	return XMM()
}

// taps emits the convolution's loops for a width of four.
func taps(v asm.ISA) {
	// Row j of w starts ldw elements after row j−1.
	rows := func(l loop, name string) [4]reg.Register {
		p := [4]reg.Register{l.ptrs[name]}
		for j := 1; j < 4; j++ {
			p[j] = GP64()
			MOVQ(p[j-1], p[j])
			ADDQ(l.ptrs["ld"], p[j])
		}
		return p
	}
	var w [4]reg.Register
	prepare := func(l loop) {
		l.ptrs["ld"] = Load(Param("ldw"), GP64())
		SHLQ(U8(2), l.ptrs["ld"])
		w = rows(l, "w")
	}
	// y = b + Σ_j w_j·x_j
	tapLoop(v, "conv4", "y, b, w, x0, x1, x2, x3", prepare, func(l loop) {
		y := l.load("b")
		for j, x := range []string{"x0", "x1", "x2", "x3"} {
			t := l.load(x)
			VFMADD231PS(Mem{Base: w[j], Index: l.off, Scale: 1}, t, y)
		}
		l.store(y, "y")
	})
	// w_j += g·x_j
	tapLoop(v, "convGrad4", "gy, w, x0, x1, x2, x3", prepare, func(l loop) {
		g := l.load("gy")
		for j, x := range []string{"x0", "x1", "x2", "x3"} {
			m := Mem{Base: w[j], Index: l.off, Scale: 1}
			t := v.Vec()
			VMOVUPS(m, t)
			VFMADD231PS(l.at(x), g, t)
			VMOVUPS(t, m)
		}
	})
}

// tapLoop emits a loop over n elements with a last argument ldw.
func tapLoop(v asm.ISA, name, slices string, before, body func(loop)) {
	TEXT(name+"_"+v.Suffix, NOSPLIT, "func(n int, "+slices+" *float32, ldw int)")
	Pragma("noescape")
	n := Load(Param("n"), GP64())
	l := loop{v, map[string]reg.Register{}, GP64()}
	for _, p := range strings.Split(slices, ", ") {
		l.ptrs[p] = Load(Param(p), GP64())
	}
	SHLQ(U8(2), n)
	XORQ(l.off, l.off)
	before(l)
	Label("loop")
	body(l)
	ADDQ(U8(v.Bytes), l.off)
	CMPQ(l.off, n)
	JLT(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// adamw emits adamWRef of adamw_ref.go; k points to the nine fields of adamWFactors.
func adamw(v asm.ISA) {
	TEXT("adamw"+v.Suffix, NOSPLIT, "func(n int, w, gy, m, v, k *float32)")
	Pragma("noescape")
	n := Load(Param("n"), GP64())
	l := loop{v, map[string]reg.Register{}, GP64()}
	for _, p := range []string{"w", "gy", "m", "v", "k"} {
		l.ptrs[p] = Load(Param(p), GP64())
	}
	SHLQ(U8(2), n)
	XORQ(l.off, l.off)
	var k [9]reg.VecVirtual
	for i := range k {
		k[i] = v.Vec()
		VBROADCASTSS(Mem{Base: l.ptrs["k"], Disp: 4 * i}, k[i])
	}
	scale, beta1, rest1, beta2, rest2, keep, rate, root, eps := k[0], k[1], k[2], k[3], k[4], k[5], k[6], k[7], k[8]
	Label("loop")
	g, t, u := l.load("gy"), v.Vec(), v.Vec()
	VMULPS(scale, g, g)
	VMULPS(l.at("m"), beta1, t)
	VFMADD231PS(g, rest1, t)
	l.store(t, "m")
	VMULPS(g, g, g)
	VMULPS(l.at("v"), beta2, u)
	VFMADD231PS(g, rest2, u)
	l.store(u, "v")
	VSQRTPS(u, u)
	VFMADD213PS(eps, root, u)
	VMULPS(rate, t, t)
	VDIVPS(u, t, t)
	VMULPS(l.at("w"), keep, u)
	VSUBPS(t, u, u)
	l.store(u, "w")
	ADDQ(U8(v.Bytes), l.off)
	CMPQ(l.off, n)
	JLT(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

func main() {
	ConstraintExpr("amd64")
	for _, v := range []asm.ISA{asm.AVX512, asm.AVX2} {
		functions(v)
		arithmetic(v)
		reductions(v)
		taps(v)
		adamw(v)
	}
	Generate()
}
