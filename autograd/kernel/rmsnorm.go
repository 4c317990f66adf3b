package kernel

import "math"

// RMSNorm writes y = x / √(mean(x²) + eps) ∘ w, row by row. x and y are (rows, m), w is (m); y may be x.
// The mean is taken in float64. Zhang & Sennrich 2019.
func RMSNorm[T Float](y, x Mat[T], w []T, eps float64) {
	y.check("rmsnorm y", x.Rows, x.Cols)
	For(x.Rows, rowGrain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			xi, yi := x.Row(i), y.Row(i)
			scaleBy(yi, xi, w, T(inverseRMS(xi, eps)))
		}
	})
}

// inverseRMS returns 1/√(mean(x²) + eps).
func inverseRMS[T Float](x []T, eps float64) float64 {
	return 1 / math.Sqrt(dot(x, x)/float64(len(x))+eps)
}

// scaleBy writes y = x ∘ w · s.
func scaleBy[T Float](y, x, w []T, s T) {
	y, w = y[:len(x)], w[:len(x)]
	if f := active.vec.scaleBy; f != nil && is32[T]() {
		g := func(n int, y, x, w *float32) { f(n, y, x, w, float32(s)) }
		apply3(g, f32s(y), f32s(x), f32s(w))
		return
	}
	for j, v := range x {
		y[j] = v * s * w[j]
	}
}

// RMSNormGrad adds the gradients of RMSNorm to dx (rows, m) and dw (m); a zero dx or nil dw is not wanted.
// With s = 1/rms(x): dx = s·(w∘dy − x·s²·mean(w∘dy∘x)), dw = Σ_rows dy∘x·s.
func RMSNormGrad[T Float](dx Mat[T], dw []T, dy, x Mat[T], w []T, eps float64) {
	rows, m := x.Rows, x.Cols
	dy.check("rmsnorm dy", rows, m)
	if dw == nil && dx.Absent() {
		return
	}
	inv := make([]T, rows)
	For(rows, rowGrain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			inv[i] = T(inverseRMS(x.Row(i), eps))
			if !dx.Absent() {
				rmsNormGradRow(dx.Row(i), dy.Row(i), x.Row(i), w, inv[i])
			}
		}
	})
	if dw == nil {
		return
	}
	For(m, columnGrain, func(lo, hi int) {
		part, sum := make([]T, hi-lo), make([]float64, hi-lo)
		for from := 0; from < rows; from += rowsSummed {
			clear(part)
			for i := from; i < min(rows, from+rowsSummed); i++ {
				mulAddScaled(part, dy.Row(i)[lo:hi], x.Row(i)[lo:hi], inv[i])
			}
			for j, v := range part {
				sum[j] += float64(v)
			}
		}
		for j, s := range sum {
			dw[lo+j] += T(s)
		}
	})
}

// rowsSummed is how many rows a sum down the rows takes at the element's own precision before it goes into a float64.
const rowsSummed = 64

// mulAddScaled writes y += a·b·s.
func mulAddScaled[T Float](y, a, b []T, s T) {
	if f := active.vec.mulAddScaled; f != nil && is32[T]() {
		g := func(n int, y, a, b *float32) { f(n, y, a, b, float32(s)) }
		apply3(g, f32s(y), f32s(a), f32s(b))
		return
	}
	for j := range y {
		y[j] += a[j] * b[j] * s
	}
}

func rmsNormGradRow[T Float](dx, dy, x, w []T, s T) {
	n := len(x)
	if v := &active.vec; v.rmsGrad != nil && is32[T]() && n%vectorStep == 0 {
		x, dy, w := &f32s(x)[0], &f32s(dy)[0], &f32s(w)[0]
		c := v.dot3(n, w, dy, x)
		v.rmsGrad(n, &f32s(dx)[0], dy, x, w, float32(s), float32(s*s*s*T(c/float64(n))))
		return
	}
	var c float64
	for j, v := range x {
		c += float64(w[j] * dy[j] * v)
	}
	k := s * s * s * T(c/float64(n))
	for j, v := range x {
		dx[j] += s*w[j]*dy[j] - k*v
	}
}
