//go:build !amd64 && !arm64

package kernel

// hasSSD reports whether the active kernel set has the kernels of gen/ssd. On this platform none has.
func hasSSD() bool { return false }

func ssdDecay(rows int, m, gram *float32, ld int, hi, lo, delta, right *float32) { panic(noSSD) }

func ssdDecayGrad(rows int, m, gram, w, k *float32, ld int, hi, lo, delta, right, r, da *float32) {
	panic(noSSD)
}

func ssdScaleRows(rows, n int, y *float32, ldy int, x *float32, ldx int, w *float32) { panic(noSSD) }

func ssdAddRows(rows, n int, y *float32, ldy int, x *float32, ldx int, w *float32) { panic(noSSD) }

func ssdDotRows(rows, n int, y, a *float32, lda int, b *float32, ldb int) { panic(noSSD) }

func ssdStep(rows, n int, y, h, x, b, c *float32, decay, delta, skip float32) { panic(noSSD) }

func gatedSums(n int, v, s, y, z, w, do *float32) (squares, products float64) { panic(noSSD) }

func gatedGrad(n int, dy, dz, v, s, y, z, w, do *float32, r, k float32) { panic(noSSD) }

const noSSD = "kernel: no vector code for Mamba-2"

func packLoose(k int, rows *[16]*float32, height int, dst *float32) {
	packTransposed(k, rows, height, 1, dst, height)
}
