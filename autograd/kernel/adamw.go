package kernel

import (
	"math"
	"unsafe"
)

// AdamWStep is one step's constants. Loshchilov & Hutter 2019, with torch's conventions: eps is added outside the bias
// correction's root, decay multiplies the weight before the update.
type AdamWStep struct {
	LR, Beta1, Beta2, Eps float64
	WeightDecay           float64
	Step                  int     // 1 for the first update
	GradScale             float64 // multiplies every gradient, 1 unless clipping or averaging says otherwise
}

// AdamW updates the weights w and the moments m and v from the gradient g, all of one length, in one pass:
//
//	m = β1·m + (1−β1)·g,  v = β2·v + (1−β2)·g²
//	w = w·(1 − lr·decay) − lr/(1−β1ᵗ) · m / (√v/√(1−β2ᵗ) + eps)
func AdamW[T Float](w, g, m, v []T, h AdamWStep) {
	k := newAdamW[T](h)
	g, m, v = g[:len(w)], m[:len(w)], v[:len(w)]
	For(len(w), elementGrain, func(lo, hi int) {
		k.update(w[lo:hi], g[lo:hi], m[lo:hi], v[lo:hi])
	})
}

// adamW holds AdamWStep's constants as the inner loop wants them; the vector loop reads the fields in this order.
type adamW[T Float] struct {
	scale, beta1, rest1, beta2, rest2, keep, rate, root, eps T
}

func newAdamW[T Float](h AdamWStep) adamW[T] {
	return adamW[T]{
		scale: T(h.GradScale),
		beta1: T(h.Beta1), rest1: T(1 - h.Beta1),
		beta2: T(h.Beta2), rest2: T(1 - h.Beta2),
		keep: T(1 - h.LR*h.WeightDecay),
		rate: T(h.LR / (1 - math.Pow(h.Beta1, float64(h.Step)))),
		root: T(1 / math.Sqrt(1-math.Pow(h.Beta2, float64(h.Step)))),
		eps:  T(h.Eps),
	}
}

func (k *adamW[T]) update(w, g, m, v []T) {
	n := 0
	if f := active.vec.adamw; f != nil && is32[T]() {
		if n = len(w) &^ (vectorStep - 1); n > 0 {
			f(n, &f32s(w)[0], &f32s(g)[0], &f32s(m)[0], &f32s(v)[0], (*float32)(unsafe.Pointer(k)))
		}
	}
	for i := n; i < len(w); i++ {
		gi := g[i] * k.scale
		m[i] = k.beta1*m[i] + k.rest1*gi
		v[i] = k.beta2*v[i] + k.rest2*gi*gi
		w[i] = w[i]*k.keep - k.rate*m[i]/(T(math.Sqrt(float64(v[i])))*k.root+k.eps)
	}
}
