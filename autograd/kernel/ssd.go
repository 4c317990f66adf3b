package kernel

import (
	"fmt"
	"math"
)

// SSD is the state space duality of Mamba-2, over documents laid end to end: a recurrence with one decay for a whole head,
//
//	Δ(t) = clamp(softplus(dt(t) + dt_bias), Limit),  A = −exp(A_log)
//	S(t) = exp(Δ(t)·A)·S(t−1) + Δ(t)·x(t)·B(t)ᵀ
//	y(t) = S(t)·C(t) + D·x(t)
//
// Dao & Gu 2024. With h heads of p channels and g groups of n states, X is (rows, h·p), B and C are (rows, g·n), and each
// group serves h/g neighbouring heads; DT is (rows, h); DTBias, ALog and D are (h), and a nil D is no skip. The states are
// (h, p, n).
//
// The state starts from zeros where First[t] == t. A negative First[t] continues a document of the batch before: it starts
// from H0 (h, p, n), nil for zeros. A nil First means one document that starts at row 0.
//
// The fast form cuts documents into chunks. With a_k = Δ_k·A, s_i = Σ_{k≤i} a_k within the chunk, and S the state before it,
//
//	y_i = Σ_{j≤i} (C_i·B_j)·e^{s_i−s_j}·Δ_j·x_j + e^{s_i}·S·C_i + D·x_i
//	S'  = e^{s_q}·S + Σ_j e^{s_q−s_j}·Δ_j·x_j·B_jᵀ
//
// are products of small matrices, and the C_i·B_j are the same for all heads of a group. No exponent is positive.
type SSD[T Float] struct {
	X, B, C, DT     Mat[T]
	DTBias, ALog, D []T
	Groups          int
	Limit           [2]float64 // of Δ: 0 and +Inf do not limit it
	First           []int
	H0              []T
	// Chunk is the most rows of a chunk. 0 means SSDChunk, and in float64 the recurrence row by row.
	Chunk int
}

// SSDGrad names where SSD.Backward adds each gradient; zero and nil are not wanted.
type SSDGrad[T Float] struct {
	X, B, C, DT         Mat[T]
	DTBias, ALog, D, H0 []T
	// Fresh says which matrices hold nothing yet: they are overwritten.
	Fresh struct{ X, B, C, DT bool }
}

// clearFresh sets to zero what holds nothing yet.
func (g *SSDGrad[T]) clearFresh() {
	for m, fresh := range map[*Mat[T]]bool{&g.X: g.Fresh.X, &g.B: g.Fresh.B, &g.C: g.Fresh.C, &g.DT: g.Fresh.DT} {
		if fresh {
			ClearMat(*m)
		}
	}
}

// SSDChunk is the usual most rows of a chunk: longer ones have more decays and products within a chunk, shorter ones have
// more states to compute and to keep.
const SSDChunk = 128

// ssdSegment is how many chunks are worked on at a time: what they share stays small, however long the batch is.
const ssdSegment = 8

// ssdSizes are the sizes of an SSD.
type ssdSizes struct{ rows, heads, p, n int }

func (s *SSD[T]) sizes() ssdSizes {
	return ssdSizes{s.X.Rows, s.DT.Cols, s.X.Cols / s.DT.Cols, s.B.Cols / s.Groups}
}

func (s *SSD[T]) check() {
	z := s.sizes()
	if z.heads%s.Groups != 0 {
		panic(fmt.Sprintf("kernel: ssd: %d heads in %d groups", z.heads, s.Groups))
	}
	s.X.check("ssd x", z.rows, z.heads*z.p)
	s.DT.check("ssd dt", z.rows, z.heads)
	s.B.check("ssd B", z.rows, s.Groups*z.n)
	s.C.check("ssd C", z.rows, s.Groups*z.n)
}

