package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mambatrain/autograd/kernel/gen/asm"
	"mambatrain/autograd/kernel/gen/vec"
)

// each emits a loop over n elements, n a multiple of 16: body is called once, for a vector.
func each(v asm.ISA, slices []string, body func(at func(slice string) Mem)) {
	n := load("n")
	SHLQ(U8(2), n)
	ptrs := map[string]reg.Register{}
	for _, s := range slices {
		ptrs[s] = load(s)
	}
	off := GP64()
	XORQ(off, off)
	Label("loop")
	body(func(s string) Mem { return Mem{Base: ptrs[s], Index: off, Scale: 1} })
	ADDQ(U8(v.Bytes), off)
	CMPQ(off, n)
	JLT(LabelRef("loop"))
}

// gatedSums emits s = σ(z), v = y·z·s, and returns Σ v² and Σ w·do·v in float64.
func gatedSums(v asm.ISA) {
	TEXT("gatedSums_"+v.Suffix, NOSPLIT, "func(n int, v, s, y, z, w, do *float32) (squares, products float64)")
	Pragma("noescape")
	squares, products := v.Zero(), v.Zero()
	each(v, []string{"v", "s", "y", "z", "w", "do"}, func(at func(string) Mem) {
		z, q := v.Vec(), v.Vec()
		VMOVUPS(at("z"), z)
		s := vec.Gated(v, asm.Row{z}, nil)[0]
		VMOVUPS(s, at("s"))
		VMULPS(s, z, z)
		VMULPS(at("y"), z, z)
		VMOVUPS(z, at("v"))
		VMOVUPS(at("w"), q)
		VMULPS(at("do"), q, q)
		for half := range 2 {
			a, b := widened(v, z, half), widened(v, q, half)
			VFMADD231PD(a, a, squares)
			VFMADD231PD(a, b, products)
		}
	})
	add := func(a, b, d Op) { VADDPD(a, b, d) }
	Store(asm.Fold(v, squares, add, true), ReturnIndex(0))
	Store(asm.Fold(v, products, add, true), ReturnIndex(1))
	VZEROUPPER()
	RET()
}

// widened returns one half of x in float64.
func widened(v asm.ISA, x reg.VecVirtual, half int) reg.VecVirtual {
	wide := v.Vec()
	switch {
	case v.Bytes == 64 && half == 0:
		VCVTPS2PD(x.AsY(), wide)
	case v.Bytes == 64:
		h := YMM()
		VEXTRACTF64X4(U8(1), x, h)
		VCVTPS2PD(h, wide)
	case half == 0:
		VCVTPS2PD(x.AsX(), wide)
	default:
		h := XMM()
		VEXTRACTF128(U8(1), x, h)
		VCVTPS2PD(h, wide)
	}
	return wide
}

// gatedGrad emits, from what gatedSums left in v and s, with dv = r·w·do − k·v,
//
//	dy = dv·z·s    dz = dv·y·s·(1 + z·(1 − s))
func gatedGrad(v asm.ISA) {
	TEXT("gatedGrad_"+v.Suffix, NOSPLIT, "func(n int, dy, dz, v, s, y, z, w, do *float32, r, k float32)")
	Pragma("noescape")
	r, k := broadcast(v, "r"), broadcast(v, "k")
	each(v, []string{"dy", "dz", "v", "s", "y", "z", "w", "do"}, func(at func(string) Mem) {
		dv, s, z, slope := v.Vec(), v.Vec(), v.Vec(), v.Splat(1)
		VMOVUPS(at("w"), dv)
		VMULPS(at("do"), dv, dv)
		VMULPS(r, dv, dv)
		VFNMADD231PS(at("v"), k, dv)
		VMOVUPS(at("s"), s)
		VMOVUPS(at("z"), z)
		VMULPS(s, dv, dv) // dv·s
		VSUBPS(s, slope, slope)
		VFMADD213PS(v.Splat(1), z, slope)
		VMULPS(dv, z, z)
		VMOVUPS(z, at("dy"))
		VMULPS(at("y"), dv, dv)
		VMULPS(slope, dv, dv)
		VMOVUPS(dv, at("dz"))
	})
	VZEROUPPER()
	RET()
}
