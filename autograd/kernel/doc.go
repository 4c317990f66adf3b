// Package kernel computes the numerical operations of mamba-train on slices: there is no graph, and the caller provides
// the memory for results.
//
// Every operation has a plain Go loop, generic over float32 and float64, that documents it: the files named _ref.go
// contain only these loops. float64 always runs them, and gradient checks and the tests of the vector code use them as
// the reference. float32 runs vector code where the processor supports it (see ISA), and the plain loops elsewhere. The
// exceptions are float32 matrix products, and SSD, which consists of them: they are split into tiles on every
// processor. The generic tiles are in gemm_generic.go.
//
// Work is split by output among the threads of one worker pool, so the same input gives the same bits on any number of
// threads. Where a reduction is split, the split depends only on the shape.
//
// The vector code is assembly, written by the generators of the module in gen. For amd64 they are gen/gemm for
// gemm_tiles.go and gemm_pack.go, gen/vector for vector.go, gen/scan for scan_vector.go, gen/ssd for ssd_rows.go and
// ssd_step.go, and gen/block for quantized_vector.go. For arm64, gen/neon writes all of it. go generate reproduces the
// files exactly.
//
// Sizes are named as elsewhere in the project: rows is the flat row axis, all documents end to end; d is channels, n
// states, and k the taps of the convolution. Wherever a result is optional, a zero Mat or a nil slice means "not
// needed".
package kernel
