package kernel

import "math"

// rowGrain is how many rows one task of a row-wise kernel takes.
const rowGrain = 8

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
	for j, v := range x {
		y[j] = v * s * w[j]
	}
}

// dot returns Σ a·b in float64.
func dot[T Float](a, b []T) float64 {
	var s float64
	b = b[:len(a)]
	for i, v := range a {
		s += float64(v) * float64(b[i])
	}
	return s
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
		sum := make([]float64, hi-lo)
		for i := range rows {
			xi, gi := x.Row(i)[lo:hi], dy.Row(i)[lo:hi]
			for j := range sum {
				sum[j] += float64(gi[j] * xi[j] * inv[i])
			}
		}
		for j, s := range sum {
			dw[lo+j] += T(s)
		}
	})
}

// columnGrain is how many columns one task takes where a sum runs down the rows.
const columnGrain = 128

func rmsNormGradRow[T Float](dx, dy, x, w []T, s T) {
	var c float64
	for j, v := range x {
		c += float64(w[j] * dy[j] * v)
	}
	k := s * s * s * T(c/float64(len(x)))
	for j, v := range x {
		dx[j] += s*w[j]*dy[j] - k*v
	}
}
