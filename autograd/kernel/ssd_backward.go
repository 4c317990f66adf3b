package kernel

// The chunked form of SSD's backward pass. With γ the gradient of y, Λ that of the state after a chunk, S the state before it,
// e_ij = e^{s_i−s_j}, and G_ij = C_i·B_j,
//
//	k_ij = γ_i·x_j    v_ij = G_ij·e_ij·k_ij                                  j ≤ i
//	dx_j = Δ_j·(Σ_{i≥j} G_ij·e_ij·γ_i + e^{s_q−s_j}·Λ·B_j) + D·γ_j    dD = Σ_i k_ii
//	dC_i = Σ_heads [Σ_{j≤i} e_ij·k_ij·Δ_j·B_j + e^{s_i}·Sᵀ·γ_i]
//	dB_j = Σ_heads [Σ_{i≥j} e_ij·k_ij·Δ_j·C_i + e^{s_q−s_j}·Δ_j·Λᵀ·x_j]
//	dS   = e^{s_q}·Λ + Σ_i e^{s_i}·γ_i·C_iᵀ                                  the Λ of the chunk before
//
// The decays' exponents are sums of a_k = Δ_k·A: what passes from a row before k, or from S, to row k or one after it, or to
// Λ, has a_k in its exponent.
//
//	da_k = Σ_{j<k≤i} v_ij·Δ_j + Σ_{i≥k} e^{s_i}·γ_i·S·C_i + Σ_{j<k} e^{s_q−s_j}·Δ_j·x_j·Λ·B_j + e^{s_q}·⟨Λ, S⟩
//	dΔ_k = A·da_k + Σ_{i≥k} v_ik + e^{s_q−s_k}·x_k·Λ·B_k    dA_log = A·Σ_k Δ_k·da_k
//
// These sums have no terms that cancel. From dΔ on, backwardRef has the rest.

// ssdHeads is how many heads of a group share one partial sum of dB and dC; it is fixed so that the order of summation is.
const ssdHeads = 4

// Backward adds to g the gradients of Forward at dy (rows, h·p), from the states Forward saved. dhOut (h, p, n) is the gradient
// of the state after the last row, nil for none.
func (s *SSD[T]) Backward(g SSDGrad[T], dy Mat[T], saved, dhOut []T) {
	z := s.sizes()
	s.check()
	dy.check("ssd dy", z.rows, z.heads*z.p)
	if s.plain() {
		g.clearFresh()
		each := z.heads / s.Groups // of a group, which add to the same dB and dC
		For(s.Groups, 1, func(lo, hi int) {
			for h := lo * each; h < hi*each; h++ {
				s.backwardRef(g, dy, dhOut, h)
			}
		})
		return
	}
	b := ssdBackward[T]{ssdRun: s.newRun(dhOut != nil), g: g, dy: dy, saved: saved, dhOut: dhOut}
	b.run()
}

// ssdBackward is a backward pass over segments of chunks, the last first. In lambda, slot i has the gradient of the state
// before the segment's chunk i, as (n, p), head by head, and slot i+1 that of the state after it.
type ssdBackward[T Float] struct {
	ssdRun[T]
	g            SSDGrad[T]
	dy           Mat[T]
	saved, dhOut []T
	blocks       int // of heads, in each group
	shared       []ssdSharedBack[T]
	lambda       []T
	sums         []ssdSums // for each chunk of the segment and each head
	total        []ssdSums // for each head
}

// ssdSums are a head's sums over rows.
type ssdSums struct{ a, d, bias float64 }

// ssdSharedBack is what the heads of a group share in a chunk, in the backward pass.
type ssdSharedBack[T Float] struct {
	gram         Mat[T]
	b, c         Mat[T]    // (q, n)
	left, turned factor[T] // B (q, n), and Cᵀ (n, q)
	room, room2  []T
	parts        []ssdPart[T] // for each block of heads
}

