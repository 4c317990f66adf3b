package autograd

import "mambatrain/autograd/kernel"

// drop writes x with a share p of its elements set to zero and the others divided by 1−p into y, which may be x. rows are
// the numbers of x's rows in the batch, nil for all of them in turn. Which elements stay depends on the call's seed and
// their place alone, so a replay and the backward pass see the same ones.
func drop[T kernel.Float](c *Call[T], y, x kernel.Mat[T], p float64, rows []int) {
	keep := T(1 / (1 - p))
	limit := uint64(p * (1 << 32))
	kernel.For(x.Rows, 1, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			row := t
			if rows != nil {
				row = rows[t]
			}
			place := uint64((c.FirstRow + row) * x.Cols)
			to := y.Row(t)
			for i, v := range x.Row(t) {
				if derive(c.Seed, place+uint64(i))>>32 < limit {
					v = 0
				}
				to[i] = v * keep
			}
		}
	})
}
