package kernel

// The backward pass of SSD in chunks. With γ the gradient of y, Λ the gradient of the state after a chunk, S the state
// before it, e_ij = e^{s_i−s_j}, and G_ij = C_i·B_j,
//
//	k_ij = γ_i·x_j    v_ij = G_ij·e_ij·k_ij                                  j ≤ i
//	dx_j = Δ_j·(Σ_{i≥j} G_ij·e_ij·γ_i + e^{s_q−s_j}·Λ·B_j) + D·γ_j    dD = Σ_i k_ii
//	dC_i = Σ_heads [Σ_{j≤i} e_ij·k_ij·Δ_j·B_j + e^{s_i}·Sᵀ·γ_i]
//	dB_j = Σ_heads [Σ_{i≥j} e_ij·k_ij·Δ_j·C_i + e^{s_q−s_j}·Δ_j·Λᵀ·x_j]
//	dS   = e^{s_q}·Λ + Σ_i e^{s_i}·γ_i·C_iᵀ                                  which is the Λ of the chunk before
//
// The exponents are sums of a_k = Δ_k·A. A sum includes a_k if its path crosses row k: from a row before k, or from S,
// to row k, a row after it, or Λ. So
//
//	da_k = Σ_{j<k≤i} v_ij·Δ_j + Σ_{i≥k} e^{s_i}·γ_i·S·C_i + Σ_{j<k} e^{s_q−s_j}·Δ_j·x_j·Λ·B_j + e^{s_q}·⟨Λ, S⟩
//	dΔ_k = A·da_k + Σ_{i≥k} v_ik + e^{s_q−s_k}·x_k·Λ·B_k    dA_log = A·Σ_k Δ_k·da_k
//
// where no terms cancel. backwardRef shows how ddt and ddt_bias follow from dΔ.

// ssdHeads is the number of heads of a group that share one partial sum of dB and dC. It is fixed so that the order of
// summation is.
const ssdHeads = 4

// ssdBackward is the backward pass in chunks, from the last window to the first. In lambda, slot i is the gradient of
// the state before the window's chunk i, and slot i+1 that of the state after it, each (h, n, p).
type ssdBackward[T Float] struct {
	ssdChunks[T]
	g            SSDGrad[T]
	dy           Mat[T]
	saved, dhOut []T
	blocks       int // of heads, in each group
	shared       []ssdSharedGrad[T]
	lambda       []T
	sums         []ssdSums // for each chunk of the window and each head
	total        []ssdSums // for each head
}

// ssdSums are a head's sums over rows.
type ssdSums struct{ a, d, bias float64 }

// ssdSharedGrad contains what the heads of a group share in a chunk, in the backward pass.
type ssdSharedGrad[T Float] struct {
	gram             Mat[T]
	b, c             Mat[T]    // (q, n)
	left, transposed factor[T] // B (q, n), and Cᵀ (n, q)
	room, room2      []T
	parts            []ssdPart[T] // for each block of heads
}

// ssdPart is a block of heads' contribution to a group's gradients in a chunk: Σ e_ij·k_ij·Δ_j (q, q), and the terms of
// dB and dC that come from Λ and S.
type ssdPart[T Float] struct {
	w      Mat[T]
	db, dc Mat[T] // (q, n)
}

