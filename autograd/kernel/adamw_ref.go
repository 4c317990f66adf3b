package kernel

import "math"

// adamWFactors contains the factors of an AdamW update, the same for all elements:
//
//	g = scale·g
//	m = β1·m + rest1·g,    rest1 = 1−β1
//	v = β2·v + rest2·g²,   rest2 = 1−β2
//	w = keep·w − rate·m / (root·√v + eps),   keep = 1 − lr·decay, rate = lr/(1−β1ᵗ), root = 1/√(1−β2ᵗ)
//
// Loshchilov & Hutter 2019, algorithm 2. The vector loop reads the fields in this order.
type adamWFactors[T Float] struct {
	scale, beta1, rest1, beta2, rest2, keep, rate, root, eps T
}

func newAdamWFactors[T Float](h AdamWStep) adamWFactors[T] {
	return adamWFactors[T]{
		scale: T(h.GradScale),
		beta1: T(h.Beta1), rest1: T(1 - h.Beta1),
		beta2: T(h.Beta2), rest2: T(1 - h.Beta2),
		keep: T(1 - h.LR*h.WeightDecay),
		rate: T(h.LR / (1 - math.Pow(h.Beta1, float64(h.Step)))),
		root: T(1 / math.Sqrt(1-math.Pow(h.Beta2, float64(h.Step)))),
		eps:  T(h.Eps),
	}
}

// adamWRef updates the weights w and the moments m and v from the gradient g, all of the same length.
func adamWRef[T Float](w, g, m, v []T, k *adamWFactors[T]) {
	for i := range w {
		gi := g[i] * k.scale
		m[i] = k.beta1*m[i] + k.rest1*gi
		v[i] = k.beta2*v[i] + k.rest2*gi*gi
		w[i] = w[i]*k.keep - k.rate*m[i]/(T(math.Sqrt(float64(v[i])))*k.root+k.eps)
	}
}