// ssdPart is what a block of heads adds to a group's gradients in a chunk: Σ e_ij·k_ij·Δ_j (q, q), and what passes through the
// states before and after the chunk.
type ssdPart[T Float] struct {
	w      Mat[T]
	db, dc Mat[T] // (q, n)
}

func (b *ssdBackward[T]) run() {
	most := min(ssdSegment, len(b.chunks))
	each := b.heads / b.Groups
	b.blocks = (each + ssdHeads - 1) / ssdHeads
	b.shared = make([]ssdSharedBack[T], most*b.Groups)
	matrix, room := b.q*b.np, factorRoom(b.q, b.n)
	size := len(b.shared) * (b.q*b.ld + 2*matrix + 2*room + b.blocks*(2*matrix+b.q*b.ld))
	scratch := newArena[T](size + (most+1)*b.heads*b.n*b.pp)
	defer scratch.release()
	for i := range b.shared {
		b.shared[i] = ssdSharedBack[T]{
			gram: scratch.matrix(b.q, b.qp, b.ld), b: scratch.matrix(b.q, b.np, b.np), c: scratch.matrix(b.q, b.np, b.np),
			room: scratch.take(room), room2: scratch.take(room), parts: make([]ssdPart[T], b.blocks),
		}
		for k := range b.shared[i].parts {
			b.shared[i].parts[k] = ssdPart[T]{scratch.matrix(b.q, b.qp, b.ld), scratch.matrix(b.q, b.np, b.np), scratch.matrix(b.q, b.np, b.np)}
		}
	}
	b.lambda = scratch.take((most + 1) * b.heads * b.n * b.pp)
	b.sums, b.total = make([]ssdSums, most*b.heads), make([]ssdSums, b.heads)
	for to := len(b.chunks); to > 0; to = (to - 1) / most * most {
		b.segment((to-1)/most*most, to)
	}
	b.finish()
}

// segment takes chunks [from, to) back: first what groups share, then along the chains of chunks the gradients of the states,
// then everything else, chunk by chunk.
func (b *ssdBackward[T]) segment(from, to int) {
	n := to - from
	b.enter(from, to)
	runTasks(n*b.Groups, func(i int) { b.share(&b.shared[i], b.chunks[from+i/b.Groups], i%b.Groups) })
	b.forChains(from, to, func(c0, c1, h0, h1 int) {
		for h := h0; h < h1; h++ {
			b.chain(c0, c1, from, h)
		}
	})
	runTasks(n*b.Groups*b.blocks, func(i int) { b.block(from+i/(b.Groups*b.blocks), from, i%(b.Groups*b.blocks)) })
	runTasks(2*n*b.Groups, func(i int) {
		sh, c, g := &b.shared[i/2], b.chunks[from+i/2/b.Groups], i/2%b.Groups
		if i%2 == 0 {
			b.deliverB(sh, c, g)
		} else {
			b.deliverC(sh, c, g)
		}
	})
	for i := range n {
		for h := range b.heads {
			sum, t := b.sums[i*b.heads+h], &b.total[h]
			t.a, t.d, t.bias = t.a+sum.a, t.d+sum.d, t.bias+sum.bias
		}
	}
}

// slot views head h in slot i of lambda.
func (b *ssdBackward[T]) slot(i, h int) Mat[T] {
	return Dense(b.lambda[(i*b.heads+h)*b.n*b.pp:][:b.n*b.pp], b.n, b.pp)
}

// enter puts the gradient of the state after chunk to−1 in its place.
func (b *ssdBackward[T]) enter(from, to int) {
	switch last := b.chunks[to-1]; {
	case last.hi == b.rows && b.dhOut != nil:
		For(b.heads, 1, func(lo, hi int) {
			for h := lo; h < hi; h++ {
				turnRows(b.slot(to-from, h).Slice(0, b.n, 0, b.p), b.state(b.dhOut, h))
			}
		})
	case last.feeds: // the segment after has left it in its first slot
		size := b.heads * b.n * b.pp
		copy(b.lambda[(to-from)*size:][:size], b.lambda[:size])
	}
}

