package kernel

// AddTo adds x to y.
func AddTo[T Float](y, x []T) {
	y = y[:len(x)]
	For(len(x), elementGrain, func(lo, hi int) {
		add(y[lo:hi], x[lo:hi])
	})
}

// ClearMat sets x to zero.
func ClearMat[T Float](x Mat[T]) {
	For(x.Rows, rowGrain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			clear(x.Row(i))
		}
	})
}

// AddMat adds x to y, both (rows, cols).
func AddMat[T Float](y, x Mat[T]) {
	y.check("add y", x.Rows, x.Cols)
	For(x.Rows, rowGrain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			add(y.Row(i), x.Row(i))
		}
	})
}

// Scale multiplies x by k.
func Scale[T Float](x []T, k T) {
	For(len(x), elementGrain, func(lo, hi int) {
		scaleShift(x[lo:hi], k, 0)
	})
}

// Fill sets every element of x to v.
func Fill[T Float](x []T, v T) {
	For(len(x), elementGrain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			x[i] = v
		}
	})
}

// CopyMat copies x to y, both (rows, cols).
func CopyMat[T Float](y, x Mat[T]) {
	y.check("copy y", x.Rows, x.Cols)
	For(x.Rows, rowGrain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			copy(y.Row(i), x.Row(i))
		}
	})
}

// sumGrain is the length of the pieces SumSquares sums apart, fixed so that the order of summation is.
const sumGrain = 1 << 16

// SumSquares returns Σ x² in float64.
func SumSquares[T Float](x []T) float64 {
	part := make([]float64, (len(x)+sumGrain-1)/sumGrain)
	For(len(x), sumGrain, func(lo, hi int) {
		part[lo/sumGrain] = dot(x[lo:hi], x[lo:hi])
	})
	var s float64
	for _, p := range part {
		s += p
	}
	return s
}

// AllFinite reports whether x holds neither NaN nor infinity.
func AllFinite[T Float](x []T) bool {
	bad := make([]bool, (len(x)+sumGrain-1)/sumGrain)
	For(len(x), sumGrain, func(lo, hi int) {
		for _, v := range x[lo:hi] {
			if v-v != 0 {
				bad[lo/sumGrain] = true
				return
			}
		}
	})
	for _, b := range bad {
		if b {
			return false
		}
	}
	return true
}
