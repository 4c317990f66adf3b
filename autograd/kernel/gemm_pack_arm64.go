package kernel

import (
	"unsafe"

	"mambatrain/internal/float16"
)

// The packing routines are called by name, not through kernelSet, so that their arguments stay on the stack.

// plain reports whether the active set is the generic one.
func plain() bool { return active.height == genericSet.height }

// packTransposed packs with vectors of 4 and a plain loop for the remainder of k.
func packTransposed(k int, rows *[16]*float32, height int, alpha float32, dst *float32, ldd int) {
	done := k &^ 3
	if plain() {
		done = 0
	}
	if done > 0 {
		packTransposedNeon(done, rows, height, alpha, dst, ldd)
	}
	if done == k {
		return
	}
	var rest [16]*float32
	for r := range height {
		rest[r] = offset(rows[r], done)
	}
	packTransposedGo(k-done, &rest, height, alpha, offset(dst, done*ldd), ldd)
}

// packLoose is packTransposed with alpha = 1.
func packLoose(k int, rows *[16]*float32, height int, dst *float32) {
	packTransposed(k, rows, height, 1, dst, height)
}

func transposeSquares(k int, src *float32, lds int, dst *float32, ldd int) {
	if plain() {
		transposeSquaresGo(k, src, lds, dst, ldd)
		return
	}
	transposeSquaresNeon(k, src, lds, dst, ldd)
}

func packStraight(k int, src *float32, lds, width int, alpha float32, dst *float32, ldd int) {
	if plain() {
		packStraightGo(k, src, lds, width, alpha, dst, ldd)
		return
	}
	packStraightNeon(k, src, lds, width, alpha, dst, ldd)
}

func packPanels(k int, src *float32, lds, n, height int, alpha float32, dst *float32, ldp int) {
	if plain() {
		packPanelsGo(k, src, lds, n, height, alpha, dst, ldp)
		return
	}
	packPanelsNeon(k, src, lds, n, height, alpha, dst, ldp)
}

func widenPairs(k int, src *float32, words int, dst *float32) {
	if plain() {
		widenPairsGo(k, src, words, dst)
		return
	}
	widenPairsNeon(k, src, words, dst)
}

// packTransposed16 rounds with vectors of 8 and a plain loop for the remainder of k. Rows of panels are contiguous: ldd is
// height. Tiles of some heights read two steps at once, so these alternate.
func packTransposed16(k int, rows *[16]*float32, height int, alpha float32, dst *float32, ldd int) {
	done := k &^ 7
	switch {
	case done == 0:
	case inQuads(height):
		packQuadsBFCvt(done, rows, height, alpha, dst)
	default:
		packTransposedBFCvt(done, rows, height, alpha, dst, ldd)
	}
	if done == k {
		return
	}
	d := unsafe.Slice((*uint32)(unsafe.Pointer(dst)), pairs(k)*height)
	for r := range height {
		src := unsafe.Slice(rows[r], k)
		for l := done; l < k; l += 2 {
			w := uint32(float16.BF16(alpha * src[l]))
			if l+1 < k {
				w |= uint32(float16.BF16(alpha*src[l+1])) << 16
			}
			at := l/2*ldd + r
			if inQuads(height) && l|3 < 2*pairs(k) { // a last single step has no other to alternate with
				at = l/4*2*height + 2*r + l/2%2
			}
			d[at] = w
		}
	}
}

// inQuads reports whether bfloat16 tiles of this height multiply two steps of pairs at once, by BFMMLA.
func inQuads(height int) bool { return height%4 == 0 }

func packPairsTransposed(k int, src *float32, lds int, dst *float32) {
	packPairsTransposedNeon(k, src, lds, dst)
}
