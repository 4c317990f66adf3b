//go:build !amd64 && !arm64

package kernel

func packTransposed(k int, rows *[16]*float32, height int, alpha float32, dst *float32, ldd int) {
	packTransposedGo(k, rows, height, alpha, dst, ldd)
}

func transposeSquares(k int, src *float32, lds int, dst *float32, ldd int) {
	transposeSquaresGo(k, src, lds, dst, ldd)
}

func packStraight(k int, src *float32, lds, width int, alpha float32, dst *float32, ldd int) {
	packStraightGo(k, src, lds, width, alpha, dst, ldd)
}

func packPanels(k int, src *float32, lds, n, height int, alpha float32, dst *float32, ldp int) {
	packPanelsGo(k, src, lds, n, height, alpha, dst, ldp)
}

func widenPairs(k int, src *float32, words int, dst *float32) { widenPairsGo(k, src, words, dst) }

// No kernel set on this platform multiplies in bfloat16, so these two are never called.

func packTransposed16(int, *[16]*float32, int, float32, *float32, int) { panic("kernel: no bfloat16") }

func packPairsTransposed(int, *float32, int, *float32) { panic("kernel: no bfloat16") }
