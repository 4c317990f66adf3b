package kernel

// The plain loops of the selective scan, for one channel c: Δ, u, z, D, and y are scalars, A, B, C, and the state h are
// (n). Gu & Dao 2023, algorithm 2.
//
//	Δ = softplus(dt),  A = −exp(A_log)
//	h(t) = exp(Δ·A)∘h(t−1) + Δ·u·B
//	y(t) = (C·h(t) + D·u) · silu(z)

// forwardRef runs channel c over all rows. h is the state before the first row and is updated to the state after the
// last.
func (s *Scan[T]) forwardRef(c int, h []T, y Mat[T], saved []T) {
	rows, d, n := s.sizes()
	a := make([]T, n)
	s.decayRates(a, c)
	for t := range rows {
		if t%scanChunk == 0 && saved != nil {
			copy(saved[(t/scanChunk*d+c)*n:], h)
		}
		if firstRow(s.First, t) == t {
			clear(h)
		}
		y.Row(t)[c] = s.output(c, t, s.advance(c, t, h, a))
	}
}

// stepRef advances the states h (len(y), n) of the channels starting at lo by row t and writes their y.
func (s *Scan[T]) stepRef(y, h []T, t, lo int) {
	n := s.B.Cols
	a := make([]T, n)
	for i := range y {
		s.decayRates(a, lo+i)
		y[i] = s.output(lo+i, t, s.advance(lo+i, t, h[i*n:(i+1)*n], a))
	}
}

// decayRates writes A of channel c.
func (s *Scan[T]) decayRates(a []T, c int) {
	for j := range a {
		a[j] = -exp(s.ALog[c*len(a)+j])
	}
}

// advance updates the state h of channel c from row t−1 to row t and returns C·h.
func (s *Scan[T]) advance(c, t int, h, a []T) T {
	delta := softplus(s.DT.Row(t)[c])
	input := delta * s.U.Row(t)[c]
	b, cc := s.B.Row(t)[:len(h)], s.C.Row(t)[:len(h)]
	a = a[:len(h)]
	var sum T
	for j := range h {
		h[j] = exp(delta*a[j])*h[j] + input*b[j]
		sum += h[j] * cc[j]
	}
	return sum
}

// output returns y of channel c at row t, given C·h.
func (s *Scan[T]) output(c, t int, ch T) T {
	y := ch + s.skip(c)*s.U.Row(t)[c]
	if !s.Z.Absent() {
		y *= silu(s.Z.Row(t)[c])
	}
	return y
}

// skip returns D of channel c.
func (s *Scan[T]) skip(c int) T {
	if s.D == nil {
		return 0
	}
	return s.D[c]
}

// scanAdjoint is the backward pass of one channel, from the last row to the first. Let g = dy·silu(z) and let λ(t) be
// the gradient of h(t). At the last row of a document, later rows contribute nothing to λ; at the very last row, dhOut
// does. Then
//
//	λ(t) = g(t)·C(t) + exp(Δ(t+1)·A)∘λ(t+1)
//	dH0 = exp(Δ(0)·A)∘λ(0), for a document that continues from H0
//	dC = g·h,  dB = λ·Δ·u,  dD = Σ_t g·u,  du = g·D + Δ·Σ_n λ∘B
//	dΔ = u·Σ_n λ∘B + Σ_n q∘A,  ddt = dΔ·σ(dt),  where q(t) = λ∘exp(Δ·A)∘h(t−1)
//	dA = Σ_t Δ·q,  dA_log = dA∘A
//	dz = dy·(C·h + D·u)·silu′(z)
type scanAdjoint[T Float] struct {
	*Scan[T]
	c         int
	g         ScanGrad[T]
	dBC       Mat[T] // (rows, 2n): the sum over channels of dB and dC
	a, da     []T    // A and dA
	dD        T
	lambda    []T // exp(Δ(t+1)·A)∘λ(t+1)
	hs        []T // (scanChunk+1, n): the state before a chunk's first row, then the state after each of its rows
	chs       []T // C·h of a chunk's rows
	zeroState []T
}

