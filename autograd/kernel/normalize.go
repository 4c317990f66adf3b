package kernel

// Normalize writes y = x / √(mean(x²) + eps), row by row: RMSNorm without a weight. x and y are (rows, m); y may be x.
// The mean is taken in float64. FalconMamba applies this to dt, B, and C, which are column ranges of one matrix.
func Normalize[T Float](y, x Mat[T], eps float64) {
	y.check("normalize y", x.Rows, x.Cols)
	if d := on(y); d != nil {
		d.RMSNorm(f32Mat(y), f32Mat(x), nil, eps)
		return
	}
	For(x.Rows, normalizeGrain, func(lo, hi int) {
		var s [normalizeGrain]T
		for i := lo; i < hi; i++ {
			s[i-lo] = inverseRMS(x.Row(i), eps)
		}
		scaleRows(y.Slice(lo, hi, 0, x.Cols), x.Slice(lo, hi, 0, x.Cols), s[:])
	})
}

// normalizeGrain is the number of rows per task of Normalize. Rows may be short.
const normalizeGrain = 32

// NormalizeGrad computes or adds the gradient of Normalize: dx = s·dy − s³·x·mean(dy∘x) with s = 1/√(mean(x²) + eps).
// With Set, dx may be dy.
func NormalizeGrad[T Float](mode Mode, dx, dy, x Mat[T], eps float64) {
	dx.check("normalize dx", x.Rows, x.Cols)
	dy.check("normalize dy", x.Rows, x.Cols)
	if d := on(dx); d != nil {
		d.RMSNormGrad(mode, f32Mat(dx), nil, f32Mat(dy), f32Mat(x), nil, eps)
		return
	}
	For(x.Rows, normalizeGrain, func(lo, hi int) {
		var s, k [normalizeGrain]T
		for i := lo; i < hi; i++ {
			r := inverseRMS(x.Row(i), eps)
			s[i-lo], k[i-lo] = r, -r*r*r*T(dot(dy.Row(i), x.Row(i))/float64(x.Cols))
		}
		part := func(m Mat[T]) Mat[T] { return m.Slice(lo, hi, 0, x.Cols) }
		if mode == Set {
			scaleRows(part(dx), part(dy), s[:])
		} else {
			addRows(part(dx), part(dy), s[:])
		}
		addRows(part(dx), part(x), k[:])
	})
}
