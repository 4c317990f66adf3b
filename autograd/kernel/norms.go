package kernel

import (
	"iter"
	"math"
)

// Norms of the rows or columns of a matrix that is too large to exist as a whole. blocks yields a few rows at a time,
// each block valid until the next. Sums of squares are taken in float64.

// RowNorms returns the Euclidean norm of each row.
func RowNorms[T Float](blocks iter.Seq[Mat[T]]) (norms []float64) {
	for x := range blocks {
		norms = append(norms, make([]float64, x.Rows)...)
		addRowSquares(norms[len(norms)-x.Rows:], x)
	}
	return roots(norms)
}

// ColumnNorms returns the Euclidean norm of each of m columns.
func ColumnNorms[T Float](m int, blocks iter.Seq[Mat[T]]) []float64 {
	norms := make([]float64, m)
	for x := range blocks {
		addColumnSquares(norms, x)
	}
	return roots(norms)
}

// InverseNorm returns 1/norm, or 0 if norm is 0.
func InverseNorm(norm float64) float64 {
	if norm == 0 {
		return 0
	}
	return 1 / norm
}

// InverseRowNorms writes the InverseNorm of each row to dst.
func InverseRowNorms[T Float](dst []T, blocks iter.Seq[Mat[T]]) {
	d := onSlice(dst)
	if d == nil {
		setInverse(dst, RowNorms(blocks))
		return
	}
	for x := range blocks {
		d.InverseRowNorms(f32s(dst[:x.Rows]), f32Mat(x))
		dst = dst[x.Rows:]
	}
}

// InverseColumnNorms writes the InverseNorm of each column to dst.
func InverseColumnNorms[T Float](dst []T, blocks iter.Seq[Mat[T]]) {
	d := onSlice(dst)
	if d == nil {
		setInverse(dst, ColumnNorms(len(dst), blocks))
		return
	}
	d.Fill(f32Mat(Dense(dst, 1, len(dst))), 0)
	for x := range blocks {
		d.AddColumnSquares(f32s(dst), f32Mat(x))
	}
	d.InverseRoots(f32s(dst))
}

func setInverse[T Float](dst []T, norms []float64) {
	for i, norm := range norms {
		dst[i] = T(InverseNorm(norm))
	}
}

func roots(squares []float64) []float64 {
	for i, x := range squares {
		squares[i] = math.Sqrt(x)
	}
	return squares
}

func addRowSquares[T Float](sums []float64, x Mat[T]) {
	For(x.Rows, rowGrain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			for _, v := range x.Row(i) {
				sums[i] += float64(v) * float64(v)
			}
		}
	})
}

func addColumnSquares[T Float](sums []float64, x Mat[T]) {
	For(x.Cols, columnGrain, func(lo, hi int) {
		for i := range x.Rows {
			for j, v := range x.Row(i)[lo:hi] {
				sums[lo+j] += float64(v) * float64(v)
			}
		}
	})
}
