package kernel

import "math"

// The plain loops of the root-mean-square norm, for rows x (m) and a weight w (m). Zhang & Sennrich 2019.
//
//	y = w∘x·s,   s = 1/√(mean(x²) + eps)
//
// and backward
//
//	dx = s·(w∘dy − x·s²·mean(w∘dy∘x))
//	dw = Σ over rows of dy∘x·s

// inverseRMSRef returns s for a row, with the mean taken in float64.
func inverseRMSRef[T Float](x []T, eps float64) T {
	var sum float64
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return T(1 / math.Sqrt(sum/float64(len(x))+eps))
}

// rmsNormRef writes a row y.
func rmsNormRef[T Float](y, x, w []T, eps float64) {
	s := inverseRMSRef(x, eps)
	y, w = y[:len(x)], w[:len(x)]
	for j, v := range x {
		y[j] = v * s * w[j]
	}
}

// rmsNormGradRef adds a row's gradient to dx.
func rmsNormGradRef[T Float](dx, dy, x, w []T, s T) {
	dx, dy, w = dx[:len(x)], dy[:len(x)], w[:len(x)]
	var sum float64
	for j, v := range x {
		sum += float64(w[j] * dy[j] * v)
	}
	k := s * s * s * T(sum/float64(len(x)))
	for j, v := range x {
		dx[j] += s*w[j]*dy[j] - k*v
	}
}

// rowsSummed is the number of rows whose elements are summed in T before the sum is added to a float64.
const rowsSummed = 64

// rmsNormWeightGradRef adds the weight's gradient to dw (m), given dy and x (rows, m) and the rows' s.
func rmsNormWeightGradRef[T Float](dw []T, dy, x Mat[T], s []T) {
	part, sum := make([]T, len(dw)), make([]float64, len(dw))
	for from := 0; from < x.Rows; from += rowsSummed {
		clear(part)
		for i := from; i < min(x.Rows, from+rowsSummed); i++ {
			dyi, xi, si := dy.Row(i)[:len(part)], x.Row(i)[:len(part)], s[i]
			for j := range part {
				part[j] += dyi[j] * xi[j] * si
			}
		}
		for j, v := range part {
			sum[j] += float64(v)
		}
	}
	for j, v := range sum {
		dw[j] += T(v)
	}
}