// backwardRef adds the gradients of channel c to g, except those of B and C, which it adds to dBC. It processes one
// chunk of rows at a time and recomputes the chunk's states.
func (s *Scan[T]) backwardRef(c int, g ScanGrad[T], dy Mat[T], saved, dhOut []T, dBC Mat[T]) {
	rows, d, n := s.sizes()
	k := &scanAdjoint[T]{
		Scan: s, c: c, g: g, dBC: dBC, a: make([]T, n), da: make([]T, n), lambda: make([]T, n),
		hs: make([]T, (scanChunk+1)*n), chs: make([]T, scanChunk), zeroState: make([]T, n),
	}
	s.decayRates(k.a, c)
	if dhOut != nil {
		copy(k.lambda, dhOut[c*n:])
	}
	for lo := (rows - 1) / scanChunk * scanChunk; lo >= 0; lo -= scanChunk {
		hi := min(rows, lo+scanChunk)
		copy(k.hs[:n], saved[(lo/scanChunk*d+c)*n:])
		for t := lo; t < hi; t++ {
			h := k.stateAfter(t)
			copy(h, k.stateBefore(t))
			k.chs[t-lo] = s.advance(c, t, h, k.a)
		}
		for t := hi - 1; t >= lo; t-- {
			k.row(t, dy.Row(t)[c])
			if firstRow(s.First, t) == t {
				clear(k.lambda) // no gradient flows into the previous document
			}
		}
	}
	if g.H0 != nil {
		addRef(g.H0[c*n:(c+1)*n], k.lambda)
	}
	if g.ALog != nil {
		for j, v := range k.da {
			g.ALog[c*n+j] += v * k.a[j]
		}
	}
	if g.D != nil {
		g.D[c] += k.dD
	}
}

// stateBefore returns h(t−1), or zeros at the start of a document.
func (k *scanAdjoint[T]) stateBefore(t int) []T {
	if firstRow(k.First, t) == t {
		return k.zeroState
	}
	n := len(k.a)
	return k.hs[t%scanChunk*n:][:n]
}

// stateAfter returns h(t).
func (k *scanAdjoint[T]) stateAfter(t int) []T {
	n := len(k.a)
	return k.hs[(t%scanChunk+1)*n:][:n]
}

// row computes the backward pass of row t, where the gradient of y is dy.
func (k *scanAdjoint[T]) row(t int, dy T) {
	c, n := k.c, len(k.a)
	u, dt := k.U.Row(t)[c], k.DT.Row(t)[c]
	g := dy
	if !k.Z.Absent() {
		z := k.Z.Row(t)[c]
		if !k.g.Z.Absent() {
			k.g.Z.Row(t)[c] += dy * (k.chs[t%scanChunk] + k.skip(c)*u) * siluGrad(z)
		}
		g *= silu(z)
	}
	k.dD += g * u
	delta := softplus(dt)
	b, cc, dB, dC := k.B.Row(t)[:n], k.C.Row(t)[:n], k.dBC.Row(t)[:n], k.dBC.Row(t)[n:]
	before, after := k.stateBefore(t), k.stateAfter(t)
	var sumB, sumA T // Σ λ∘B and Σ q∘A
	for j, a := range k.a {
		lambda := k.lambda[j] + g*cc[j]
		dB[j] += lambda * delta * u
		dC[j] += g * after[j]
		sumB += lambda * b[j]
		lambda *= exp(delta * a)
		q := lambda * before[j]
		sumA += q * a
		k.da[j] += q * delta
		k.lambda[j] = lambda
	}
	if !k.g.U.Absent() {
		k.g.U.Row(t)[c] += g*k.skip(c) + sumB*delta
	}
	if !k.g.DT.Absent() {
		slope := T(1) // of softplus
		if dt <= 20 {
			slope = sigmoid(dt)
		}
		k.g.DT.Row(t)[c] += (sumB*u + sumA) * slope
	}
}