// SSDSaved returns how many elements Forward wants in saved for states of the given size, h·p·n: one state for each chunk
// but the first of its document. chunk is SSD.Chunk.
func SSDSaved(rows, state, chunk int) int {
	if chunk == 0 {
		chunk = SSDChunk
	}
	return (rows - 1) / chunk * state
}

// Forward writes y (rows, h·p). saved (SSDSaved elements, nil in inference) keeps what Backward needs; hOut (h, p, n), if not
// nil, receives the state after the last row, and may be H0.
func (s *SSD[T]) Forward(y Mat[T], saved, hOut []T) {
	z := s.sizes()
	s.check()
	y.check("ssd y", z.rows, z.heads*z.p)
	if s.plain() {
		For(z.heads, 1, func(lo, hi int) {
			for h := lo; h < hi; h++ {
				s.forwardRef(y, hOut, h)
			}
		})
		return
	}
	f := ssdForward[T]{ssdRun: s.newRun(hOut != nil), y: y, saved: saved, hOut: hOut}
	f.run()
}

// plain reports whether the recurrence row by row is wanted.
func (s *SSD[T]) plain() bool { return !is32[T]() && s.Chunk == 0 || s.X.Rows == 0 }

// ssdStart says where a chunk's state comes from.
type ssdStart uint8

const (
	fromZeros ssdStart = iota
	fromH0
	fromChunk // the one before
)

// ssdChunk is rows [lo, hi), all of one document.
type ssdChunk struct {
	lo, hi int
	start  ssdStart
	saved  int  // fromChunk: the place of the state before it among those saved
	feeds  bool // the state after it is wanted
}

// ssdRun is what forward and backward have in common.
type ssdRun[T Float] struct {
	*SSD[T]
	ssdSizes
	q          int // rows of the longest chunk
	qp, pp, np int // q, p and n in whole blocks of 16
	ld         int // distance of rows in matrices (q, q), which have a block to spare
	chunks     []ssdChunk
}

func blocksOf16(n int) int { return (n + vectorStep - 1) &^ (vectorStep - 1) }

// newRun cuts the rows into chunks; last says that the state after the last row is wanted.
func (s *SSD[T]) newRun(last bool) ssdRun[T] {
	r := ssdRun[T]{SSD: s, ssdSizes: s.sizes()}
	most, saved := s.Chunk, 0
	if most == 0 {
		most = SSDChunk
	}
	for lo := 0; lo < r.rows; {
		end := lo + 1
		for end < r.rows && firstRow(s.First, end) != end {
			end++
		}
		c := ssdChunk{start: fromZeros}
		if firstRow(s.First, lo) != lo && s.H0 != nil {
			c.start = fromH0
		}
		each := evenPart(end-lo, most, 1)
		for ; lo < end; lo = c.hi {
			c.lo, c.hi = lo, min(end, lo+each)
			c.feeds = c.hi < end || end == r.rows && last
			r.chunks = append(r.chunks, c)
			r.q = max(r.q, c.hi-c.lo)
			c.start, c.saved = fromChunk, saved
			if c.hi < end {
				saved++
			}
		}
	}
	r.qp, r.pp, r.np = blocksOf16(r.q), blocksOf16(r.p), blocksOf16(r.n)
	r.ld = r.qp + vectorStep
	return r
}

// forChains calls body in parallel for each chain of chunks [c0, c1) from from to to, and some neighbouring heads [h0, h1): what
// they read of a row lies side by side, and each can prefetch for the next. How many does not matter to the result.
func (r *ssdRun[T]) forChains(from, to int, body func(c0, c1, h0, h1 int)) {
	const most, tasksEach = 4, 4
	chains := r.chains(from, to)
	each := max(1, min(most, len(chains)*r.heads/(tasksEach*Threads())))
	parts := (r.heads + each - 1) / each
	runTasks(len(chains)*parts, func(i int) {
		c, h := chains[i/parts], i%parts*each
		body(c[0], c[1], h, min(r.heads, h+each))
	})
}

