package kernel

import "math"

// ssdDecays contains the decays of one head within one chunk. Arrays have qp elements.
type ssdDecays[T Float] struct {
	q      int // rows of the chunk
	raw    []T // dt + dt_bias
	soft   []T // its softplus
	delta  []T // Δ: soft clamped to the limits
	s      []float64
	hi, lo []T // s·log₂e = hi + lo, so that the difference of two neighbors is precise even where s is large
	into   []T // e^{s_i}: from the state before the chunk to row i
	fade   []T // e^{s_q−s_j}: from row j to the state after the chunk
	out    []T // Δ·fade
	all    T   // e^{s_q}: from the state before the chunk to the state after it
	room   []T
}

// decayArrays is the number of arrays of T in ssdDecays.
const decayArrays = 9

func (r *ssdChunks[T]) newDecays(a *arena[T]) *ssdDecays[T] {
	d := &ssdDecays[T]{s: make([]float64, r.q)}
	for _, p := range []*[]T{&d.raw, &d.soft, &d.delta, &d.hi, &d.lo, &d.into, &d.fade, &d.out, &d.room} {
		*p = a.take(r.qp)
		clear(*p)
	}
	return d
}

// decays computes the decays of head h in chunk c. into, fade, and what depends on them are set only if the chunk
// starts from a state or feeds one.
func (r *ssdChunks[T]) decays(d *ssdDecays[T], c ssdChunk, h int) {
	d.q = c.hi - c.lo
	dt, bias := r.DT.Data[c.lo*r.DT.Stride+h:], r.DTBias[h]
	for i := range d.raw[:d.q] {
		d.raw[i] = dt[i*r.DT.Stride] + bias
	}
	mapElements(d.soft, d.raw, softplus[T], active.vec.softplus)
	copy(d.delta[:d.q], d.soft)
	if r.Limit[0] > 0 || !math.IsInf(r.Limit[1], 1) {
		for i, v := range d.delta[:d.q] {
			d.delta[i] = r.clamp(v)
		}
	}
	clear(d.delta[d.q:])
	sum := d.cumulate(-float64(exp(r.ALog[h])))
	if c.start == fromZeros && !c.feeds {
		return
	}
	for i, v := range d.s[:d.q] {
		d.into[i], d.fade[i] = T(v), T(sum-v)
	}
	exponentials(d.into, d.q)
	exponentials(d.fade, d.q)
	d.all = d.into[d.q-1]
	for i, v := range d.fade[:d.q] {
		d.out[i] = v * d.delta[i]
	}
}

// cumulate computes s, hi, and lo, and returns the last sum.
func (d *ssdDecays[T]) cumulate(a float64) (sum float64) {
	s, hi, lo := d.s[:d.q], d.hi[:d.q], d.lo[:d.q]
	for i, v := range d.delta[:d.q] {
		sum += float64(v) * a
		log2 := sum * math.Log2E
		high := T(log2)
		s[i], hi[i], lo[i] = sum, high, T(log2-float64(high))
	}
	return sum
}

// faintest is the smallest decay that is not treated as zero in float32: some processors are slow with denormal
// products.
const faintest = 1e-30

// exponentials replaces the first n elements of x by their exponentials. The other elements may be overwritten.
func exponentials[T Float](x []T, n int) {
	clear(x[n:])
	mapElements(x, x, exp[T], active.vec.exp)
	if is32[T]() {
		for i, v := range x[:n] {
			if v < faintest {
				x[i] = 0
			}
		}
	}
}

// mask writes m_ij = gram_ij·e^{s_i−s_j}·Δ_j for j ≤ i and zeros to a few columns after that, and adds skip on the
// diagonal.
func (d *ssdDecays[T]) mask(m, gram Mat[T], skip T) {
	if is32[T]() && hasSSD() {
		m, g := f32Mat(m), f32Mat(gram)
		ssdDecay(d.q, &m.Data[0], &g.Data[0], m.Stride, &f32s(d.hi)[0], &f32s(d.lo)[0], &f32s(d.delta)[0], &f32s(d.room)[0])
	} else {
		d.maskRef(m, gram)
	}
	m.addDiagonal(skip)
}

// maskGrad writes m as mask does. It also adds e^{s_i−s_j}·k_ij·Δ_j to w, and computes r_j = Σ_i v_ij and the part of
// da_i within the chunk; see ssd_backward.go.
func (d *ssdDecays[T]) maskGrad(g maskGrads[T], skip T) {
	clear(g.r)
	if is32[T]() && hasSSD() {
		m, gram, w, k := f32Mat(g.m), f32Mat(g.gram), f32Mat(g.w), f32Mat(g.k)
		ssdDecayGrad(d.q, &m.Data[0], &gram.Data[0], &w.Data[0], &k.Data[0], m.Stride, &f32s(d.hi)[0], &f32s(d.lo)[0], &f32s(d.delta)[0], &f32s(d.room)[0], &f32s(g.r)[0], &f32s(g.da)[0])
	} else {
		d.maskGradRef(g)
	}
	g.m.addDiagonal(skip)
}

// maskGrads contains the matrices (q, q) and vectors (q) of maskGrad. The matrices have the same stride.
type maskGrads[T Float] struct {
	m, gram, w, k Mat[T]
	r, da         []T
}

// addDiagonal adds v to each element of the diagonal.
func (m Mat[T]) addDiagonal(v T) {
	for i := range m.Rows {
		m.Data[i*m.Stride+i] += v
	}
}
