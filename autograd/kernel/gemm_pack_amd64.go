package kernel

// The packing routines are called by name, not through kernelSet, so that their arguments stay on the stack.

// narrow reports whether the set has vectors of 8 elements and none of 16.
func (s *kernelSet) narrow() bool { return s.height > genericSet.height && !s.wide }

func packTransposed(k int, rows *[16]*float32, height int, alpha float32, dst *float32, ldd int) {
	switch {
	case active.wide:
		packTransposed512(k, rows, height, alpha, dst, ldd)
	case active.narrow():
		packTransposedNarrow(k, rows, height, alpha, dst, ldd)
	default:
		packTransposedGo(k, rows, height, alpha, dst, ldd)
	}
}

// packTransposedNarrow is packTransposed with vectors of 8 and a plain loop for the remainder. Heights that do not fill two
// vectors use the plain loop, because the second vector would overwrite the next row.
func packTransposedNarrow(k int, rows *[16]*float32, height int, alpha float32, dst *float32, ldd int) {
	done := 0
	if height <= 8 || height == 16 {
		done = max(0, k-spill(height, ldd)) &^ 7
	}
	for r := 0; r < height && done > 0; r += 8 {
		packTransposed256(done, (*[8]*float32)(rows[r:]), alpha, offset(dst, r), ldd)
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

// spill returns how many rows of a panel a vector of 8 reaches into when it is stored at a row of the given height.
// These rows must exist and be written later.
func spill(height, ldd int) int {
	if height >= 8 {
		return 0
	}
	return (8 - height + ldd - 1) / ldd
}

func transposeSquares(k int, src *float32, lds int, dst *float32, ldd int) {
	switch {
	case active.wide:
		transposeSquares512(k, src, lds, dst, ldd)
	case active.narrow():
		var rows [16]*float32
		for r := range rows {
			rows[r] = offset(src, r*lds)
		}
		packTransposedNarrow(k, &rows, 16, 1, dst, ldd)
	default:
		transposeSquaresGo(k, src, lds, dst, ldd)
	}
}

func packStraight(k int, src *float32, lds, width int, alpha float32, dst *float32, ldd int) {
	switch {
	case active.wide:
		packStraight512(k, src, lds, width, alpha, dst, ldd)
	case active.narrow() && width%8 == 0:
		packStraight256(k, src, lds, width, alpha, dst, ldd)
	default:
		packStraightGo(k, src, lds, width, alpha, dst, ldd)
	}
}

func packPanels(k int, src *float32, lds, n, height int, alpha float32, dst *float32, ldp int) {
	switch {
	case active.wide:
		packPanels512(k, src, lds, n, height, alpha, dst, ldp)
		return
	case active.narrow() && k > spill(height, height):
		done := k - spill(height, height)
		packPanels256(done, src, lds, n, height, alpha, dst, ldp)
		if done == k {
			return
		}
		src, dst, k = offset(src, done*lds), offset(dst, done*height), k-done
	}
	packPanelsGo(k, src, lds, n, height, alpha, dst, ldp)
}

func packTransposed16(k int, rows *[16]*float32, height int, alpha float32, dst *float32, ldd int) {
	packTransposedBF16(k, rows, height, alpha, dst, ldd)
}

func widenPairs(k int, src *float32, words int, dst *float32) {
	switch {
	case active.wide:
		widenPairs512(k, src, words, dst)
	case active.narrow():
		widenPairs256(k, src, words, dst)
	default:
		widenPairsGo(k, src, words, dst)
	}
}