// share computes what the heads of group g share in chunk c.
func (b *ssdBackward[T]) share(sh *ssdSharedBack[T], c ssdChunk, g int) {
	q, bm, cm := c.hi-c.lo, b.group(b.B, c, g), b.group(b.C, c, g)
	copyRows(sh.b, bm)
	copyRows(sh.c, cm)
	left := newFactor(cm, false, square, sh.room)
	b.gram(sh.gram, &left, bm)
	if c.feeds {
		sh.left = newFactor(sh.b.Slice(0, q, 0, b.n), false, square, sh.room)
	}
	if b.goesBack(c) {
		sh.turned = newFactor(sh.c.Slice(0, q, 0, b.n), true, square, sh.room2)
	}
}

// goesBack reports whether the gradient of the state before c is wanted.
func (b *ssdBackward[T]) goesBack(c ssdChunk) bool {
	return c.start == fromChunk || c.start == fromH0 && b.g.H0 != nil
}

// chain computes the gradients of head h's states before chunks [from, to), of one document; base is the segment's first.
func (b *ssdBackward[T]) chain(from, to, base, h int) {
	scratch := newArena[T](decayArrays*b.qp + b.q*b.pp + blocksOf16(b.n))
	defer scratch.release()
	d, gy, weights := b.newDecays(scratch), scratch.matrix(b.q, b.pp, b.pp), scratch.take(b.n)
	group := h / (b.heads / b.Groups)
	for i := to - 1; i >= from; i-- {
		c := b.chunks[i]
		if !b.goesBack(c) {
			break
		}
		b.decays(d, c, h)
		gy := gy.top(c.hi - c.lo)
		copyRows(gy, b.channels(b.dy, c, h))
		scaleRows(gy, gy, d.into)
		before, mode := b.slot(i-base, h), Set
		if c.feeds {
			for j := range weights {
				weights[j] = d.all
			}
			scaleRows(before, b.slot(i+1-base, h), weights)
			mode = Add
		}
		b.shared[(i-base)*b.Groups+group].turned.mul(mode, before, gy, square)
	}
	if c := b.chunks[from]; c.start == fromH0 && b.g.H0 != nil {
		b.addH0(b.slot(from-base, h), h)
	}
}

// addH0 adds the gradient of the state before row 0.
func (b *ssdBackward[T]) addH0(lambda Mat[T], h int) {
	to := b.state(b.g.H0, h)
	for i := range b.p {
		row := to.Row(i)
		for j := range row {
			row[j] += lambda.Data[j*lambda.Stride+i]
		}
	}
}

// ssdHeadBack is the room of a block's heads on their way back through a chunk.
type ssdHeadBack[T Float] struct {
	*ssdDecays[T]
	x, gy, dx, lb     Mat[T] // (q, p)
	xt                Mat[T] // (p, q)
	k, m              Mat[T] // (q, q)
	sg                Mat[T] // (q, n)
	st, lt            Mat[T] // (p, n)
	roomG, roomM      []T
	r, da             []T // Σ_i v_ij, and the part of da within the chunk
	fromState, toLast []T // e^{s_i}·γ_i·S·C_i, x_j·Λ·B_j
	rows              []T // (p)
	next              []Mat[T]
}

