package kernel

// sumGrain is the length of the pieces that SumSquares sums separately. It is fixed so that the order of summation is
// fixed.
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

// AllFinite reports whether x contains neither NaN nor infinity.
func AllFinite[T Float](x []T) bool {
	bad := make([]bool, (len(x)+sumGrain-1)/sumGrain)
	For(len(x), sumGrain, func(lo, hi int) {
		bad[lo/sumGrain] = !finiteRef(x[lo:hi])
	})
	for _, b := range bad {
		if b {
			return false
		}
	}
	return true
}

// ArgMax writes the index of the first largest element of row i to dst[i].
func ArgMax[T Float](dst []int, x Mat[T]) {
	For(x.Rows, 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			dst[i] = argMaxRef(x.Row(i))
		}
	})
}

// dot returns Σ a·b in float64.
func dot[T Float](a, b []T) float64 {
	if hasVectors[T]() {
		return dotVector(f32s(a), f32s(b))
	}
	return dotRef(a, b)
}

func dotVector(a, b []float32) (s float64) {
	n := len(a) &^ (vectorStep - 1)
	if n > 0 {
		s = active.vec.dot(n, &a[0], &b[0])
	}
	for i := n; i < len(a); i++ {
		s += float64(a[i]) * float64(b[i])
	}
	return s
}
