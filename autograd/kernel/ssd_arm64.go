package kernel

// hasSSD reports whether the active kernel set has the kernels of Mamba-2. They are called by name so that their arguments stay
// on the stack.
func hasSSD() bool { return !plain() }

func ssdDecay(rows int, m, gram *float32, ld int, hi, lo, delta, right *float32) {
	ssdDecayNeon(rows, m, gram, ld, hi, lo, delta, right)
}

func ssdDecayGrad(rows int, m, gram, w, k *float32, ld int, hi, lo, delta, right, r, da *float32) {
	ssdDecayGradNeon(rows, m, gram, w, k, 4*ld, hi, lo, delta, right, r, da)
}

func ssdScaleRows(rows, n int, y *float32, ldy int, x *float32, ldx int, w *float32) {
	ssdScaleRowsNeon(rows, n, y, ldy, x, ldx, w)
}

func ssdAddRows(rows, n int, y *float32, ldy int, x *float32, ldx int, w *float32) {
	ssdAddRowsNeon(rows, n, y, ldy, x, ldx, w)
}

func ssdDotRows(rows, n int, y, a *float32, lda int, b *float32, ldb int) {
	ssdDotRowsNeon(rows, n, y, a, lda, b, ldb)
}

func ssdStep(rows, n int, y, h, x, b, c *float32, decay, delta, skip float32) {
	ssdStepNeon(rows, n, y, h, x, b, c, decay, delta, skip)
}

func gatedSums(n int, v, s, y, z, w, do *float32) (squares, products float64) {
	return gatedSumsNeon(n, v, s, y, z, w, do)
}

func gatedGrad(n int, dy, dz, v, s, y, z, w, do *float32, r, k float32) {
	gatedGradNeon(n, dy, dz, v, s, y, z, w, do, r, k)
}
