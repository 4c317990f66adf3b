package main

import "mambatrain/autograd/kernel/gen/a64"

// burst emits an arithmetic-only loop that measures the peak: k times 24 independent multiply-adds.
func burst(file *a64.File, name string, multiply func(f *a64.Func, d, a, b a64.V)) {
	f := file.Func(name, "func(k int)")
	k := f.Param("k")
	x, y, acc := f.V(), f.V(), f.Row(24)
	for _, v := range append([]a64.V{x, y}, acc...) {
		f.Zero(v)
	}
	f.Label("loop")
	for i := range acc {
		multiply(f, acc[i], x, y)
	}
	f.SUBI(k, k, 1)
	f.CBNZ(k, "loop")
	f.RET()
}

// sweep emits reads of n bytes, a multiple of 512, and nothing else.
func sweep(file *a64.File) {
	f := file.Func("sweepNeon", "func(n int, x *float32)")
	n, x := f.Param("n"), f.Param("x")
	f.Label("loop")
	for i := 0; i < 16; i++ {
		t := f.Row(2)
		f.LDP(t[0], t[1], x, 32*i)
	}
	f.ADDI(x, x, 512)
	f.SUBS(n, n, 512)
	f.Bcond("GT", "loop")
	f.RET()
}
