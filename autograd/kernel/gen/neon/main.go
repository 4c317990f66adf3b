// Command neon writes the kernels of arm64: those that package vec describes, and the tiles, packing, recurrences, and decays that
// suit NEON's registers.
package main

import (
	"flag"
	"fmt"

	"mambatrain/autograd/kernel/gen/a64"
	"mambatrain/autograd/kernel/gen/vec"
)

func main() {
	asm, stubs := flag.String("out", "", "assembly"), flag.String("stubs", "", "its Go declarations")
	gnu := flag.String("gnu", "", "the same in GNU syntax, for llvm-mc and llvm-mca")
	flag.Parse()
	file := a64.NewFile()
	products(file)
	for _, k := range vec.Kernels[a64.V]() {
		emitKernel(file, k)
	}
	for _, states := range []int{8, 16} {
		for _, more := range []bool{false, true} {
			forward(file, states, more)
			backward(file, states, more)
		}
	}
	for _, p := range vec.Passes[a64.V]() {
		emitPass(file, p)
	}
	step(file)
	duality(file)
	for _, t := range vec.BlockTypes[a64.V]() {
		dotBlocks(file, t)
		readStrips(file, t)
	}
	file.Write(*asm, *stubs, *gnu)
}

// products emits the tiles, the packing of their operands, and the loops that measure peaks.
func products(file *a64.File) {
	for mr := 1; mr <= 12; mr++ {
		for _, columns := range []int{8, 16, 32} {
			tile(file, fmt.Sprintf("tile%dx%dNeon", mr, columns), mr, columns, float)
			if columns > 8 { // adapters, the only narrow operands, are float32
				tile(file, fmt.Sprintf("tile%dx%dBF16", mr, columns), mr, columns, bf16Product(mr))
			}
		}
	}
	packTransposed(file, "packTransposedNeon", false)
	packTransposed(file, "packTransposedBFCvt", true)
	packQuads(file)
	transposeSquares(file)
	packStraight(file)
	packPanels(file)
	packPairsTransposed(file)
	widenPairs(file)
	burst(file, "burstNeon", (*a64.Func).FMLA)
	burst(file, "burstBFMMLA", (*a64.Func).BFMMLA)
	sweep(file)
	f := file.Func("pause", "func()")
	f.Yield()
	f.RET()
}
