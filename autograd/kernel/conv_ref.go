package kernel

// The plain loops of the convolution. With x(t) = 0 before the start of the reading row's document,
//
//	s(t, c) = bias(c) + Σ_j w(c, j)·x(t−k+1+j, c),   j = 0 … k−1
//	y = act(s)
//
// and backward, with g = dy·act′(s) and each sum over the rows of one document,
//
//	db(c) = Σ_t g(t, c)
//	dw(c, j) = Σ_t g(t, c)·x(t−k+1+j, c)
//	dx(t, c) = Σ_j w(c, j)·g(t+k−1−j, c)
//
// where dx of a row before the batch goes to the carry. Rows that Tail returns also receive the gradient of their
// copy.

// forwardRef writes y (rows, d).
func (c Conv[T]) forwardRef(y Mat[T], in convInput[T]) {
	taps := make([][]T, c.K)
	for t := range y.Rows {
		in.taps(taps, t)
		out := y.Row(t)
		for i := range out {
			out[i] = activate(c.Act, c.sumRef(taps, i))
		}
	}
}

// sumRef returns s for channel i from the k input rows that a row reads, oldest first; nil means a row of zeros.
func (c Conv[T]) sumRef(taps [][]T, i int) T {
	var s T
	if c.Bias != nil {
		s = c.Bias[i]
	}
	for j, x := range taps {
		if x != nil {
			s += c.W[i*c.K+j] * x[i]
		}
	}
	return s
}

// backwardRef adds every gradient of Forward at dy (rows, d), except the carry's, to d.
func (c Conv[T]) backwardRef(d ConvGrad[T], dy Mat[T], in convInput[T]) {
	taps, dx := make([][]T, c.K), make([][]T, c.K)
	for t := range dy.Rows {
		in.taps(taps, t)
		d.taps(dx, t, in)
		for i, v := range dy.Row(t) {
			g := v * derivative(c.Act, c.sumRef(taps, i))
			if d.Bias != nil {
				d.Bias[i] += g
			}
			for j := range c.K {
				if d.W != nil && taps[j] != nil {
					d.W[i*c.K+j] += g * taps[j][i]
				}
				if dx[j] != nil {
					dx[j][i] += c.W[i*c.K+j] * g
				}
			}
		}
	}
}

// carryGradRef adds the gradient of Forward with respect to the carry to dCarry (k−1, d). The first k−1 rows read the
// carry.
func (c Conv[T]) carryGradRef(dCarry []T, dy Mat[T], in convInput[T]) {
	taps, d := make([][]T, c.K), dy.Cols
	for t := range min(dy.Rows, c.K-1) {
		start := firstRow(in.first, t)
		in.taps(taps, t)
		for j := 0; t-c.K+1+j < 0; j++ {
			if t-c.K+1+j < start {
				continue
			}
			to := dCarry[(t+j)*d : (t+j+1)*d]
			for i, v := range dy.Row(t) {
				to[i] += c.W[i*c.K+j] * v * derivative(c.Act, c.sumRef(taps, i))
			}
		}
	}
}

// tailGradRef adds dTail (k−1, d), the gradient of Tail's result, to the rows that Tail copies.
func (g ConvGrad[T]) tailGradRef(dTail []T, in convInput[T]) {
	rows, d := in.x.Rows, in.x.Cols
	start := firstRow(in.first, rows-1)
	for i := range in.k - 1 {
		from := dTail[i*d : (i+1)*d]
		switch t := rows - in.k + 1 + i; {
		case t < start:
		case t >= 0 && !g.X.Absent():
			addRef(g.X.Row(t), from)
		case t < 0 && g.Carry != nil:
			addRef(g.Carry[(in.k-1+t)*d:(in.k+t)*d], from)
		}
	}
}

// stepRef writes the pre-activation s of a row x (d) to y and shifts x into taps (k−1, d), the preceding inputs,
// oldest first.
func (c Conv[T]) stepRef(y, x, taps []T) {
	d, k := len(x), c.K
	for i, v := range x {
		w := c.W[i*k : (i+1)*k]
		s := v * w[k-1]
		for j := range k - 1 {
			s += w[j] * taps[j*d+i]
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
}
