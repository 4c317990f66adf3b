// Command block writes amd64's kernels for quantized weights. They use AVX2 on every processor: inner products are limited by memory, and
// many rows share the cost of a strip.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/reg"

	"mambatrain/autograd/kernel/gen/asm"
	"mambatrain/autograd/kernel/gen/vec"
)

func main() {
	ConstraintExpr("amd64")
	for _, t := range vec.BlockTypes[reg.VecVirtual]() {
		asm.EmitDot(t)
		asm.EmitStrip(t)
	}
	Generate()
}
