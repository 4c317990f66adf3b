// Command gemm writes the matrix kernels: register tiles, the packing of their operands, and the loops that measure peaks.
package main

import (
	. "github.com/mmcloughlin/avo/build"

	"mambatrain/autograd/kernel/gen/asm"
)

func main() {
	ConstraintExpr("amd64")
	for mr := 1; mr <= 14; mr++ {
		for nv := 1; nv <= 2; nv++ {
			tile(asm.AVX512, mr, nv)
			tileBF16(mr, nv)
		}
	}
	for mr := 1; mr <= 6; mr++ {
		tile(asm.AVX2, mr, 2)
		if mr <= 2 { // for decoding: each line of b is read once, in order; with more rows there are not enough registers
			tile(asm.AVX2, mr, 4)
		}
	}
	packTransposed()
	packTransposedNarrow()
	packStraightNarrow()
	transposeSquares()
	packTransposedBF16()
	packStraight()
	packPanels(asm.AVX512)
	packPanels(asm.AVX2)
	packPairsTransposed()
	widenPairs(asm.AVX512)
	widenPairs(asm.AVX2)
	burst("burst512", asm.AVX512, false)
	burst("burst256", asm.AVX2, false)
	burst("burstBF16", asm.AVX512, true)
	sweep()
	TEXT("pause", NOSPLIT, "func()")
	PAUSE()
	RET()
	Generate()
}
