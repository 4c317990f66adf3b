package autograd

import "mambatrain/autograd/kernel"

// drop writes x with a share p of its elements set to zero and the others divided by 1−p into y, which may be x. Which
// elements stay depends on the seed and their place alone, so a replay and the backward pass see the same ones.
func drop[T kernel.Float](y, x kernel.Mat[T], p float64, seed uint64) {
	keep := T(1 / (1 - p))
	limit := uint64(p * (1 << 32))
	for t := range x.Rows {
		from, to := x.Data[t*x.Stride:t*x.Stride+x.Cols], y.Data[t*y.Stride:t*y.Stride+y.Cols]
		for i, v := range from {
			if mix(seed, uint64(t*x.Cols+i))>>32 < limit {
				v = 0
			}
			to[i] = v * keep
		}
	}
}