func (b *ssdBackward[T]) newHeadBack() (*ssdHeadBack[T], *arena[T]) {
	rooms := factorRoom(b.q, b.p) + factorRoom(b.q, b.q)
	scratch := newArena[T]((decayArrays+4)*b.qp + 4*b.q*b.pp + b.p*b.qp + 2*b.q*b.ld + b.q*b.np + 2*b.p*b.np + rooms + b.pp)
	w := &ssdHeadBack[T]{ssdDecays: b.newDecays(scratch)}
	for _, m := range []*Mat[T]{&w.x, &w.gy, &w.dx, &w.lb} {
		*m = scratch.matrix(b.q, b.pp, b.pp)
	}
	w.xt = scratch.matrix(b.p, b.qp, b.qp)
	for _, m := range []*Mat[T]{&w.k, &w.m} {
		*m = scratch.matrix(b.q, b.qp, b.ld)
	}
	w.sg, w.st, w.lt = scratch.matrix(b.q, b.np, b.np), scratch.matrix(b.p, b.np, b.np), scratch.matrix(b.p, b.np, b.np)
	w.roomG, w.roomM = scratch.take(factorRoom(b.q, b.p)), scratch.take(factorRoom(b.q, b.q))
	for _, p := range []*[]T{&w.r, &w.da, &w.fromState, &w.toLast} {
		*p = scratch.take(b.qp)
	}
	w.rows = scratch.take(b.p)
	return w, scratch
}

// block takes a block of heads of one group back through chunk i; base is the segment's first.
func (b *ssdBackward[T]) block(i, base, block int) {
	w, scratch := b.newHeadBack()
	defer scratch.release()
	c := b.chunks[i]
	q, group, each := c.hi-c.lo, block/b.blocks, b.heads/b.Groups
	sh := &b.shared[(i-base)*b.Groups+group]
	part := &sh.parts[block%b.blocks]
	clearLower(part.w.top(q))
	first := group*each + block%b.blocks*ssdHeads
	end := min((group+1)*each, first+ssdHeads)
	for h := first; h < end; h++ {
		w.next = w.next[:0]
		if h+1 < end {
			w.next = append(w.next, b.channels(b.X, c, h+1), b.channels(b.dy, c, h+1))
		}
		if !b.g.X.Absent() {
			w.next = append(w.next, b.channels(b.g.X, c, h))
		}
		mode := Add
		if h == first {
			mode = Set
		}
		b.head(w, c, sh, part, mode, i-base, h)
	}
}

// lowerEnd is the end of the columns that matter in row i of a triangular factor: the diagonal's block and the one after it.
func lowerEnd(i int) int { return i&^(vectorStep-1) + 2*vectorStep }

// clearLower clears a lower triangle.
func clearLower[T Float](m Mat[T]) {
	for i := range m.Rows {
		clear(m.Data[i*m.Stride:][:lowerEnd(i)])
	}
}

// addLower adds the lower triangle of x to that of y.
func addLower[T Float](y, x Mat[T]) {
	for i := range x.Rows {
		add(y.Data[i*y.Stride:][:lowerEnd(i)], x.Data[i*x.Stride:][:lowerEnd(i)])
	}
}

// head takes head h back through chunk c; slot is the place of its states' gradients, and mode says whether db and dc of part
// have something already.
func (b *ssdBackward[T]) head(w *ssdHeadBack[T], c ssdChunk, sh *ssdSharedBack[T], part *ssdPart[T], mode Mode, slot, h int) {
	q := c.hi - c.lo
	b.decays(w.ssdDecays, c, h)
	x, gy, dx := w.x.top(q), w.gy.top(q), w.dx.top(q)
	copyRows(x, b.channels(b.X, c, h))
	copyRows(gy, b.channels(b.dy, c, h))
	left := newFactor(gy.Slice(0, q, 0, b.p), false, square, w.roomG)
	k := w.k.top(q)
	turned := w.xt.Slice(0, b.p, 0, blocksOf16(q))
	turnRows(turned, x.Slice(0, q, 0, b.p))
	left.mul(Set, k, turned, lowerOut)
	sums := &b.sums[slot*b.heads+h]
	*sums = ssdSums{}
	for i := range q {
		sums.d += float64(k.Data[i*k.Stride+i])
	}
	w.maskGrad(w.m.top(q), sh.gram, part.w, k, w.r, w.da, b.skip(h))
	within := newFactor(w.m.Slice(0, q, 0, q), true, upper, w.roomM)
	within.mul(Set, dx, gy, upper, w.next...)

	var last T
	if c.start != fromZeros {
		b.fromBefore(w, c, sh, &left, mode, part.dc.top(q), h)
	}
	if c.feeds {
		b.toAfter(w, x, dx, sh, mode, part.db.top(q), slot, h)
		if c.start != fromZeros {
			dotRows(w.rows, w.lt.Slice(0, b.p, 0, b.n), w.st.Slice(0, b.p, 0, b.n))
			for _, v := range w.rows {
				last += v
			}
			last *= w.all
		}
	}
	b.deliver(w, c, dx, sums, last, h)
}

