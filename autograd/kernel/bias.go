package kernel

// AddRow adds b to every row of y, as in adding the bias to the outputs of a projection.
func AddRow[T Float](y Mat[T], b []T) {
	if d := on(y); d != nil {
		d.AddRow(f32Mat(y), f32s(b))
		return
	}
	For(y.Rows, 1+1<<14/max(y.Cols, 1), func(lo, hi int) {
		for t := lo; t < hi; t++ {
			add(y.Row(t), b)
		}
	})
}

// sumColumns is the number of columns per task of SumRows.
const sumColumns = 256

// SumRows adds the sum of the rows of x to dst, in row order, so the result does not depend on the number of threads.
func SumRows[T Float](dst []T, x Mat[T]) {
	if d := onSlice(dst); d != nil {
		d.SumRows(f32s(dst), f32Mat(x))
		return
	}
	For(x.Cols, sumColumns, func(lo, hi int) {
		for t := range x.Rows {
			add(dst[lo:hi], x.Row(t)[lo:hi])
		}
	})
}
