package kernel

// scaleColumnsRef computes y(t, i) = x(t, i)·a(i)·b(i), or adds it to y.
func scaleColumnsRef[T Float](mode Mode, y, x Mat[T], a, b []T) {
	for t := range x.Rows {
		to, from := y.Row(t), x.Row(t)
		for i, v := range from {
			v *= a[i] * b[i]
			put(mode, &to[i], v)
		}
	}
}

// dotColumnsRef adds Σ_t x(t, i)·y(t, i)·factor(i) to dst(i).
func dotColumnsRef[T Float](dst []T, x, y Mat[T], factor []T) {
	sums := make([]float64, len(dst))
	for t := range x.Rows {
		a, b := x.Row(t), y.Row(t)
		for i := range sums {
			sums[i] += float64(a[i]) * float64(b[i])
		}
	}
	for i, s := range sums {
		dst[i] += T(s) * factor[i]
	}
}
