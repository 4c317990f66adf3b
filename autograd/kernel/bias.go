package kernel

// AddRow adds b to every row of y, such as a bias to the outputs of a projection.
func AddRow[T Float](y Mat[T], b []T) {
	For(y.Rows, 1+1<<14/max(y.Cols, 1), func(lo, hi int) {
		for t := lo; t < hi; t++ {
			AddTo(y.Row(t), b)
		}
	})
}

// SumRows adds the sum over the rows of x to dst, row after row, so that the result does not depend on the number of
// threads.
func SumRows[T Float](dst []T, x Mat[T]) {
	const columns = 256
	For((x.Cols+columns-1)/columns, 1, func(lo, hi int) {
		from, to := lo*columns, min(hi*columns, x.Cols)
		for t := range x.Rows {
			AddTo(dst[from:to], x.Row(t)[from:to])
		}
	})
}
