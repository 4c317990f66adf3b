package kernel

import "math"

// crossEntropyRef returns the loss of one row of logits x (v) in nats and, unless grad is nil, writes the gradient of
// scale·loss to grad, which may be x. With p = softmax(x) and the target distribution q = (1−ε)·onehot(target) + ε/v,
// where ε is the smoothing,
//
//	loss = −Σ q·log p = log Σ exp(x) − (1−ε)·x(target) − ε·mean(x)
//	dx = scale·(p − q)
//
// The largest logit is subtracted before exp. Sums are taken in float64.
func crossEntropyRef[T Float](grad, x []T, target int, scale T, smoothing float64) float64 {
	top, hit := x[0], float64(x[target])
	var sum, exps float64
	for _, v := range x {
		top = max(top, v)
		sum += float64(v)
	}
	for j, v := range x {
		e := exp(v - top)
		exps += float64(e)
		if grad != nil {
			grad[j] = e
		}
	}
	if grad != nil {
		k, uniform := scale*T(1/exps), scale*T(smoothing/float64(len(x)))
		for j, e := range grad {
			grad[j] = e*k - uniform
		}
		grad[target] -= scale * T(1-smoothing)
	}
	loss := float64(top) + math.Log(exps) - (1-smoothing)*hit
	if smoothing != 0 {
		loss -= smoothing * (sum / float64(len(x)))
	}
	return loss
}