// fromBefore adds what reaches y from the state before the chunk.
func (b *ssdBackward[T]) fromBefore(w *ssdHeadBack[T], c ssdChunk, sh *ssdSharedBack[T], left *factor[T], mode Mode, dc Mat[T], h int) {
	q := c.hi - c.lo
	states := b.H0
	if c.start == fromChunk {
		states = b.saved[c.saved*b.heads*b.p*b.n:]
	}
	copyRows(w.st, b.state(states, h))
	sg := w.sg.top(q)
	left.mul(Set, sg, w.st, square)
	dotRows(w.fromState[:q], sg.Slice(0, q, 0, b.n), sh.c.Slice(0, q, 0, b.n))
	for i := range q {
		w.fromState[i] *= w.into[i]
	}
	if mode == Set {
		scaleRows(dc, sg, w.into)
	} else {
		addRows(dc, sg, w.into)
	}
}

// toAfter adds what reaches the state after the chunk.
func (b *ssdBackward[T]) toAfter(w *ssdHeadBack[T], x, dx Mat[T], sh *ssdSharedBack[T], mode Mode, db Mat[T], slot, h int) {
	lambda, lb := b.slot(slot+1, h), w.lb.top(x.Rows)
	sh.left.mul(Set, lb, lambda, square)
	dotRows(w.toLast[:x.Rows], x.Slice(0, x.Rows, 0, b.p), lb.Slice(0, x.Rows, 0, b.p))
	addRows(dx, lb, w.out)
	turnRows(w.lt, lambda.Slice(0, b.n, 0, b.p))
	scaleRows(lb, x, w.out)
	left := newFactor(lb.Slice(0, x.Rows, 0, b.p), false, square, w.roomG)
	left.mul(mode, db, w.lt, square)
}

// maskGrad writes m as mask does, adds e_ij·k_ij·Δ_j to w, and computes r_j = Σ_i v_ij and the part of da_i within the chunk.
func (d *ssdDecays[T]) maskGrad(m, gram, w, k Mat[T], r, da []T, skip T) {
	clear(r)
	if is32[T]() && hasSSD() {
		m, g, w, k := f32Mat(m), f32Mat(gram), f32Mat(w), f32Mat(k)
		ssdDecayGrad(d.q, &m.Data[0], &g.Data[0], &w.Data[0], &k.Data[0], m.Stride, &f32s(d.hi)[0], &f32s(d.lo)[0], &f32s(d.delta)[0], &f32s(d.right)[0], &f32s(r)[0], &f32s(da)[0])
	} else {
		d.maskGradRef(m, gram, w, k, r, da)
	}
	for i := range d.q {
		m.Data[i*m.Stride+i] += skip
	}
}

// deliver adds the gradients of a head's inputs, and its sums; last is e^{s_q}·⟨Λ, S⟩.
func (b *ssdBackward[T]) deliver(w *ssdHeadBack[T], c ssdChunk, dx Mat[T], sums *ssdSums, last T, h int) {
	if !b.g.X.Absent() {
		deliverRows(b.channels(b.g.X, c, h), dx, b.g.Fresh.X)
	}
	q := w.q
	da, dDelta := w.da[:q], w.r[:q]
	if c.start != fromZeros { // each row is reached from the state before
		sum := last
		for i := q - 1; i >= 0; i-- {
			sum += w.fromState[i]
			da[i] += sum
		}
	}
	if c.feeds { // each row reaches the state after
		var sum T
		for i, v := range w.toLast[:q] {
			da[i] += sum
			sum += w.out[i] * v
			dDelta[i] += w.fade[i] * v
		}
	}
	a, slopes := -exp(b.ALog[h]), b.slopes(w)
	for i, v := range da {
		sums.a += float64(w.delta[i] * v)
		dDelta[i] = (a*v + dDelta[i]) * slopes[i]
		sums.bias += float64(dDelta[i])
	}
	if b.g.DT.Absent() {
		return
	}
	for i, v := range dDelta {
		if at := &b.g.DT.Data[(c.lo+i)*b.g.DT.Stride+h]; b.g.Fresh.DT {
			*at = v
		} else {
			*at += v
		}
	}
}

