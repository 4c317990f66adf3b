package kernel

// stepHeads is the number of heads of a step per task.
const stepHeads = 2

// Step advances a batch of independent sequences by one row each: row i of X, B, C, and DT belongs to sequence i, whose states
// h[i] of h (batch, h, p, n) are updated in place. y is (batch, h·p). First and H0 are not read.
func (s *SSD[T]) Step(y Mat[T], h []T) {
	z := s.sizes()
	s.check()
	y.check("ssd y", z.rows, z.heads*z.p)
	size := z.p * z.n
	For(z.rows*z.heads, stepHeads, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			t, head := i/z.heads, i%z.heads
			s.stepHead(y.Row(t)[head*z.p:][:z.p], h[i*size:][:size], t, head)
		}
	})
}

// stepHead advances the state (p, n) of one head by row t.
func (s *SSD[T]) stepHead(y, state []T, t, h int) {
	if n := s.sizes().n; !wholeRows[T](len(y), n) {
		s.stepRef(y, state, t, h)
		return
	}
	_, delta := s.timeStep(t, h)
	x, b, c := s.operands(t, h)
	decay := exp(-exp(s.ALog[h]) * delta)
	ssdStep(len(y), len(b), &f32s(y)[0], &f32s(state)[0], &f32s(x)[0], &f32s(b)[0], &f32s(c)[0], float32(decay), float32(delta), float32(s.skip(h)))
}
