// Command vector writes the elementwise kernels of amd64: loops over n elements, n a multiple of 16.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/reg"

	"mambatrain/autograd/kernel/gen/asm"
	"mambatrain/autograd/kernel/gen/vec"
)

func main() {
	ConstraintExpr("amd64")
	for _, v := range []asm.ISA{asm.AVX512, asm.AVX2} {
		for _, k := range vec.Kernels[reg.VecVirtual]() {
			asm.EmitKernel(v, k)
		}
	}
	Generate()
}
