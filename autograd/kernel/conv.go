package kernel

// Conv is a causal depthwise convolution along the row axis, followed by an activation:
//
//	y(t, c) = act(bias(c) + Σ_j w(c, j)·x(t−k+1+j, c)),   j = 0 … k−1
//
// where taps before the first row of t's document are zero. x and y are (rows, d).
//
// first[t] is the first row of row t's document; nil means one document that starts at row 0. A negative first[t] = −n
// means that the document began n rows before this batch; taps before row 0 then come from carry, the k−1 rows that came
// before, (k−1, d), oldest first. A nil carry is zeros.
type Conv[T Float] struct {
	W    []T // (d, k)
	Bias []T // (d), or nil
	K    int
	Act  Activation
}

// convGrain is how many channels one task takes; every task walks all rows.
const convGrain = 64

// tapRow returns row t of x, which lies in carry if t < 0; nil stands for zeros.
func (c Conv[T]) tapRow(x Mat[T], carry []T, t, first int) []T {
	switch {
	case t < first:
		return nil
	case t >= 0:
		return x.Row(t)
	case carry == nil || t < 1-c.K:
		return nil
	}
	o := (c.K - 1 + t) * x.Cols
	return carry[o : o+x.Cols]
}

// Forward writes the convolution of x to y. y must not overlap x.
func (c Conv[T]) Forward(y, x Mat[T], first []int, carry []T) {
	y.check("conv y", x.Rows, x.Cols)
	from := 0
	if v, ok := c.vector(); ok {
		from = x.Cols &^ (vectorStep - 1)
		k := convWork{Conv: v, x: f32Mat(x), y: f32Mat(y), first: first, carry: f32s(carry), n: from}
		k.run(k.forward)
	}
	For(x.Cols-from, convGrain, func(lo, hi int) {
		lo, hi = lo+from, hi+from
		pre := make([]T, hi-lo)
		for t := range x.Rows {
			c.preactivate(pre, x, first, carry, t, lo, hi)
			out := y.Row(t)[lo:hi]
			for i, v := range pre {
				out[i] = activate(c.Act, v)
			}
		}
	})
}

// preactivate writes bias + Σ w·x of row t, channels [lo, hi).
func (c Conv[T]) preactivate(pre []T, x Mat[T], first []int, carry []T, t, lo, hi int) {
	if c.Bias != nil {
		copy(pre, c.Bias[lo:hi])
	} else {
		clear(pre)
	}
	for j := range c.K {
		row := c.tapRow(x, carry, t-c.K+1+j, firstRow(first, t))
		if row == nil {
			continue
		}
		for i := range pre {
			pre[i] += c.W[(lo+i)*c.K+j] * row[lo+i]
		}
	}
}

// Tail writes the last k−1 inputs of the last document, zeros where it is shorter, to carryOut (k−1, d): the carry of the
// batch that continues it. carryOut may be carry.
func (c Conv[T]) Tail(carryOut []T, x Mat[T], first []int, carry []T) {
	d := x.Cols
	f := 1 - c.K // no rows: everything stays as it was
	if x.Rows > 0 {
		f = firstRow(first, x.Rows-1)
	}
	for i := range c.K - 1 { // ascending: what carry still holds is read before it is overwritten
		dst := carryOut[i*d : (i+1)*d]
		if row := c.tapRow(x, carry, x.Rows-c.K+1+i, f); row != nil {
			copy(dst, row)
		} else {
			clear(dst)
		}
	}
}

// Backward adds the gradients of Forward to dx (rows, d), dw (d, k) and db (d); zero and nil are not wanted.
// It recomputes the pre-activation from x. No gradient flows into carry.
func (c Conv[T]) Backward(dx Mat[T], dw, db []T, dy, x Mat[T], first []int, carry []T) {
	dy.check("conv dy", x.Rows, x.Cols)
	from := 0
	if v, ok := c.vector(); ok {
		from = x.Cols &^ (vectorStep - 1)
		k := convWork{Conv: v, x: f32Mat(x), dx: f32Mat(dx), dy: f32Mat(dy), first: first, carry: f32s(carry), n: from}
		k.backwardVec(f32s(dw), f32s(db))
	}
	For(x.Cols-from, convGrain, func(lo, hi int) {
		lo, hi = lo+from, hi+from
		g := make([]T, hi-lo)
		for t := range x.Rows {
			c.preactivate(g, x, first, carry, t, lo, hi)
			gy := dy.Row(t)[lo:hi]
			for i, v := range g {
				g[i] = gy[i] * derivative(c.Act, v)
				if db != nil {
					db[lo+i] += g[i]
				}
			}
			c.spread(dx, dw, g, x, first, carry, t, lo)
		}
	})
}

// spread adds the share of row t's pre-activation gradient g to dx and dw.
func (c Conv[T]) spread(dx Mat[T], dw, g []T, x Mat[T], first []int, carry []T, t, lo int) {
	f := firstRow(first, t)
	for j := range c.K {
		s := t - c.K + 1 + j
		if row := c.tapRow(x, carry, s, f); dw != nil && row != nil {
			for i, v := range g {
				dw[(lo+i)*c.K+j] += v * row[lo+i]
			}
		}
		if !dx.Absent() && s >= 0 && s >= f {
			row := dx.Row(s)
			for i, v := range g {
				row[lo+i] += c.W[(lo+i)*c.K+j] * v
			}
		}
	}
}

// Step convolves one new input row of each of a batch of independent sequences: x and y are (batch, d), and taps
// (batch, k−1, d), the inputs before, oldest first, are shifted in place.
func (c Conv[T]) Step(y, x Mat[T], taps []T) {
	d, n := x.Cols, (c.K-1)*x.Cols
	y.check("conv y", x.Rows, d)
	For(x.Rows, 1, func(lo, hi int) {
		for b := lo; b < hi; b++ {
			c.stepRow(y.Row(b), x.Row(b), taps[b*n:(b+1)*n])
		}
	})
}

func (c Conv[T]) stepRow(y, x, taps []T) {
	d, k := len(x), c.K
	for i, v := range x {
		w := c.W[i*k : (i+1)*k]
		s := v * w[k-1]
		for j, t := 0, i; j < k-1; j, t = j+1, t+d {
			s += w[j] * taps[t]
		}
		if c.Bias != nil {
			s += c.Bias[i]
		}
		y[i] = s
	}
	if k > 1 {
		copy(taps, taps[d:])
		copy(taps[(k-2)*d:], x)
	}
	Activate(c.Act, y, y)
}
