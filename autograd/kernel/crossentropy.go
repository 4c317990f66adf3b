package kernel

import "fmt"

// CrossEntropy writes to nll[i] the loss of row i of logits (rows, v) in nats, −log softmax(logits)[target], and, unless
// dlogits is zero, to dlogits the gradient of scale·Σ nll. dlogits may share memory with logits. A row whose target is
// negative is ignored: loss 0, gradient 0. Sums run in float64.
//
// With smoothing ε the target distribution is (1−ε)·onehot + ε/v, as in torch's CrossEntropyLoss.
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
