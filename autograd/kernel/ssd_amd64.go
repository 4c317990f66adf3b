package kernel

// hasSSD reports whether the active kernel set has the kernels of gen/ssd. They are called by name so that their arguments
// stay on the stack.
func hasSSD() bool { return active.wide || active.narrow() }

func ssdDecay(rows int, m, gram *float32, ld int, hi, lo, delta, right *float32) {
	if active.wide {
		ssdDecay_512(rows, m, gram, ld, hi, lo, delta, right)
		return
	}
	ssdDecay_256(rows, m, gram, ld, hi, lo, delta, right)
}

func ssdDecayGrad(rows int, m, gram, w, k *float32, ld int, hi, lo, delta, right, r, da *float32) {
	if active.wide {
		ssdDecayGrad_512(rows, m, gram, w, k, 4*ld, hi, lo, delta, right, r, da)
		return
	}
	ssdDecayGrad_256(rows, m, gram, w, k, 4*ld, hi, lo, delta, right, r, da)
}

func ssdScaleRows(rows, n int, y *float32, ldy int, x *float32, ldx int, w *float32) {
	if active.wide {
		ssdScaleRows_512(rows, n, y, ldy, x, ldx, w)
		return
	}
	ssdScaleRows_256(rows, n, y, ldy, x, ldx, w)
}

func ssdAddRows(rows, n int, y *float32, ldy int, x *float32, ldx int, w *float32) {
	if active.wide {
		ssdAddRows_512(rows, n, y, ldy, x, ldx, w)
		return
	}
	ssdAddRows_256(rows, n, y, ldy, x, ldx, w)
}

func ssdDotRows(rows, n int, y, a *float32, lda int, b *float32, ldb int) {
	if active.wide {
		ssdDotRows_512(rows, n, y, a, lda, b, ldb)
		return
	}
	ssdDotRows_256(rows, n, y, a, lda, b, ldb)
}

func ssdStep(rows, n int, y, h, x, b, c *float32, decay, delta, skip float32) {
	if active.wide {
		ssdStep_512(rows, n, y, h, x, b, c, decay, delta, skip)
		return
	}
	ssdStep_256(rows, n, y, h, x, b, c, decay, delta, skip)
}

func gatedSums(n int, v, s, y, z, w, do *float32) (squares, products float64) {
	if active.wide {
		return gatedSums_512(n, v, s, y, z, w, do)
	}
	return gatedSums_256(n, v, s, y, z, w, do)
}

func gatedGrad(n int, dy, dz, v, s, y, z, w, do *float32, r, k float32) {
	if active.wide {
		gatedGrad_512(n, dy, dz, v, s, y, z, w, do, r, k)
		return
	}
	gatedGrad_256(n, dy, dz, v, s, y, z, w, do, r, k)
}

// packLoose writes dst[l·height + r] = rows[r][l] for l < k, and overwrites up to eight elements past the end.
func packLoose(k int, rows *[16]*float32, height int, dst *float32) {
	done := k &^ 7
	if !active.narrow() || height > 8 || done == 0 {
		packTransposed(k, rows, height, 1, dst, height)
		return
	}
	packTransposed256(done, (*[8]*float32)(rows[:]), 1, dst, height)
	if done < k {
		var rest [16]*float32
		for r := range height {
			rest[r] = offset(rows[r], done)
		}
		packTransposedGo(k-done, &rest, height, 1, offset(dst, done*height), height)
	}
}
