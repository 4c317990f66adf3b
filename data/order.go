package data

import (
	"math/bits"

	"mambatrain/internal/splitmix"
)

// permutation is a bijection of [0, n) that needs no memory: four Feistel rounds over the smallest even number of bits
// that can represent n, repeated until the result is below n (Black & Rogaway 2002). Fewer than four repetitions are
// expected.
type permutation struct {
	n    uint64
	half uint // bits of one half
	keys [4]uint64
}

// newPermutation returns the permutation of [0, n) for the given keys, in this order: seed, epoch, …
func newPermutation(n int, keys ...uint64) permutation {
	p := permutation{n: uint64(n), half: uint(bits.Len64(uint64(max(n, 2)-1))+1) / 2}
	state := uint64(0)
	for _, k := range keys {
		state = mix(state ^ k)
	}
	for i := range p.keys {
		state = mix(state + uint64(i) + 1)
		p.keys[i] = state
	}
	return p
}

// at returns the image of i.
func (p *permutation) at(i int) int {
	x := uint64(i)
	for {
		if x = p.rounds(x); x < p.n {
			return int(x)
		}
	}
}

func (p *permutation) rounds(x uint64) uint64 {
	mask := uint64(1)<<p.half - 1
	left, right := x>>p.half, x&mask
	for _, k := range p.keys {
		left, right = right, left^mix(right^k)&mask
	}
	return left<<p.half | right
}

// mix scrambles x, including 0.
func mix(x uint64) uint64 { return splitmix.Mix(x + splitmix.Gamma) }
