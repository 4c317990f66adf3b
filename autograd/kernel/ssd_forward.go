package kernel

// ssdForward is the forward pass in chunks.
type ssdForward[T Float] struct {
	ssdChunks[T]
	y                 Mat[T]
	saved, hOut       []T
	shared            []ssdShared[T] // for each chunk of the window and each group
	carryIn, carryOut []T            // states (h, n, p) that pass from window to window
}

// ssdShared contains what the heads of a group share in a chunk, in the forward pass.
type ssdShared[T Float] struct {
	gram         Mat[T]    // C_i·B_j, on and below the diagonal
	c, b         factor[T] // C (q, n), and Bᵀ (n, q) if the chunk feeds
	roomC, roomB []T
}

// run computes one window after another: first what heads share, then the heads, along the chains of chunks.
func (f *ssdForward[T]) run() {
	window, states := min(ssdWindow, len(f.list)), f.heads*f.n*f.pp
	f.shared = make([]ssdShared[T], window*f.Groups)
	scratch := newArena[T](len(f.shared)*(f.q*f.ld+2*factorRoom(f.q, f.n)) + 2*states)
	defer scratch.release()
	for i := range f.shared {
		f.shared[i] = ssdShared[T]{gram: scratch.matrix(f.q, f.qp, f.ld), roomC: scratch.take(factorRoom(f.q, f.n)), roomB: scratch.take(factorRoom(f.q, f.n))}
	}
	f.carryIn, f.carryOut = scratch.take(states), scratch.take(states)
	if f.list[0].start == fromH0 {
		For(f.heads, 1, func(h, _ int) { transposeRows(f.transposedState(f.carryIn, h), f.state(f.H0, h)) })
	}
	for from := 0; from < len(f.list); from += window {
		to := min(len(f.list), from+window)
		runTasks((to-from)*f.Groups, func(i int) { f.share(&f.shared[i], f.list[from+i/f.Groups], i%f.Groups) })
		f.forChains(from, to, func(c0, c1, h0, h1 int) { f.chain(f.list[c0:c1], f.shared[(c0-from)*f.Groups:], h0, h1) })
		f.carryIn, f.carryOut = f.carryOut, f.carryIn
	}
}

// share computes what the heads of group g share in chunk c.
func (f *ssdForward[T]) share(sh *ssdShared[T], c ssdChunk, g int) {
	b := f.group(f.B, c, g)
	sh.c = newFactor(f.group(f.C, c, g), square, sh.roomC)
	f.gram(sh.gram, &sh.c, b)
	if c.feeds {
		sh.b = newTransposedFactor(b, square, sh.roomB)
	}
}

// ssdHead is the scratch memory of a head in the forward pass.
type ssdHead[T Float] struct {
	*ssdDecays[T]
	x, fed, y Mat[T] // (q, p); fed is x multiplied by the decay to the state after the chunk
	m         Mat[T] // (q, q)
	room      []T
	state     Mat[T]   // (n, p)
	next      []Mat[T] // what the next head reads and writes
}

func (f *ssdForward[T]) newHead(scratch *arena[T]) *ssdHead[T] {
	w := &ssdHead[T]{ssdDecays: f.newDecays(scratch)}
	for _, m := range []*Mat[T]{&w.x, &w.fed, &w.y} {
		*m = scratch.matrix(f.q, f.pp, f.pp)
	}
	w.m, w.room = scratch.matrix(f.q, f.qp, f.ld), scratch.take(factorRoom(f.q, f.q))
	return w
}

// chain computes heads [h0, h1) of a chain of chunks. shared starts with what the first chunk's heads share.
func (f *ssdForward[T]) chain(chunks []ssdChunk, shared []ssdShared[T], h0, h1 int) {
	scratch := newArena[T](decayArrays*f.qp + 3*f.q*f.pp + f.q*f.ld + factorRoom(f.q, f.q) + (h1-h0)*f.n*f.pp)
	defer scratch.release()
	w := f.newHead(scratch)
	states := make([]Mat[T], h1-h0)
	for i := range states {
		states[i] = scratch.matrix(f.n, f.pp, f.pp)
		if chunks[0].start != fromZeros {
			copyRows(states[i], f.transposedState(f.carryIn, h0+i))
		}
	}
	for i, c := range chunks {
		for h := h0; h < h1; h++ {
			w.state, w.next = states[h-h0], w.next[:0]
			switch {
			case h+1 < h1:
				w.next = append(w.next, f.channels(f.X, c, h+1), f.channels(f.y, c, h+1))
			case i+1 < len(chunks):
				w.next = append(w.next, f.channels(f.X, chunks[i+1], h0), f.channels(f.y, chunks[i+1], h0))
			}
			f.chunk(w, c, &shared[i*f.Groups+f.groupOf(h)], h)
		}
	}
	for i, state := range states {
		f.leave(state, chunks[len(chunks)-1], h0+i)
	}
}

// chunk computes head h of chunk c.
func (f *ssdForward[T]) chunk(w *ssdHead[T], c ssdChunk, sh *ssdShared[T], h int) {
	q, mode := c.hi-c.lo, Set
	f.decays(w.ssdDecays, c, h)
	x, fed, y, m := w.x.top(q), w.fed.top(q), w.y.top(q), w.m.top(q)
	copyRows(x, f.channels(f.X, c, h))
	if c.start != fromZeros {
		if c.start == fromChunk && f.saved != nil {
			transposeRows(f.state(f.saved[c.saved*f.heads*f.p*f.n:], h), w.state.left(f.p))
		}
		sh.c.mul(Set, y, w.state, square)
		scaleRows(y, y, w.into)
		mode = Add
	}
	w.mask(m, sh.gram, f.skip(h))
	within := newFactor(m.left(q), lower, w.room)
	within.mul(mode, y, x, lower, w.next...)
	copyRows(f.channels(f.y, c, h), y)
	if !c.feeds {
		return
	}
	scaleRows(fed, x, w.out)
	if mode == Add {
		scaleShift(w.state.Data, w.all, 0)
	}
	sh.b.mul(mode, w.state, fed, square)
}

// leave stores the state of head h after chunk c, the last of its chain.
func (f *ssdForward[T]) leave(state Mat[T], c ssdChunk, h int) {
	switch {
	case c.hi == f.rows && f.hOut != nil:
		transposeRows(f.state(f.hOut, h), state.left(f.p))
	case c.feeds:
		copyRows(f.transposedState(f.carryOut, h), state)
	}
}
