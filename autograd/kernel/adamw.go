package kernel

// AdamWStep contains the constants of one step. Loshchilov & Hutter 2019, with torch's conventions: eps is added
// outside the root of the bias correction, and decay multiplies the weight before the update.
type AdamWStep struct {
	LR, Beta1, Beta2, Eps float64
	WeightDecay           float64
	Step                  int     // 1 for the first update
	GradScale             float64 // multiplies every gradient; 1 without clipping or averaging
}

// AdamW updates the weights w and the moments m and v from the gradient g, all of the same length, in one pass:
//
//	m = β1·m + (1−β1)·g,  v = β2·v + (1−β2)·g²
//	w = w·(1 − lr·decay) − lr/(1−β1ᵗ) · m / (√v/√(1−β2ᵗ) + eps)
func AdamW[T Float](w, g, m, v []T, h AdamWStep) {
	if d := onSlice(w); d != nil {
		d.AdamW(f32s(w), f32s(g), f32s(m), f32s(v), h)
		return
	}
	k := newAdamWFactors[T](h)
	g, m, v = g[:len(w)], m[:len(w)], v[:len(w)]
	For(len(w), elementGrain, func(lo, hi int) {
		if hasVectors[T]() {
			lo += adamWVector(f32s(w[lo:hi]), f32s(g[lo:hi]), f32s(m[lo:hi]), f32s(v[lo:hi]), any(&k).(*adamWFactors[float32]))
		}
		adamWRef(w[lo:hi], g[lo:hi], m[lo:hi], v[lo:hi], &k)
	})
}

// adamWVector updates as many whole vectors as fit and returns the number of elements updated.
func adamWVector(w, g, m, v []float32, k *adamWFactors[float32]) int {
	n := len(w) &^ (vectorStep - 1)
	if n > 0 {
		active.vec.adamw(n, &w[0], &g[0], &m[0], &v[0], &k.scale)
	}
	return n
}