// chains cuts chunks [from, to) into runs that pass a state on, each of one document.
func (r *ssdRun[T]) chains(from, to int) [][2]int {
	var all [][2]int
	for i := from; i < to; i++ {
		if i == from || r.chunks[i].start != fromChunk {
			all = append(all, [2]int{i, i})
		}
		all[len(all)-1][1] = i + 1
	}
	return all
}

// channels views head h of a matrix of all heads' channels, in the rows of a chunk.
func (r *ssdRun[T]) channels(m Mat[T], c ssdChunk, h int) Mat[T] {
	return m.Slice(c.lo, c.hi, h*r.p, (h+1)*r.p)
}

// group views group g of B or C in the rows of a chunk.
func (r *ssdRun[T]) group(m Mat[T], c ssdChunk, g int) Mat[T] {
	return m.Slice(c.lo, c.hi, g*r.n, (g+1)*r.n)
}

// state views head h in an array of states, as (p, n).
func (r *ssdRun[T]) state(states []T, h int) Mat[T] {
	return Dense(states[h*r.p*r.n:][:r.p*r.n], r.p, r.n)
}

// arena is scratch memory that is handed out in pieces.
type arena[T Float] struct {
	free []T
	buf  *buffer
}

// newArena has room for n elements in pieces of whole cache lines; they have any content.
func newArena[T Float](n int) *arena[T] {
	if !is32[T]() {
		return &arena[T]{free: make([]T, n)}
	}
	buf := borrow(n)
	return &arena[T]{any(buf.data).([]T), buf}
}

func (a *arena[T]) release() {
	if a.buf != nil {
		giveBack(a.buf)
	}
}

// take returns n elements.
func (a *arena[T]) take(n int) []T {
	got := a.free[:n:n]
	a.free = a.free[min(len(a.free), blocksOf16(n)):]
	return got
}

// matrix returns a matrix with rows ld apart.
func (a *arena[T]) matrix(rows, cols, ld int) Mat[T] {
	return Mat[T]{a.take(rows * ld), rows, cols, ld}
}

// ssdDecays are the decays of one head within one chunk. Arrays are as long as the longest chunk, in whole blocks of 16.
type ssdDecays[T Float] struct {
	q      int
	raw    []T // dt + dt_bias
	soft   []T // its softplus
	delta  []T // within the limits
	s      []float64
	hi, lo []T // s·log₂e in two parts, so that differences of neighbours keep their precision where s is large
	into   []T // e^{s_i}: from the state before the chunk to row i
	fade   []T // e^{s_q−s_j}: from row j to the state after the chunk
	out    []T // Δ·fade
	all    T   // e^{s_q}
	right  []T // room
}

const decayArrays = 9

func (r *ssdRun[T]) newDecays(a *arena[T]) *ssdDecays[T] {
	d := &ssdDecays[T]{s: make([]float64, r.q)}
	for _, p := range []*[]T{&d.raw, &d.soft, &d.delta, &d.hi, &d.lo, &d.into, &d.fade, &d.out, &d.right} {
		*p = a.take(r.qp)
		clear(*p)
	}
	return d
}

// faintest is the least decay that is not taken for zero in float32: products with denormal numbers are slow on some
// processors.
const faintest = 1e-30