func (b *ssdBackward[T]) run() {
	window, states := min(ssdWindow, len(b.list)), b.heads*b.n*b.pp
	each := b.heads / b.Groups
	b.blocks = (each + ssdHeads - 1) / ssdHeads
	b.shared = make([]ssdSharedGrad[T], window*b.Groups)
	matrix, room := b.q*b.np, factorRoom(b.q, b.n)
	size := len(b.shared) * (b.q*b.ld + 2*matrix + 2*room + b.blocks*(2*matrix+b.q*b.ld))
	scratch := newArena[T](size + (window+1)*states)
	defer scratch.release()
	for i := range b.shared {
		b.shared[i] = ssdSharedGrad[T]{
			gram: scratch.matrix(b.q, b.qp, b.ld), b: scratch.matrix(b.q, b.np, b.np), c: scratch.matrix(b.q, b.np, b.np),
			room: scratch.take(room), room2: scratch.take(room), parts: make([]ssdPart[T], b.blocks),
		}
		for k := range b.shared[i].parts {
			b.shared[i].parts[k] = ssdPart[T]{scratch.matrix(b.q, b.qp, b.ld), scratch.matrix(b.q, b.np, b.np), scratch.matrix(b.q, b.np, b.np)}
		}
	}
	b.lambda = scratch.take((window + 1) * states)
	b.sums, b.total = make([]ssdSums, window*b.heads), make([]ssdSums, b.heads)
	for to := len(b.list); to > 0; to = (to - 1) / window * window {
		b.window((to-1)/window*window, to)
	}
	for h, t := range b.total {
		addAt(b.g.DTBias, h, T(t.bias))
		addAt(b.g.ALog, h, -exp(b.ALog[h])*T(t.a))
		addAt(b.g.D, h, T(t.d))
	}
}

