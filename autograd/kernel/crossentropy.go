package kernel

import "fmt"

// CrossEntropy writes the loss of row i of logits (rows, v), −log softmax(logits)[target] in nats, to nll[i] and,
// unless dlogits is zero, the gradient of scale·Σ nll to dlogits, which may share memory with logits. A row whose
// target is negative is ignored: its loss and gradient are 0. Sums are taken in float64.
//
// With smoothing ε, the target distribution is (1−ε)·onehot + ε/v, as in torch's CrossEntropyLoss.
func CrossEntropy[T Float](nll []float64, dlogits, logits Mat[T], targets []int, scale T, smoothing float64) {
	rows, v := logits.Rows, logits.Cols
	if !dlogits.Absent() {
		dlogits.check("cross entropy dlogits", rows, v)
	}
	For(rows, 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			var grad []T
			if !dlogits.Absent() {
				grad = dlogits.Row(i)
			}
			if targets[i] >= v {
				panic(fmt.Sprintf("kernel: cross entropy: target %d of row %d, want below %d", targets[i], i, v))
			}
			nll[i] = crossEntropyRow(grad, logits.Row(i), targets[i], scale, smoothing)
		}
	})
}

func crossEntropyRow[T Float](grad, x []T, target int, scale T, smoothing float64) float64 {
	switch {
	case target < 0:
		clear(grad)
		return 0
	case hasVectors[T]():
		return crossEntropyVector(f32s(grad), f32s(x), target, float32(scale), smoothing)
	default:
		return crossEntropyRef(grad, x, target, scale, smoothing)
	}
}
