package kernel

// The recurrence of SSD, row by row, which documents and tests the chunked form. float64 uses it unless SSD.Chunk is
// set.

// timeStep returns dt + dt_bias of head h at row t, and Δ.
func (s *SSD[T]) timeStep(t, h int) (raw, delta T) {
	raw = s.DT.Row(t)[h] + s.DTBias[h]
	return raw, s.clamp(softplus(raw))
}

// clamp applies the limits of Δ.
func (s *SSD[T]) clamp(delta T) T { return min(max(delta, T(s.Limit[0])), T(s.Limit[1])) }

// slope returns the derivative of Δ with respect to raw. At the limits themselves it is that of softplus, as with
// torch's clamp.
func (s *SSD[T]) slope(raw T) T {
	switch delta := softplus(raw); {
	case delta < T(s.Limit[0]) || delta > T(s.Limit[1]):
		return 0
	case raw > 20:
		return 1
	}
	return sigmoid(raw)
}

// operands returns head h's x, B, and C at row t.
func (s *SSD[T]) operands(t, h int) (x, b, c []T) {
	z := s.sizes()
	group := h / (z.heads / s.Groups)
	return s.X.Row(t)[h*z.p:][:z.p], s.B.Row(t)[group*z.n:][:z.n], s.C.Row(t)[group*z.n:][:z.n]
}

// forwardRef is Forward for head h.
func (s *SSD[T]) forwardRef(y Mat[T], hOut []T, h int) {
	z := s.sizes()
	state := s.initial(h)
	for t := range z.rows {
		if firstRow(s.First, t) == t {
			clear(state)
		}
		s.stepRef(y.Row(t)[h*z.p:][:z.p], state, t, h)
	}
	if hOut != nil {
		copy(hOut[h*z.p*z.n:], state)
	}
}

// initial returns a copy of head h's state before row 0. A document that starts at row 0 does not use it.
func (s *SSD[T]) initial(h int) []T {
	z := s.sizes()
	state := make([]T, z.p*z.n)
	if s.H0 != nil {
		copy(state, s.H0[h*z.p*z.n:])
	}
	return state
}

// stepRef advances the state (p, n) of head h by row t and writes y (p).
func (s *SSD[T]) stepRef(y, state []T, t, h int) {
	_, delta := s.timeStep(t, h)
	x, b, c := s.operands(t, h)
	decay := exp(-exp(s.ALog[h]) * delta)
	for i, xi := range x {
		row := state[i*len(b):][:len(b)]
		var sum T
		for j := range row {
			row[j] = decay*row[j] + delta*xi*b[j]
			sum += row[j] * c[j]
		}
		y[i] = sum + s.skip(h)*xi
	}
}

func (s *SSD[T]) skip(h int) T {
	if s.D == nil {
		return 0
	}
	return s.D[h]
}

// backwardRef is Backward for head h. With γ the gradient of y and Λ(t) = ∂L/∂S(t), (p, n), from the last row to the
// first:
//
//	Λ(t)  = γ(t)·C(t)ᵀ + exp(Δ(t+1)·A)·Λ(t+1)        after the last row: the gradient of the final state
//	dC(t) = Σ_heads S(t)ᵀ·γ(t)    dB(t) = Σ_heads Δ(t)·Λ(t)ᵀ·x(t)
//	dx(t) = Δ(t)·Λ(t)·B(t) + D·γ(t)    dD = Σ_t γ(t)·x(t)
//	q(t)  = exp(Δ(t)·A)·⟨Λ(t), S(t−1)⟩
//	dΔ(t) = x(t)·Λ(t)·B(t) + A·q(t)    dA_log = A·Σ_t Δ(t)·q(t)
//	ddt   = dΔ·σ(dt + dt_bias) within the limits, else 0    ddt_bias = Σ_t ddt(t)
//
// where the sums over heads run over those that share B and C. Nothing flows from a document to the previous one.
func (s *SSD[T]) backwardRef(g SSDGrad[T], dy Mat[T], dhOut []T, h int) {
	z := s.sizes()
	size := z.p * z.n
	states, lambda := s.statesRef(h), make([]T, size)
	if dhOut != nil {
		copy(lambda, dhOut[h*size:])
	}
	for t := z.rows - 1; t >= 0; t-- {
		before := states[t*size:][:size]
		if firstRow(s.First, t) == t {
			before = make([]T, size)
		}
		s.rowBackwardRef(g, dy.Row(t)[h*z.p:][:z.p], lambda, before, states[(t+1)*size:][:size], t, h)
		if firstRow(s.First, t) == t {
			clear(lambda)
		}
	}
	if g.H0 != nil {
		for i, v := range lambda {
			g.H0[h*size+i] += v
		}
	}
}

// statesRef returns the states of head h: before row 0 and after each row.
func (s *SSD[T]) statesRef(h int) []T {
	z := s.sizes()
	size := z.p * z.n
	states, y := make([]T, (z.rows+1)*size), make([]T, z.p)
	copy(states, s.initial(h))
	for t := range z.rows {
		state := states[(t+1)*size:][:size]
		if firstRow(s.First, t) != t {
			copy(state, states[t*size:])
		}
		s.stepRef(y, state, t, h)
	}
	return states
}

// rowBackwardRef runs the backward pass of head h over row t, which led from state before to state after. It adds to
// the gradients and changes lambda from the gradient of after into that of before.
func (s *SSD[T]) rowBackwardRef(g SSDGrad[T], dy, lambda, before, after []T, t, h int) {
	raw, delta := s.timeStep(t, h)
	x, b, c := s.operands(t, h)
	n := len(b)
	a := -exp(s.ALog[h])
	decay := exp(a * delta)
	db, dc := g.rowBC(t, h/(s.DT.Cols/s.Groups), n)
	var dDelta, q, dSkip T
	for i, xi := range x {
		var lb T // Λ·B
		for j := range b {
			at := i*n + j
			lambda[at] += dy[i] * c[j]
			lb += lambda[at] * b[j]
			db[j] += delta * lambda[at] * xi
			dc[j] += after[at] * dy[i]
			q += decay * lambda[at] * before[at]
			lambda[at] *= decay
		}
		if !g.X.Absent() {
			g.X.Row(t)[h*len(x)+i] += delta*lb + s.skip(h)*dy[i]
		}
		dDelta += xi * lb
		dSkip += dy[i] * xi
	}
	d := (dDelta + a*q) * s.slope(raw)
	if !g.DT.Absent() {
		g.DT.Row(t)[h] += d
	}
	addAt(g.DTBias, h, d)
	addAt(g.ALog, h, a*delta*q)
	addAt(g.D, h, dSkip)
}

// rowBC returns the destinations of dB and dC of one group at row t, or scratch for those that are not needed.
func (g *SSDGrad[T]) rowBC(t, group, n int) (db, dc []T) {
	pick := func(m Mat[T]) []T {
		if m.Absent() {
			return make([]T, n)
		}
		return m.Row(t)[group*n:][:n]
	}
	return pick(g.B), pick(g.C)
}

// addAt adds v to element i of x, which may be nil.
func addAt[T Float](x []T, i int, v T) {
	if x != nil {
		x[i] += v
	}
}
