package kernel

// The plain loops of the matrix products. mode specifies whether c is overwritten or added to.

// matMulNTRef computes c(i, j) = alpha·Σ_l a(i, l)·b(j, l) for a (m, k) and b (n, k).
func matMulNTRef[T Float](mode Mode, c Mat[T], alpha T, a, b Mat[T]) {
	for i := range c.Rows {
		ci := c.Row(i)
		for j := range ci {
			var s T
			bj := b.Row(j)
			for l, v := range a.Row(i) {
				s += v * bj[l]
			}
			put(mode, &ci[j], alpha*s)
		}
	}
}

// matMulNNRef computes c(i, j) = Σ_l alpha·a(i, l)·b(l, j) for a (m, k) and b (k, n).
func matMulNNRef[T Float](mode Mode, c Mat[T], alpha T, a, b Mat[T]) {
	for i := range c.Rows {
		ci := c.Row(i)
		if mode == Set {
			clear(ci)
		}
		for l, v := range a.Row(i) {
			v *= alpha
			for j, w := range b.Row(l) {
				ci[j] += v * w
			}
		}
	}
}

// matMulTNRef computes c(i, j) = Σ_l alpha·a(l, i)·b(l, j) for a (k, m) and b (k, n).
func matMulTNRef[T Float](mode Mode, c Mat[T], alpha T, a, b Mat[T]) {
	for i := range c.Rows {
		ci := c.Row(i)
		if mode == Set {
			clear(ci)
		}
		for l := range a.Rows {
			v := alpha * a.Row(l)[i]
			for j, w := range b.Row(l) {
				ci[j] += v * w
			}
		}
	}
}

// put sets *c to v, or adds v to it.
func put[T Float](mode Mode, c *T, v T) {
	if mode == Add {
		v += *c
	}
	*c = v
}
