package kernel

import (
	"fmt"
	"os"
	"strings"
)

// kernelSet is everything that depends on the processor. The generic set is plain Go; the others replace its parts.
type kernelSet struct {
	name string
	// Register tiles, by height and by width in steps of 16; see gemm_tiles.go. height is the tallest.
	height int
	tile   [15][3]tileFunc
	// Tiles for operands of bfloat16 pairs, empty where the processor has no such instruction.
	tile16 [15][3]tileFunc
	wide   bool // AVX-512 packing
	scan   int  // lanes of the kernels of gen/scan, 0 if there are none
	burst  func(format Format) (flops float64)
	sweep  func(x []float32)
	vec    vectorSet
}

// The environment variable that overrides the choice of kernel set, for tests and comparisons.
const kernelsVariable = "MAMBA_TRAIN_KERNELS"

var (
	active *kernelSet // the set in use
	isaErr error
)

func init() { active, isaErr = choose(os.Getenv(kernelsVariable)) }

// ISA names the kernel set in use: "generic", "avx2", "avx512", or "avx512bf16", which is avx512 with bfloat16 arithmetic.
func ISA() string { return active.name }

// ISAError returns what is wrong with the environment's MAMBA_TRAIN_KERNELS, or nil: an unknown name, or a kernel set that
// this processor lacks. The best supported set is in use then.
func ISAError() error { return isaErr }

// choose returns the set of the given name, or the best for "". The name avx512 means float32 arithmetic only.
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

// available lists the kernel sets this processor can run, slowest first.
func available() []string {
	names := []string{genericSet.name}
	for _, s := range machineSets() {
		names = append(names, s.name)
	}
	return names
}

// use switches to a kernel set that available lists; nothing else may run meanwhile.
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
	burst:  burstGo,
	sweep:  sweepGo,
}
