package kernel

import (
	"fmt"
	"math"
)

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
	if target < 0 {
		clear(grad)
		return 0
	}
	top := maxOf(x)
	hit := float64(x[target])
	var mean float64 // of the logits, for smoothing
	if smoothing != 0 {
		for _, v := range x {
			mean += float64(v)
		}
		mean /= float64(len(x))
	}
	sum := expSum(grad, x, top)
	loss := float64(top) + math.Log(sum) - (1-smoothing)*hit - smoothing*mean
	if grad != nil {
		k := scale * T(1/sum)
		uniform := scale * T(smoothing/float64(len(x)))
		scaleShift(grad, k, -uniform)
		grad[target] -= scale * T(1-smoothing)
	}
	return loss
}

// ArgMax writes to dst[i] the first column of row i's largest element.
func ArgMax[T Float](dst []int, x Mat[T]) {
	For(x.Rows, 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			row := x.Row(i)
			best := 0
			for j, v := range row {
				if v > row[best] {
					best = j
				}
			}
			dst[i] = best
		}
	})
}
