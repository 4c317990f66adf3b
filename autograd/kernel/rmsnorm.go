package kernel

// RMSNorm writes y = x / √(mean(x²) + eps) ∘ w, row by row. x and y are (rows, m), w is (m); y may be x.
// The mean is taken in float64. Zhang & Sennrich 2019.
func RMSNorm[T Float](y, x Mat[T], w []T, eps float64) {
	y.check("rmsnorm y", x.Rows, x.Cols)
	if d := on(y); d != nil {
		d.RMSNorm(f32Mat(y), f32Mat(x), f32s(w), eps)
		return
	}
	For(x.Rows, rowGrain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			if hasVectors[T]() {
				rmsNormVector(f32s(y.Row(i)), f32s(x.Row(i)), f32s(w), eps)
			} else {
				rmsNormRef(y.Row(i), x.Row(i), w, eps)
			}
		}
	})
}

// RMSNormGrad adds the gradients of RMSNorm to dx (rows, m) and dw (m). A zero dx or nil dw is not computed.
func RMSNormGrad[T Float](dx Mat[T], dw []T, dy, x Mat[T], w []T, eps float64) {
	rows, m := x.Rows, x.Cols
	dy.check("rmsnorm dy", rows, m)
	if dw == nil && dx.Absent() {
		return
	}
	if d := on(dy); d != nil {
		d.RMSNormGrad(Add, f32Mat(dx), f32s(dw), f32Mat(dy), f32Mat(x), f32s(w), eps)
		return
	}
	inverse := make([]T, rows)
	For(rows, rowGrain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			inverse[i] = inverseRMS(x.Row(i), eps)
			if !dx.Absent() {
				rmsNormGrad(dx.Row(i), dy.Row(i), x.Row(i), w, inverse[i])
			}
		}
	})
	if dw == nil {
		return
	}
	For(m, columnGrain, func(lo, hi int) {
		dw, dy, x := dw[lo:hi], dy.Slice(0, rows, lo, hi), x.Slice(0, rows, lo, hi)
		if hasVectors[T]() {
			rmsNormWeightGradVector(f32s(dw), f32Mat(dy), f32Mat(x), f32s(inverse))
		} else {
			rmsNormWeightGradRef(dw, dy, x, inverse)
		}
	})
}

func inverseRMS[T Float](x []T, eps float64) T {
	if hasVectors[T]() {
		return T(inverseRMSVector(f32s(x), eps))
	}
	return inverseRMSRef(x, eps)
}

func rmsNormGrad[T Float](dx, dy, x, w []T, s T) {
	if hasVectors[T]() && len(x)%vectorStep == 0 {
		rmsNormGradVector(f32s(dx), f32s(dy), f32s(x), f32s(w), float32(s))
		return
	}
	rmsNormGradRef(dx, dy, x, w, s)
}
