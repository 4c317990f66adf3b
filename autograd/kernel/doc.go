// Package kernel computes the numerical operations of mamba-train on slices: no graph, and results go where the caller says.
//
// Every operation has a plain Go loop, generic over float32 and float64, that documents it: the files named _ref.go contain
// these loops and nothing else. float64 always runs them, which is what gradient checks and the tests of the vector code
// compare with. float32 runs vector code where the processor has it (see ISA), and the plain loops elsewhere. Only float32
// matrix products differ, and SSD, which consists of them: they are cut into tiles on every processor, the generic tiles are in
// gemm_generic.go.
//
// Work is split by output between the threads of one worker pool, so that the same input gives the same bits on any number of
// threads. Reductions that cross a split are cut at places that depend on the shape alone.
//
// The vector code is assembly for amd64, written by the generators of the module in gen: gen/gemm for gemm_tiles.go and
// gemm_pack.go, gen/vector for vector.go, gen/scan for scan_vector.go, gen/ssd for ssd_rows.go and ssd_step.go, gen/block for
// quantized_vector.go. go generate reproduces the files exactly.
//
// Sizes are named as elsewhere in the project: rows is the flat row axis, all documents end to end; d channels, n states,
// k taps of the convolution. A zero Mat or a nil slice stands for "not wanted" wherever a result is optional.
package kernel
