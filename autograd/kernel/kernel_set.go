package kernel

import (
	"fmt"
	"os"
	"strings"
)

//go:generate go run -C gen ./gemm -out ../gemm_amd64.s -stubs ../gemm_stub_amd64.go -pkg kernel
//go:generate go run -C gen ./vector -out ../vector_amd64.s -stubs ../vector_stub_amd64.go -pkg kernel
//go:generate go run -C gen ./scan -out ../scan_amd64.s -stubs ../scan_stub_amd64.go -pkg kernel
//go:generate go run -C gen ./ssd -out ../ssd_amd64.s -stubs ../ssd_stub_amd64.go -pkg kernel
//go:generate go run -C gen ./block -out ../block_amd64.s -stubs ../block_stub_amd64.go -pkg kernel
//go:generate go run -C gen ./neon -out ../neon_arm64.s -stubs ../neon_stub_arm64.go

// kernelSet contains everything that depends on the processor. The generic set is plain Go; other sets replace parts
// of it.
type kernelSet struct {
	name string
	// Register tiles, by height and by width in steps of 16, and 8 wide or nil; see tileFor. height is the tallest.
	height int
	tile   [15][3]tileFunc
	// Tiles for operands of bfloat16 pairs, empty where the processor has no such instruction.
	tile16 [15][3]tileFunc
	wide   bool // packs with AVX-512
	scan   scanShape
	blocks productBlocks
	burst  func(format Format) (flops float64)
	sweep  func(x []float32)
	vec    vectorSet
	quant  *[quantTypes]quantKernels // nil in the generic set; see quantized_vector.go
}

// scanShape is the shape of the kernels of the scan's recurrence, or zero if there are none.
type scanShape struct {
	lanes  int // channels per group
	joined int // number of states whose dB and dC a kernel stores together
	all    int // number of states that a single kernel can cover in full, or 0 if there is no such kernel
}

// productBlocks are the cache-dependent sizes used by gemm_tiles.go.
type productBlocks struct {
	near  int // maximum steps of k between two visits to C when B is packed on the fly
	long  int // the same when B is already packed in memory
	share int // elements of packed A that share the second-level cache
	bands int // the same when B is packed on the fly: each band of rows packs it again
}

var wideBlocks = productBlocks{near: kBlock, long: 1024, share: 504 * kBlock, bands: 520 * kBlock}

// kernelsVariable is the environment variable that overrides the choice of kernel set, for tests and comparisons.
const kernelsVariable = "MAMBA_TRAIN_KERNELS"

var (
	active *kernelSet // the set in use
	isaErr error
)

func init() { active, isaErr = choose(os.Getenv(kernelsVariable)) }

// ISA returns the name of the kernel set in use: "generic"; on amd64 "avx2", "avx512", or "avx512bf16"; on arm64 "neon"
// or "neonbf16". The sets whose names end in bf16 multiply bfloat16 natively.
func ISA() string { return active.name }

// ISAError returns an error if MAMBA_TRAIN_KERNELS is set to an unknown name or to a kernel set that this processor
// lacks, and nil otherwise. In that case the best supported set is used.
func ISAError() error { return isaErr }

// choose returns the set with the given name, or the best one for "". The name avx512 means float32 arithmetic only.
func choose(name string) (*kernelSet, error) {
	sets := append([]*kernelSet{&genericSet}, machineSets()...)
	best := sets[len(sets)-1]
	if name == "" {
		return best, nil
	}
	var names []string
	for _, s := range sets {
		if s.name == name {
			return s, nil
		}
		names = append(names, s.name)
	}
	return best, fmt.Errorf("kernel: %s=%q: no such kernel set on this processor, have %s", kernelsVariable, name, strings.Join(names, ", "))
}

// available lists the kernel sets that this processor can run, slowest first.
func available() []string {
	names := []string{genericSet.name}
	for _, s := range machineSets() {
		names = append(names, s.name)
	}
	return names
}

// use switches to a kernel set listed by available. Nothing else may run in the meantime.
func use(name string) {
	s, err := choose(name)
	if err != nil {
		panic(err)
	}
	active = s
}

var genericSet = kernelSet{
	name:   "generic",
	height: 2,
	tile:   [15][3]tileFunc{1: {nil, tileGo(1, 16), tileGo(1, 32)}, 2: {nil, tileGo(2, 16), tileGo(2, 32)}},
	blocks: wideBlocks,
	burst:  burstGo,
	sweep:  sweepGo,
}