// window computes chunks [from, to): first what heads share, then the gradients of the states along the chains of
// chunks, and then all other gradients, chunk by chunk.
func (b *ssdBackward[T]) window(from, to int) {
	n := to - from
	b.enter(from, to)
	runTasks(n*b.Groups, func(i int) { b.share(&b.shared[i], b.list[from+i/b.Groups], i%b.Groups) })
	b.forChains(from, to, func(c0, c1, h0, h1 int) {
		for h := h0; h < h1; h++ {
			b.chain(c0, c1, from, h)
		}
	})
	runTasks(n*b.Groups*b.blocks, func(i int) { b.block(from+i/(b.Groups*b.blocks), from, i%(b.Groups*b.blocks)) })
	runTasks(2*n*b.Groups, func(i int) {
		sh, c, g := &b.shared[i/2], b.list[from+i/2/b.Groups], i/2%b.Groups
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
func (b *ssdBackward[T]) slot(i, h int) Mat[T] { return b.transposedState(b.lambda, i*b.heads+h) }

// enter sets the gradient of the state after chunk to−1.
func (b *ssdBackward[T]) enter(from, to int) {
	switch last := b.list[to-1]; {
	case last.hi == b.rows && b.dhOut != nil:
		For(b.heads, 1, func(h, _ int) { transposeRows(b.slot(to-from, h).left(b.p), b.state(b.dhOut, h)) })
	case last.feeds: // it is in the first slot of the previously computed window
		size := b.heads * b.n * b.pp
		copy(b.lambda[(to-from)*size:][:size], b.lambda[:size])
	}
}

// share computes what the heads of group g share in chunk c.
func (b *ssdBackward[T]) share(sh *ssdSharedGrad[T], c ssdChunk, g int) {
	q, bm, cm := c.hi-c.lo, b.group(b.B, c, g), b.group(b.C, c, g)
	copyRows(sh.b, bm)
	copyRows(sh.c, cm)
	left := newFactor(cm, square, sh.room)
	b.gram(sh.gram, &left, bm)
	if c.feeds {
		sh.left = newFactor(sh.b.top(q).left(b.n), square, sh.room)
	}
	if b.wantsState(c) {
		sh.transposed = newTransposedFactor(sh.c.top(q).left(b.n), square, sh.room2)
	}
}

// wantsState reports whether the gradient of the state before c is needed.
func (b *ssdBackward[T]) wantsState(c ssdChunk) bool {
	return c.start == fromChunk || c.start == fromH0 && b.g.H0 != nil
}

// chain computes the gradients of head h's states before chunks [from, to), a chain. The window begins with chunk
// base.
func (b *ssdBackward[T]) chain(from, to, base, h int) {
	scratch := newArena[T](decayArrays*b.qp + b.q*b.pp + wholeVectors(b.n))
	defer scratch.release()
	d, gy, weights := b.newDecays(scratch), scratch.matrix(b.q, b.pp, b.pp), scratch.take(b.n)
	for i := to - 1; i >= from; i-- {
		c := b.list[i]
		if !b.wantsState(c) {
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
		b.shared[(i-base)*b.Groups+b.groupOf(h)].transposed.mul(mode, before, gy, square)
	}
	if c := b.list[from]; c.start == fromH0 && b.g.H0 != nil {
		addTransposed(b.state(b.g.H0, h), b.slot(from-base, h))
	}
}

// addTransposed adds the transpose of x to y.
func addTransposed[T Float](y, x Mat[T]) {
	for i := range y.Rows {
		row := y.Row(i)
		for j := range row {
			row[j] += x.Data[j*x.Stride+i]
		}
	}
}

// ssdHeadGrad is the scratch memory of a block of heads in the backward pass of a chunk, together with its current
// head.
type ssdHeadGrad[T Float] struct {
	*ssdDecays[T]
	x, gy, dx, lb   Mat[T] // (q, p): x, γ, dx, and Λ·B_j
	xt              Mat[T] // (p, q): xᵀ
	k, m            Mat[T] // (q, q): k_ij, and the mask
	sg              Mat[T] // (q, n): Sᵀ·γ_i
	st, lt          Mat[T] // (p, n): S and Λ
	roomG, roomM    []T
	r, da           []T // Σ_i v_ij, and the part of da within the chunk
	fromS, toLambda []T // e^{s_i}·γ_i·S·C_i, and x_j·Λ·B_j
	dots            []T // (p)

	c    ssdChunk
	slot int // of lambda, before the chunk
	head int
	mode Mode // of part's db and dc
	sh   *ssdSharedGrad[T]
	part *ssdPart[T]
	next []Mat[T] // what the next head reads and this one writes
}

func (b *ssdBackward[T]) newHead() (*ssdHeadGrad[T], *arena[T]) {
	rooms := factorRoom(b.q, b.p) + factorRoom(b.q, b.q)
	scratch := newArena[T]((decayArrays+4)*b.qp + 4*b.q*b.pp + b.p*b.qp + 2*b.q*b.ld + b.q*b.np + 2*b.p*b.np + rooms + b.pp)
	w := &ssdHeadGrad[T]{ssdDecays: b.newDecays(scratch)}
	for _, m := range []*Mat[T]{&w.x, &w.gy, &w.dx, &w.lb} {
		*m = scratch.matrix(b.q, b.pp, b.pp)
	}
	w.xt = scratch.matrix(b.p, b.qp, b.qp)
	for _, m := range []*Mat[T]{&w.k, &w.m} {
		*m = scratch.matrix(b.q, b.qp, b.ld)
	}
	w.sg, w.st, w.lt = scratch.matrix(b.q, b.np, b.np), scratch.matrix(b.p, b.np, b.np), scratch.matrix(b.p, b.np, b.np)
	w.roomG, w.roomM = scratch.take(factorRoom(b.q, b.p)), scratch.take(factorRoom(b.q, b.q))
	for _, p := range []*[]T{&w.r, &w.da, &w.fromS, &w.toLambda} {
		*p = scratch.take(b.qp)
	}
	w.dots = scratch.take(b.p)
	return w, scratch
}

// block computes a block of heads of one group in chunk i. The window begins with chunk base.
func (b *ssdBackward[T]) block(i, base, block int) {
	w, scratch := b.newHead()
	defer scratch.release()
	group, each := block/b.blocks, b.heads/b.Groups
	w.c, w.slot, w.mode = b.list[i], i-base, Set
	w.sh = &b.shared[w.slot*b.Groups+group]
	w.part = &w.sh.parts[block%b.blocks]
	clearLower(w.part.w.top(w.c.hi - w.c.lo))
	first := group*each + block%b.blocks*ssdHeads
	end := min((group+1)*each, first+ssdHeads)
	for w.head = first; w.head < end; w.head++ {
		w.next = w.next[:0]
		if next := w.head + 1; next < end {
			w.next = append(w.next, b.channels(b.X, w.c, next), b.channels(b.dy, w.c, next))
		}
		if !b.g.X.Absent() {
			w.next = append(w.next, b.channels(b.g.X, w.c, w.head))
		}
		b.headGrad(w)
		w.mode = Add
	}
}

// headGrad computes one head.
func (b *ssdBackward[T]) headGrad(w *ssdHeadGrad[T]) {
	c, q := w.c, w.c.hi-w.c.lo
	b.decays(w.ssdDecays, c, w.head)
	x, gy, dx, k, m := w.x.top(q), w.gy.top(q), w.dx.top(q), w.k.top(q), w.m.top(q)
	copyRows(x, b.channels(b.X, c, w.head))
	copyRows(gy, b.channels(b.dy, c, w.head))
	left := newFactor(gy.left(b.p), square, w.roomG)
	xt := w.xt.left(wholeVectors(q))
	transposeRows(xt, x.left(b.p))
	left.mul(Set, k, xt, lowerOut)
	sums := &b.sums[w.slot*b.heads+w.head]
	*sums = ssdSums{}
	for i := range q {
		sums.d += float64(k.Data[i*k.Stride+i])
	}
	w.maskGrad(maskGrads[T]{m, w.sh.gram, w.part.w, k, w.r, w.da}, b.skip(w.head))
	within := newTransposedFactor(m.left(q), upper, w.roomM)
	within.mul(Set, dx, gy, upper, w.next...)
	if c.start != fromZeros {
		b.throughBefore(w, &left)
	}
	if c.feeds {
		b.throughAfter(w)
	}
	b.deliver(w, sums)
}

// throughBefore adds the terms that contain S.
func (b *ssdBackward[T]) throughBefore(w *ssdHeadGrad[T], left *factor[T]) {
	q, states := w.c.hi-w.c.lo, b.H0
	if w.c.start == fromChunk {
		states = b.saved[w.c.saved*b.heads*b.p*b.n:]
	}
	copyRows(w.st, b.state(states, w.head))
	sg, dc := w.sg.top(q), w.part.dc.top(q)
	left.mul(Set, sg, w.st, square)
	dotRows(w.fromS[:q], sg.left(b.n), w.sh.c.top(q).left(b.n))
	for i := range q {
		w.fromS[i] *= w.into[i]
	}
	if w.mode == Set {
		scaleRows(dc, sg, w.into)
	} else {
		addRows(dc, sg, w.into)
	}
}

// throughAfter adds the terms that contain Λ but not S.
func (b *ssdBackward[T]) throughAfter(w *ssdHeadGrad[T]) {
	q, lambda := w.c.hi-w.c.lo, b.slot(w.slot+1, w.head)
	x, lb := w.x.top(q), w.lb.top(q)
	w.sh.left.mul(Set, lb, lambda, square)
	dotRows(w.toLambda[:q], x.left(b.p), lb.left(b.p))
	addRows(w.dx.top(q), lb, w.out)
	transposeRows(w.lt, lambda.left(b.p))
	scaleRows(lb, x, w.out)
	left := newFactor(lb.left(b.p), square, w.roomG)
	left.mul(w.mode, w.part.db.top(q), w.lt, square)
}

// across returns e^{s_q}·⟨Λ, S⟩.
func (b *ssdBackward[T]) across(w *ssdHeadGrad[T]) (sum T) {
	if w.c.start == fromZeros || !w.c.feeds {
		return 0
	}
	dotRows(w.dots, w.lt.left(b.n), w.st.left(b.n))
	for _, v := range w.dots {
		sum += v
	}
	return sum * w.all
}

// deliver adds a head's dx and ddt to their destinations and computes its sums.
func (b *ssdBackward[T]) deliver(w *ssdHeadGrad[T], sums *ssdSums) {
	c, q := w.c, w.q
	if !b.g.X.Absent() {
		deliverRows(b.channels(b.g.X, c, w.head), w.dx.top(q), b.g.Fresh.X)
	}
	da, dDelta := w.da[:q], w.r[:q]
	if c.start != fromZeros {
		sum := b.across(w)
		for i := q - 1; i >= 0; i-- {
			sum += w.fromS[i]
			da[i] += sum
		}
	}
	if c.feeds {
		var sum T
		for i, v := range w.toLambda[:q] {
			da[i] += sum
			sum += w.out[i] * v
			dDelta[i] += w.fade[i] * v
		}
	}
	a, slopes := -exp(b.ALog[w.head]), w.slopes()
	for i, v := range da {
		sums.a += float64(w.delta[i] * v)
		dDelta[i] = (a*v + dDelta[i]) * slopes[i]
		sums.bias += float64(dDelta[i])
	}
	if b.g.DT.Absent() {
		return
	}
	for i, v := range dDelta {
		if at := &b.g.DT.Data[(c.lo+i)*b.g.DT.Stride+w.head]; b.g.Fresh.DT {
			*at = v
		} else {
			*at += v
		}
	}
}

// slopes returns the derivatives of Δ with respect to raw, as slope does. It overwrites lo.
func (d *ssdDecays[T]) slopes() []T {
	s := d.lo
	activateSlice(Sigmoid, s, d.raw)
	for i, raw := range d.raw[:d.q] {
		if raw > 20 {
			s[i] = 1
		}
		if d.delta[i] != d.soft[i] {
			s[i] = 0
		}
	}
	return s
}

// deliverB adds dB of group g in chunk c to its destination.
func (b *ssdBackward[T]) deliverB(sh *ssdSharedGrad[T], c ssdChunk, g int) {
	if b.g.B.Absent() {
		return
	}
	sum := groupSum[T]{parts: sh.parts, shape: upper, right: sh.c}
	if c.feeds {
		sum.through = func(p *ssdPart[T]) Mat[T] { return p.db }
	}
	sum.deliver(b.group(b.g.B, c, g), b.g.Fresh.B)
}

// deliverC adds dC of group g in chunk c to its destination.
func (b *ssdBackward[T]) deliverC(sh *ssdSharedGrad[T], c ssdChunk, g int) {
	if b.g.C.Absent() {
		return
	}
	sum := groupSum[T]{parts: sh.parts, shape: lower, right: sh.b}
	if c.start != fromZeros {
		sum.through = func(p *ssdPart[T]) Mat[T] { return p.dc }
	}
	sum.deliver(b.group(b.g.C, c, g), b.g.Fresh.C)
}

// groupSum is Σ w·right over parts if shape is lower, or Σ wᵀ·right if it is upper, plus the sum of what through
// selects.
type groupSum[T Float] struct {
	parts   []ssdPart[T]
	shape   triangle
	right   Mat[T]
	through func(*ssdPart[T]) Mat[T] // may be nil
}

// deliver computes the sum in the order of the parts.
func (s *groupSum[T]) deliver(to Mat[T], fresh bool) {
	q, first := to.Rows, s.parts[0].w
	scratch := newArena[T](q*first.Stride + factorRoom(q, q) + q*s.right.Stride)
	defer scratch.release()
	w, room, sum := scratch.matrix(q, q, first.Stride), scratch.take(factorRoom(q, q)), scratch.matrix(q, s.right.Cols, s.right.Stride)
	clearLower(w)
	mode := Set
	for i := range s.parts {
		p := &s.parts[i]
		addLower(w, p.w.top(q))
		if s.through == nil {
			continue
		}
		if i == 0 {
			copyRows(sum, s.through(p).top(q))
			mode = Add
		} else {
			add(sum.Data, s.through(p).top(q).Data)
		}
	}
	var f factor[T]
	if s.shape == upper {
		f = newTransposedFactor(w, s.shape, room)
	} else {
		f = newFactor(w, s.shape, room)
	}
	f.mul(mode, sum, s.right, s.shape)
	deliverRows(to, sum, fresh)
}

// lowerEnd returns the end of the columns needed in row i of a triangular factor: the vector on the diagonal and the
// next one.
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

// deliverRows copies the first columns of x to y if y is fresh, and adds them otherwise.
func deliverRows[T Float](y, x Mat[T], fresh bool) {
	for i := range y.Rows {
		if fresh {
			copy(y.Row(i), x.Row(i))
		} else {
			add(y.Row(i), x.Row(i)[:y.Cols])
		}
	}
}
