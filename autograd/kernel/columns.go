package kernel

// ScaleColumns computes y(t, i) = x(t, i)·a(i)·b(i), or adds it to y. y may be x.
func ScaleColumns[T Float](mode Mode, y, x Mat[T], a, b []T) {
	y.check("scale columns y", x.Rows, x.Cols)
	if d := on(y); d != nil {
		d.ScaleColumns(mode, f32Mat(y), f32Mat(x), f32s(a), f32s(b))
		return
	}
	For(x.Rows, columnsGrain, func(lo, hi int) {
		scaleColumnsRef(mode, y.Slice(lo, hi, 0, y.Cols), x.Slice(lo, hi, 0, x.Cols), a, b)
	})
}

// columnsGrain is the number of rows per task of ScaleColumns.
const columnsGrain = 16

// DotColumns adds Σ_t x(t, i)·y(t, i)·factor(i) to dst(i). The sum is taken in float64, in row order.
func DotColumns[T Float](dst []T, x, y Mat[T], factor []T) {
	y.check("dot columns y", x.Rows, x.Cols)
	if d := onSlice(dst); d != nil {
		d.DotColumns(f32s(dst), f32Mat(x), f32Mat(y), f32s(factor))
		return
	}
	For(x.Cols, sumColumns, func(lo, hi int) {
		dotColumnsRef(dst[lo:hi], x.Slice(0, x.Rows, lo, hi), y.Slice(0, y.Rows, lo, hi), factor[lo:hi])
	})
}
