package kernel

import "math"

// inverseRMSVector is the vector form of inverseRMSRef.
func inverseRMSVector(x []float32, eps float64) float32 {
	return float32(1 / math.Sqrt(dotVector(x, x)/float64(len(x))+eps))
}

// rmsNormVector is the vector form of rmsNormRef.
func rmsNormVector(y, x, w []float32, eps float64) {
	f, s := active.vec.scaleBy, inverseRMSVector(x, eps)
	apply3(func(n int, y, x, w *float32) { f(n, y, x, w, s) }, y, x, w)
}

// rmsNormGradVector is rmsNormGradRef for rows of whole vectors.
func rmsNormGradVector(dx, dy, x, w []float32, s float32) {
	v, n := &active.vec, len(x)
	sum := v.dot3(n, &w[0], &dy[0], &x[0])
	v.rmsGrad(n, &dx[0], &dy[0], &x[0], &w[0], s, s*s*s*float32(sum/float64(n)))
}

// rmsNormWeightGradVector is the vector form of rmsNormWeightGradRef.
func rmsNormWeightGradVector(dw []float32, dy, x Mat[float32], s []float32) {
	f := active.vec.mulAddScaled
	part, sum := make([]float32, len(dw)), make([]float64, len(dw))
	for from := 0; from < x.Rows; from += rowsSummed {
		clear(part)
		for i := from; i < min(x.Rows, from+rowsSummed); i++ {
			apply3(func(n int, y, a, b *float32) { f(n, y, a, b, s[i]) }, part, dy.Row(i), x.Row(i))
		}
		for j, v := range part {
			sum[j] += float64(v)
		}
	}
	for j, v := range sum {
		dw[j] += float32(v)
	}
}
