package kernel

import (
	"golang.org/x/sys/cpu"

	"mambatrain/internal/quant"
)

// machineSets lists the vector kernel sets of this processor, slowest first.
func machineSets() []*kernelSet {
	x := &cpu.X86
	var sets []*kernelSet
	if x.HasAVX2 && x.HasFMA && x.HasBMI2 && x.HasF16C {
		sets = append(sets, &avx2Set)
		if x.HasAVX512F && x.HasAVX512BW && x.HasAVX512VL && x.HasAVX512DQ {
			sets = append(sets, &avx512Set)
			if x.HasAVX512BF16 {
				sets = append(sets, &avx512bf16Set)
			}
		}
	}
	return sets
}

var avx2Set = kernelSet{
	name:   "avx2",
	height: 6,
	tile: [15][3]tileFunc{
		1: {nil, tile1x16_256, tile1x32_256}, 2: {nil, tile2x16_256, tile2x32_256}, 3: twice(tile3x16_256),
		4: twice(tile4x16_256), 5: twice(tile5x16_256), 6: twice(tile6x16_256),
	},
	burst:  burstOf(burst256, burst256, 12*8*2, 12*8*2),
	sweep:  sweepLines,
	scan:   scanShape{lanes: 16, joined: 4},
	blocks: wideBlocks,
	vec:    vectors256,
	quant:  &quant256,
}

// twice builds the 32-wide tile from the 16-wide one.
func twice(t tileFunc) [3]tileFunc {
	return [3]tileFunc{1: t, 2: func(k int, a, b *float32, ldb int, c *float32, ldc, add int, next *float32, step int) {
		t(k, a, b, ldb, c, ldc, add, next, step)
		t(k, a, offset(b, 16), ldb, offset(c, 16), ldc, add, b, 0)
	}}
}

var avx512Set = kernelSet{
	name:   "avx512",
	height: 14,
	tile: [15][3]tileFunc{
		1: {nil, tile1x16_512, tile1x32_512}, 2: {nil, tile2x16_512, tile2x32_512},
		3: {nil, tile3x16_512, tile3x32_512}, 4: {nil, tile4x16_512, tile4x32_512},
		5: {nil, tile5x16_512, tile5x32_512}, 6: {nil, tile6x16_512, tile6x32_512},
		7: {nil, tile7x16_512, tile7x32_512}, 8: {nil, tile8x16_512, tile8x32_512},
		9: {nil, tile9x16_512, tile9x32_512}, 10: {nil, tile10x16_512, tile10x32_512},
		11: {nil, tile11x16_512, tile11x32_512}, 12: {nil, tile12x16_512, tile12x32_512},
		13: {nil, tile13x16_512, tile13x32_512}, 14: {nil, tile14x16_512, tile14x32_512},
	},
	wide:   true,
	scan:   scanShape{lanes: 16, joined: 8, all: 16},
	blocks: wideBlocks,
	burst:  burstOf(burst512, burst512, 24*16*2, 24*16*2),
	sweep:  sweepLines,
	vec:    vectors512,
	quant:  &quant256,
}

var avx512bf16Set = kernelSet{
	name:   "avx512bf16",
	height: avx512Set.height,
	tile:   avx512Set.tile,
	tile16: [15][3]tileFunc{
		1: {nil, tile1x16_bf16, tile1x32_bf16}, 2: {nil, tile2x16_bf16, tile2x32_bf16},
		3: {nil, tile3x16_bf16, tile3x32_bf16}, 4: {nil, tile4x16_bf16, tile4x32_bf16},
		5: {nil, tile5x16_bf16, tile5x32_bf16}, 6: {nil, tile6x16_bf16, tile6x32_bf16},
		7: {nil, tile7x16_bf16, tile7x32_bf16}, 8: {nil, tile8x16_bf16, tile8x32_bf16},
		9: {nil, tile9x16_bf16, tile9x32_bf16}, 10: {nil, tile10x16_bf16, tile10x32_bf16},
		11: {nil, tile11x16_bf16, tile11x32_bf16}, 12: {nil, tile12x16_bf16, tile12x32_bf16},
		13: {nil, tile13x16_bf16, tile13x32_bf16}, 14: {nil, tile14x16_bf16, tile14x32_bf16},
	},
	wide:   true,
	scan:   scanShape{lanes: 16, joined: 8, all: 16},
	blocks: wideBlocks,
	burst:  burstOf(burst512, burstBF16, 24*16*2, 24*32*2),
	sweep:  sweepLines,
	vec:    vectors512,
	quant:  &quant256,
}

// sweepLines reads x, except for a remainder below 512 bytes.
func sweepLines(x []float32) {
	if n := len(x) / 128 * 128; n > 0 {
		sweep256(n*4, &x[0])
	}
}

var vectors256 = vectorSet{
	exp:          exp256,
	sigmoid:      sigmoid256,
	silu:         silu256,
	softplus:     softplus256,
	add:          add256,
	siluGrad:     siluGrad256,
	gate:         gate256,
	mul:          mul256,
	mulAdd:       mulAdd256,
	scaleShift:   scaleShift256,
	scaleBy:      scaleBy256,
	mulAddScaled: mulAddScaled256,
	rmsGrad:      rmsGrad256,
	dot:          dot256,
	dot3:         dot3256,
	max:          max256,
	expSum:       expSum256,
	expSumStore:  expSumStore256,
	adamw:        adamw256,
	step16:       step16_256,
	conv4:        conv4_256,
	convGrad4:    convGrad4_256,
}

var vectors512 = vectorSet{
	exp:          exp512,
	sigmoid:      sigmoid512,
	silu:         silu512,
	softplus:     softplus512,
	add:          add512,
	siluGrad:     siluGrad512,
	gate:         gate512,
	mul:          mul512,
	mulAdd:       mulAdd512,
	scaleShift:   scaleShift512,
	scaleBy:      scaleBy512,
	mulAddScaled: mulAddScaled512,
	rmsGrad:      rmsGrad512,
	dot:          dot512,
	dot3:         dot3512,
	max:          max512,
	expSum:       expSum512,
	expSumStore:  expSumStore512,
	adamw:        adamw512,
	step16:       step16_512,
	conv4:        conv4_512,
	convGrad4:    convGrad4_512,
}

var quant256 = [quantTypes]quantKernels{
	quant.F32:  {stripF32_256, dotF32_256},
	quant.F16:  {stripF16_256, dotF16_256},
	quant.BF16: {stripBF16_256, dotBF16_256},
	quant.Q8_0: {stripQ8_0_256, dotQ8_0_256},
	quant.Q4_0: {stripQ4_0_256, dotQ4_0_256},
	quant.Q4_1: {stripQ4_1_256, dotQ4_1_256},
	quant.Q5_0: {stripQ5_0_256, dotQ5_0_256},
	quant.Q5_1: {stripQ5_1_256, dotQ5_1_256},
	quant.Q4_K: {stripQ4_K_256, dotQ4_K_256},
	quant.Q5_K: {stripQ5_K_256, dotQ5_K_256},
	quant.Q6_K: {stripQ6_K_256, dotQ6_K_256},
}
