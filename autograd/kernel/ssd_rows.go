package kernel

// Loops over rows with a factor per row, on the calling goroutine. float32 runs vector code if rows are whole vectors.

// wholeRows reports whether there is vector code for rows of n elements.
func wholeRows[T Float](rows, n int) bool {
	return is32[T]() && hasSSD() && rows > 0 && n > 0 && n%vectorStep == 0
}

// scaleRows writes y_i = w_i·x_i for the rows of x. y may be x.
func scaleRows[T Float](y, x Mat[T], w []T) {
	if wholeRows[T](x.Rows, x.Cols) {
		y, x := f32Mat(y), f32Mat(x)
		ssdScaleRows(x.Rows, x.Cols, &y.Data[0], y.Stride, &x.Data[0], x.Stride, &f32s(w)[0])
		return
	}
	scaleRowsRef(y, x, w)
}

// addRows adds w_i·x_i to y_i for the rows of x.
func addRows[T Float](y, x Mat[T], w []T) {
	if wholeRows[T](x.Rows, x.Cols) {
		y, x := f32Mat(y), f32Mat(x)
		ssdAddRows(x.Rows, x.Cols, &y.Data[0], y.Stride, &x.Data[0], x.Stride, &f32s(w)[0])
		return
	}
	addRowsRef(y, x, w)
}

// dotRows writes y_i = Σ a_i·b_i for the rows of a, summed in T.
func dotRows[T Float](y []T, a, b Mat[T]) {
	if wholeRows[T](a.Rows, a.Cols) {
		a, b := f32Mat(a), f32Mat(b)
		ssdDotRows(a.Rows, a.Cols, &f32s(y)[0], &a.Data[0], a.Stride, &b.Data[0], b.Stride)
		return
	}
	dotRowsRef(y, a, b)
}

// copyRows copies x to the first columns of y, or the first columns of x to y.
func copyRows[T Float](y, x Mat[T]) {
	for i := range x.Rows {
		copy(y.Row(i), x.Row(i))
	}
}

// transposeRows writes the transpose of x (rows, cols) to y (cols, rows).
func transposeRows[T Float](y, x Mat[T]) {
	whole := 0
	if is32[T]() {
		y, x := f32Mat(y), f32Mat(x)
		for ; whole+vectorStep <= x.Rows && x.Cols > 0; whole += vectorStep {
			rows := rowPointers(x, whole, vectorStep, 0)
			packTransposed(x.Cols, &rows, vectorStep, 1, &y.Data[whole], y.Stride)
		}
	}
	transposeRowsRef(y, x, whole)
}
