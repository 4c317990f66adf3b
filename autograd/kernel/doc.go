// Package kernel holds the numerical loops of mamba-train: slices in, slices out, no graph and no allocation of results.
//
// Every operation has a plain Go loop, generic over float32 and float64, that says what it computes. float64 always runs
// that loop, which is what gradient checks compare with; float32 runs vector code where the processor has it (see ISA).
// Work is shared out on one worker pool inside the package, split by output, so that the same input gives the same bits
// on any number of threads. Reductions that cross a split are cut at places that depend on the shape alone.
//
// The vector code is assembly for amd64, written by the generators of the module in gen: gen/gemm for gemm_tiles.go and
// gemm_pack.go, gen/vector for vector.go, gen/scan for scan_vector.go. go generate reproduces the files exactly. Other
// processors run the plain loops.
//
// Sizes follow the rest of the project: rows is the flat row axis, all documents laid end to end; d channels, n states,
// k taps of the convolution. A zero Mat or a nil slice stands for "not wanted" wherever a result is optional.
package kernel

// Float is the element type of every generic kernel.
type Float interface{ float32 | float64 }