// decays computes those of head h in chunk c. into and all are for a chunk that starts from a state, fade and out for one that
// feeds.
func (r *ssdRun[T]) decays(d *ssdDecays[T], c ssdChunk, h int) {
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
	sum := d.sums(-float64(exp(r.ALog[h])))
	if c.start != fromZeros || c.feeds {
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
}

// sums computes s and its parts, and returns the last.
func (d *ssdDecays[T]) sums(a float64) (sum float64) {
	s, hi, lo := d.s[:d.q], d.hi[:d.q], d.lo[:d.q]
	for i, v := range d.delta[:d.q] {
		sum += float64(v) * a
		log2 := sum * math.Log2E
		high := T(log2)
		s[i], hi[i], lo[i] = sum, high, T(log2-float64(high))
	}
	return sum
}

// exponentials replaces the first n of x by their exponentials, and in float32 those that are too small for its full precision by
// zero. The others are room.
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

// mask writes m_ij = gram_ij·e^{s_i−s_j}·Δ_j for j ≤ i, and zeros to some columns beyond; D, if there is one, is added on the
// diagonal.
func (d *ssdDecays[T]) mask(m, gram Mat[T], skip T) {
	if is32[T]() && hasSSD() {
		m, g := f32Mat(m), f32Mat(gram)
		ssdDecay(d.q, &m.Data[0], &g.Data[0], m.Stride, &f32s(d.hi)[0], &f32s(d.lo)[0], &f32s(d.delta)[0], &f32s(d.right)[0])
	} else {
		d.maskRef(m, gram)
	}
	for i := range d.q {
		m.Data[i*m.Stride+i] += skip
	}
}

// ssdShared is what the heads of a group share in a chunk, in the forward pass.
type ssdShared[T Float] struct {
	gram         Mat[T]    // C_i·B_j, on and below the diagonal
	c, b         factor[T] // C (q, n), and Bᵀ (n, q) if the chunk feeds
	roomC, roomB []T
}

// ssdForward is a forward pass.
type ssdForward[T Float] struct {
	ssdRun[T]
	y                 Mat[T]
	saved, hOut       []T
	shared            []ssdShared[T] // for each chunk of the segment, and each group
	carryIn, carryOut []T            // states (n, p) that pass from segment to segment, head by head
}

// run works on segments of chunks: first on what groups share, then on the heads, each along the chains of chunks.
func (f *ssdForward[T]) run() {
	most := min(ssdSegment, len(f.chunks))
	f.shared = make([]ssdShared[T], most*f.Groups)
	scratch := newArena[T](len(f.shared)*(f.q*f.ld+2*factorRoom(f.q, f.n)) + 2*f.heads*f.n*f.pp)
	defer scratch.release()
	for i := range f.shared {
		f.shared[i] = ssdShared[T]{gram: scratch.matrix(f.q, f.qp, f.ld), roomC: scratch.take(factorRoom(f.q, f.n)), roomB: scratch.take(factorRoom(f.q, f.n))}
	}
	f.carryIn, f.carryOut = scratch.take(f.heads*f.n*f.pp), scratch.take(f.heads*f.n*f.pp)
	if f.chunks[0].start == fromH0 {
		For(f.heads, 1, func(h, _ int) { turnRows(f.carried(f.carryIn, h), f.state(f.H0, h)) })
	}
	for from := 0; from < len(f.chunks); from += most {
		to := min(len(f.chunks), from+most)
		runTasks((to-from)*f.Groups, func(i int) {
			f.share(&f.shared[i], f.chunks[from+i/f.Groups], i%f.Groups)
		})
		f.forChains(from, to, func(c0, c1, h0, h1 int) { f.chain(f.chunks[c0:c1], f.shared[(c0-from)*f.Groups:], h0, h1) })
		f.carryIn, f.carryOut = f.carryOut, f.carryIn
	}
}

// share computes what the heads of group g share in chunk c.
func (f *ssdForward[T]) share(sh *ssdShared[T], c ssdChunk, g int) {
	b := f.group(f.B, c, g)
	sh.c = newFactor(f.group(f.C, c, g), false, square, sh.roomC)
	f.gram(sh.gram, &sh.c, b)
	if c.feeds {
		sh.b = newFactor(b, true, square, sh.roomB)
	}
}

// gram computes C_i·B_j on and below the diagonal of m.
func (r *ssdRun[T]) gram(m Mat[T], c *factor[T], b Mat[T]) {
	scratch := newArena[T](r.n * r.qp)
	defer scratch.release()
	turned := scratch.matrix(r.n, blocksOf16(b.Rows), r.qp)
	turnRows(turned, b)
	c.mul(Set, m, turned, lowerOut)
}

// ssdHead is a head's room on its way forward through a chunk.
type ssdHead[T Float] struct {
	*ssdDecays[T]
	x, fed, y, m Mat[T]
	room         []T
	state        Mat[T]   // (n, p)
	next         []Mat[T] // what will be read and written next
}

// chain takes heads [h0, h1) through chunks, of which each but the first goes on from the one before; shared begins with theirs.
func (f *ssdForward[T]) chain(chunks []ssdChunk, shared []ssdShared[T], h0, h1 int) {
	state := f.n * f.pp
	scratch := newArena[T](decayArrays*f.qp + 3*f.q*f.pp + f.q*f.ld + factorRoom(f.q, f.q) + (h1-h0)*state)
	defer scratch.release()
	w := ssdHead[T]{ssdDecays: f.newDecays(scratch)}
	w.x, w.fed, w.y = scratch.matrix(f.q, f.pp, f.pp), scratch.matrix(f.q, f.pp, f.pp), scratch.matrix(f.q, f.pp, f.pp)
	w.m, w.room = scratch.matrix(f.q, f.qp, f.ld), scratch.take(factorRoom(f.q, f.q))
	states := make([]Mat[T], h1-h0)
	for i := range states {
		states[i] = scratch.matrix(f.n, f.pp, f.pp)
		if chunks[0].start != fromZeros {
			copyRows(states[i], f.carried(f.carryIn, h0+i))
		}
	}
	for i, c := range chunks {
		for h := h0; h < h1; h++ {
			w.state = states[h-h0]
			w.next = w.next[:0]
			switch {
			case h+1 < h1:
				w.next = append(w.next, f.channels(f.X, c, h+1), f.channels(f.y, c, h+1))
			case i+1 < len(chunks):
				w.next = append(w.next, f.channels(f.X, chunks[i+1], h0), f.channels(f.y, chunks[i+1], h0))
			}
			f.chunk(&w, c, &shared[i*f.Groups+h/(f.heads/f.Groups)], h)
		}
	}
	for i := range states {
		f.leave(states[i], chunks[len(chunks)-1], h0+i)
	}
}

// leave hands on the state of head h after chunk c.
func (f *ssdForward[T]) leave(state Mat[T], c ssdChunk, h int) {
	switch {
	case c.hi == f.rows && f.hOut != nil:
		turnRows(f.state(f.hOut, h), state.Slice(0, f.n, 0, f.p))
	case c.feeds:
		copyRows(f.carried(f.carryOut, h), state)
	}
}

// carried is the place of head h's state in an array of those that are carried.
func (f *ssdForward[T]) carried(states []T, h int) Mat[T] {
	return Dense(states[h*f.n*f.pp:][:f.n*f.pp], f.n, f.pp)
}

// chunk takes head h through chunk c.
func (f *ssdForward[T]) chunk(w *ssdHead[T], c ssdChunk, sh *ssdShared[T], h int) {
	q, mode := c.hi-c.lo, Set
	f.decays(w.ssdDecays, c, h)
	x, fed, y, m := w.x.top(q), w.fed.top(q), w.y.top(q), w.m.top(q)
	copyRows(x, f.channels(f.X, c, h))
	if c.start != fromZeros {
		if c.start == fromChunk && f.saved != nil {
			turnRows(f.state(f.saved[c.saved*f.heads*f.p*f.n:], h), w.state.Slice(0, f.n, 0, f.p))
		}
		sh.c.mul(Set, y, w.state, square)
		scaleRows(y, y, w.into)
		mode = Add
	}
	w.mask(m, sh.gram, f.skip(h))
	within := newFactor(m.Slice(0, q, 0, q), false, lower, w.room)
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

// top views the first rows rows.
func (m Mat[T]) top(rows int) Mat[T] { return m.Slice(0, rows, 0, m.Cols) }
