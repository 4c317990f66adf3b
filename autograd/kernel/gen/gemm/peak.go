package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mambatrain/autograd/kernel/gen/asm"
)

// burst emits an arithmetic-only loop that measures the peak: k times 24 independent multiply-adds, 12 with AVX2.
func burst(name string, v asm.ISA, bf16 bool) {
	TEXT(name, NOSPLIT, "func(k int)")
	k := Load(Param("k"), GP64())
	n := 24
	if v.Bytes == 32 {
		n = 12
	}
	if bf16 {
		for i := 0; i < 32; i++ {
			VPXORD(asm.Z[i], asm.Z[i], asm.Z[i])
		}
		Label("loop")
		for i := 0; i < n; i++ {
			asm.VDPBF16PS(28, 30, i)
		}
	} else {
		x, y := v.Zero(), v.Zero()
		acc := make([]reg.VecVirtual, n)
		for i := range acc {
			acc[i] = v.Zero()
		}
		Label("loop")
		for i := range acc {
			VFMADD231PS(x, y, acc[i])
		}
	}
	DECQ(k)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// sweep emits reads of n bytes, a multiple of 512, and nothing else.
func sweep() {
	TEXT("sweep256", NOSPLIT, "func(n int, x *float32)")
	Pragma("noescape")
	n := Load(Param("n"), GP64())
	x := Load(Param("x"), GP64())
	var acc [8]reg.VecVirtual
	for i := range acc {
		acc[i] = asm.AVX2.Zero()
	}
	Label("loop")
	for i := 0; i < 16; i++ {
		VORPS(Mem{Base: x, Disp: 32 * i}, acc[i%8], acc[i%8])
		if i%2 == 0 {
			PREFETCHT0(Mem{Base: x, Disp: 4096 + 32*i})
		}
	}
	ADDQ(U32(512), x)
	SUBQ(U32(512), n)
	JGT(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