// slopes returns the derivative of Δ by raw for the rows of w: see slope.
func (b *ssdBackward[T]) slopes(w *ssdHeadBack[T]) []T {
	d := w.lo // no longer wanted
	activateSlice(Sigmoid, d, w.raw)
	for i, raw := range w.raw[:w.q] {
		if raw > 20 {
			d[i] = 1
		}
		if delta := w.delta[i]; delta != w.soft[i] {
			d[i] = 0
		}
	}
	return d
}

// deliverRows adds x to y, (rows, cols), or overwrites y.
func deliverRows[T Float](y, x Mat[T], fresh bool) {
	if fresh {
		for i := range y.Rows {
			copy(y.Row(i), x.Row(i))
		}
		return
	}
	for i := range y.Rows {
		add(y.Row(i), x.Row(i)[:y.Cols])
	}
}

// deliverB delivers dB of group g in chunk c, from the parts of its blocks of heads in ascending order.
func (b *ssdBackward[T]) deliverB(sh *ssdSharedBack[T], c ssdChunk, g int) {
	if !b.g.B.Absent() {
		b.deliverGroup(b.group(b.g.B, c, g), b.g.Fresh.B, sh, c.feeds, upper, sh.c, func(p *ssdPart[T]) Mat[T] { return p.db })
	}
}

// deliverC is deliverB for dC.
func (b *ssdBackward[T]) deliverC(sh *ssdSharedBack[T], c ssdChunk, g int) {
	if !b.g.C.Absent() {
		b.deliverGroup(b.group(b.g.C, c, g), b.g.Fresh.C, sh, c.start != fromZeros, lower, sh.b, func(p *ssdPart[T]) Mat[T] { return p.dc })
	}
}

// deliverGroup delivers Σ w·other, or Σ wᵀ·other for upper, and what passes through the states if it does.
func (b *ssdBackward[T]) deliverGroup(to Mat[T], fresh bool, sh *ssdSharedBack[T], passes bool, shape triangle, other Mat[T], through func(*ssdPart[T]) Mat[T]) {
	q := to.Rows
	scratch := newArena[T](b.q*b.ld + factorRoom(b.q, b.q) + b.q*b.np)
	defer scratch.release()
	w, room, sum := scratch.matrix(q, b.qp, b.ld), scratch.take(factorRoom(b.q, b.q)), scratch.matrix(q, b.np, b.np)
	clearLower(w)
	mode := Set
	for i := range sh.parts {
		p := &sh.parts[i]
		addLower(w, p.w.top(q))
		switch {
		case passes && i == 0:
			copyRows(sum, through(p).top(q))
			mode = Add
		case passes:
			add(sum.Data, through(p).top(q).Data)
		}
	}
	f := newFactor(w.Slice(0, q, 0, q), shape == upper, shape, room)
	f.mul(mode, sum, other, shape)
	deliverRows(to, sum, fresh)
}

// finish delivers what was summed over all rows.
func (b *ssdBackward[T]) finish() {
	for h, t := range b.total {
		addAt(b.g.DTBias, h, T(t.bias))
		addAt(b.g.ALog, h, -exp(b.ALog[h])*T(t.a))
		addAt(b.g.D, h, T(t.d))
	}
}
