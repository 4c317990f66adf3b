package kernel

import "math"

// crossEntropyVector is the vector form of crossEntropyRef. It stores the exponentials in grad until their sum is
// known.
func crossEntropyVector(grad, x []float32, target int, scale float32, smoothing float64) float64 {
	top := maxVector(x)
	hit := float64(x[target]) // read now: grad may be x
	var mean float64
	if smoothing != 0 {
		for _, v := range x {
			mean += float64(v)
		}
		mean /= float64(len(x))
	}
	sum := expSumVector(grad, x, top)
	loss := float64(top) + math.Log(sum) - (1-smoothing)*hit - smoothing*mean
	if len(grad) != 0 {
		uniform := scale * float32(smoothing/float64(len(x)))
		scaleShiftVector(grad, scale*float32(1/sum), -uniform)
		grad[target] -= scale * float32(1-smoothing)
	}
	return loss
}

// maxVector returns the largest element of x.
func maxVector(x []float32) float32 {
	if len(x) < vectorStep {
		top := x[0]
		for _, v := range x {
			top = max(top, v)
		}
		return top
	}
	f, n := active.vec.max, len(x)&^(vectorStep-1)
	return max(f(n, &x[0]), f(vectorStep, &x[len(x)-vectorStep])) // the last vector may overlap the previous one
}

// sumStep is the number of exponentials summed in float32 lanes before the sum is added to a float64.
const sumStep = 1024

// expSumVector returns Σ exp(x−shift) and, unless e is empty, stores the terms in it.
func expSumVector(e, x []float32, shift float32) (sum float64) {
	whole := len(x) &^ (vectorStep - 1)
	for i := 0; i < whole; i += sumStep {
		n := min(sumStep, whole-i)
		if len(e) == 0 {
			sum += float64(active.vec.expSum(n, &x[i], shift))
		} else {
			sum += float64(active.vec.expSumStore(n, &e[i], &x[i], shift))
		}
	}
	for i := whole; i < len(x); i++ {
		p := exp32(x[i] - shift)
		sum += float64(p)
		if len(e) != 0 {
			e[i] = p
		}
	}
	return sum
}
