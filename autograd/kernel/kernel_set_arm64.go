package kernel

import (
	"cmp"

	"mambatrain/internal/quant"
)

// machineSets lists the vector kernel sets of this processor, slowest first. Every arm64 processor has NEON.
func machineSets() []*kernelSet {
	sets := []*kernelSet{&neonSet}
	if hasBF16() {
		sets = append(sets, &neonBF16Set)
	}
	return sets
}

// neonHeight is the height of the tallest tile.
const neonHeight = 12

var neonTiles = [15][3]tileFunc{
	1:  {tile1x8Neon, tile1x16Neon, tile1x32Neon},
	2:  {tile2x8Neon, tile2x16Neon, tile2x32Neon},
	3:  {tile3x8Neon, tile3x16Neon, tile3x32Neon},
	4:  {tile4x8Neon, tile4x16Neon, tile4x32Neon},
	5:  {tile5x8Neon, tile5x16Neon, tile5x32Neon},
	6:  {tile6x8Neon, tile6x16Neon, tile6x32Neon},
	7:  {tile7x8Neon, tile7x16Neon, tile7x32Neon},
	8:  {tile8x8Neon, tile8x16Neon, tile8x32Neon},
	9:  {tile9x8Neon, tile9x16Neon, tile9x32Neon},
	10: {tile10x8Neon, tile10x16Neon, tile10x32Neon},
	11: {tile11x8Neon, tile11x16Neon, tile11x32Neon},
	12: {tile12x8Neon, tile12x16Neon, tile12x32Neon},
}

var neonSet = kernelSet{
	name:   "neon",
	height: neonHeight,
	tile:   neonTiles,
	scan:   neonScan,
	blocks: neonBlocks,
	burst:  burstOf(burstNeon, burstNeon, 24*4*2, 24*4*2),
	sweep:  sweepLines,
	vec:    vectorsNeon,
	quant:  &quantNeon,
}

var neonBF16Set = kernelSet{
	name:   "neonbf16",
	height: neonHeight,
	tile:   neonTiles,
	tile16: [15][3]tileFunc{
		1: {nil, tile1x16BF16, tile1x32BF16}, 2: {nil, tile2x16BF16, tile2x32BF16},
		3: {nil, tile3x16BF16, tile3x32BF16}, 4: {nil, tile4x16BF16, tile4x32BF16},
		5: {nil, tile5x16BF16, tile5x32BF16}, 6: {nil, tile6x16BF16, tile6x32BF16},
		7: {nil, tile7x16BF16, tile7x32BF16}, 8: {nil, tile8x16BF16, tile8x32BF16},
		9: {nil, tile9x16BF16, tile9x32BF16}, 10: {nil, tile10x16BF16, tile10x32BF16},
		11: {nil, tile11x16BF16, tile11x32BF16}, 12: {nil, tile12x16BF16, tile12x32BF16},
	},
	scan:   neonScan,
	blocks: neonBlocks,
	burst:  burstOf(burstNeon, burstBFMMLA, 24*4*2, 24*16*2),
	sweep:  sweepLines,
	vec:    vectorsNeon,
	quant:  &quantNeon,
}

// neonScan uses few channels so that all 16 states of a channel fit in the registers.
var neonScan = scanShape{lanes: 4, joined: 4, all: 16}

// neonBlocks is chosen when the program starts.
var neonBlocks = blocksFor(ReadProcessor())

// blocksFor keeps a panel of B in half of the first-level cache, and A in three sixteenths of the second-level cache,
// through which B streams. Caches that the system does not report are assumed to be small.
func blocksFor(p Processor) productBlocks {
	l1, l2 := cmp.Or(p.L1, 64<<10), cmp.Or(p.L2, 1<<20)
	steps := l1 / 2 / (4 * panel) / stepUnit * stepUnit
	steps = max(4*stepUnit, min(steps, kBlock))
	share := max(l2*3/16/4, steps*neonHeight)
	return productBlocks{near: steps, long: steps, share: share, bands: share}
}

// sweepLines reads x, except for a remainder below 512 bytes.
func sweepLines(x []float32) {
	if n := len(x) / 128 * 128; n > 0 {
		sweepNeon(n*4, &x[0])
	}
}

var vectorsNeon = vectorSet{
	exp:          expNeon,
	sigmoid:      sigmoidNeon,
	silu:         siluNeon,
	softplus:     softplusNeon,
	add:          addNeon,
	siluGrad:     siluGradNeon,
	gate:         gateNeon,
	mul:          mulNeon,
	mulAdd:       mulAddNeon,
	scaleShift:   scaleShiftNeon,
	scaleBy:      scaleByNeon,
	mulAddScaled: mulAddScaledNeon,
	rmsGrad:      rmsGradNeon,
	dot:          dotNeon,
	dot3:         dot3Neon,
	max:          maxNeon,
	expSum:       expSumNeon,
	expSumStore:  expSumStoreNeon,
	adamw:        adamwNeon,
	step16:       step16Neon,
	conv4:        conv4Neon,
	convGrad4:    convGrad4Neon,
}

var quantNeon = [quantTypes]quantKernels{
	quant.F32:  {stripF32Neon, dotF32Neon},
	quant.F16:  {stripF16Neon, dotF16Neon},
	quant.BF16: {stripBF16Neon, dotBF16Neon},
	quant.Q8_0: {stripQ8_0Neon, dotQ8_0Neon},
	quant.Q4_0: {stripQ4_0Neon, dotQ4_0Neon},
	quant.Q4_1: {stripQ4_1Neon, dotQ4_1Neon},
	quant.Q5_0: {stripQ5_0Neon, dotQ5_0Neon},
	quant.Q5_1: {stripQ5_1Neon, dotQ5_1Neon},
	quant.Q4_K: {stripQ4_KNeon, dotQ4_KNeon},
	quant.Q5_K: {stripQ5_KNeon, dotQ5_KNeon},
	quant.Q6_K: {stripQ6_KNeon, dotQ6_KNeon},
}
