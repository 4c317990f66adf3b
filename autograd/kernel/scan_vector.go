package kernel

import (
	"math"
	"unsafe"
)

// The vector form of the scan takes a block of 64 channels through the rows, a chunk at a time. A chunk has a record per row.
// Elementwise passes, which read and write the matrices themselves, fill it with what the recurrence wants and take away what
// it leaves; in between, the recurrence runs over the block's groups of 16 channels, one to a lane, with the states in
// registers. A chunk is short enough for its records and states to stay in the caches.

// scanLanes is the number of channels of a group.
const scanLanes = 16

// scanRecord is one row of a block: Δ, Δ∘u and C·h; for the way back also σ(dt), dy∘silu(z), dy∘silu′(z), Σ dh∘B, and the
// part of dΔ that comes through exp(Δ∘A). The kernels of gen/scan know where each lies.
type scanRecord struct {
	delta, input, out, slope, gy, gz, sumB, sumA [scanBlock]float32
	// Makes a record an odd number of cache lines, lest the same field of all rows fall into few sets of the cache.
	_ [scanLanes]float32
}

const recordSize = int(unsafe.Sizeof(scanRecord{}) / 4)

// scanArgs is what the kernels of the recurrence read, by offset. Strides are in bytes; rows go upwards, backward downwards.
type scanArgs struct {
	rows     int
	row      *float32 // the group's columns of the first row's record
	b, c     *float32
	ldb, ldc int
	a, h     *float32 // (n, 16): A·log₂e forward, A backward; the state forward, its gradient backward
	hs       *float32 // (n, 2, 16) per row, ldh apart: the state and exp(Δ∘A); forward, the state before the first row
	ldh      int
	da       *float32 // (n, 16)
	part     *float32 // (2·n) per row, ldpart apart: dB and dC of as many states as a kernel joins, in turns
	ldpart   int
	keepPart int // all bits set to add to part, none to overwrite it
	next     [5]scanNext
}

// scanNext is a column of memory that will be wanted soon: a kernel prefetches a line of it with each row and moves at
// on, past the end perhaps, which is why it must not look like a pointer to the garbage collector.
type scanNext struct {
	at     uintptr
	stride int
}

// shift moves the arguments to the states from j on.
func (a scanArgs) shift(j int) scanArgs {
	a.b, a.c = after(a.b, j), after(a.c, j)
	for _, p := range [...]**float32{&a.a, &a.h, &a.da} {
		if *p != nil {
			*p = after(*p, j*scanLanes)
		}
	}
	if a.hs != nil {
		a.hs = after(a.hs, 2*j*scanLanes)
	}
	if a.part != nil {
		a.part = after(a.part, 2*j)
	}
	return a
}

// lanes moves the arguments to the channels from l on.
func (a scanArgs) lanes(l int) scanArgs {
	for _, p := range [...]**float32{&a.row, &a.a, &a.h, &a.hs, &a.da} {
		if *p != nil {
			*p = after(*p, l)
		}
	}
	if l > 0 {
		a.keepPart = -1
	}
	return a
}

// scanPass is one of the recurrence's jobs: forward, the same keeping every state, and the way back, without and with the
// gradient of A.
type scanPass uint8

const (
	forwardPass scanPass = iota
	statesPass
	backwardPass
	backwardAPass
)

// scanEdge is what the elementwise passes read, by offset.
type scanEdge struct {
	rows                         int
	row                          *scanRecord
	dt, u, z, gy, y, du, ddt, dz scanColumn
	skip, dSkip                  *float32 // (64)
	keepU, keepDT, keepZ         int      // all bits set to add to a gradient, none to overwrite it
}

// scanColumn is the block's columns of a matrix: their address in the first row, and the distance of rows in bytes.
type scanColumn struct {
	at     *float32
	stride int
}

// edgePass is one of the elementwise passes, see gen/scan/edges.go.
type edgePass uint8

const (
	inputsPass edgePass = iota
	slopesPass
	skipPass
	gatePass
	gateGradsPass
	deliverPass
)

// run is rows [lo, hi) of which only the first may start a document.
type run struct {
	lo, hi int
	reset  bool
}

// runs cuts rows [t0, t1) where documents start.
func runs(first []int, t0, t1 int) []run {
	out := make([]run, 0, 4)
	for t := t0; t < t1; t++ {
		if reset := firstRow(first, t) == t; t == t0 || reset {
			out = append(out, run{t, t, reset})
		}
		out[len(out)-1].hi = t + 1
	}
	return out
}

// cutRows cuts all rows into chunks, and those into runs.
func cutRows(first []int, rows int) [][]run {
	var chunks [][]run
	for t0 := 0; t0 < rows; t0 += scanChunk {
		chunks = append(chunks, runs(first, t0, min(rows, t0+scanChunk)))
	}
	return chunks
}

// scanPart is a block of channels [lo, hi) on its way through the rows.
type scanPart struct {
	*Scan[float32]
	lo, hi, n int
	records   []scanRecord
	a, a2, h  []float32 // (groups, n, 16)
	skip      []float32 // D, or zeros
	spare     []float32 // (64), to be written where nothing is wanted
	pads      []float32 // copies of matrices' columns, (chunk, 64) each, if the block is not full
	args      scanArgs
	edge      scanEdge
	then      scanUnit
	scanGradPart
}

// scanUnit is a block over the chunk that starts at row t0. A block knows which unit its task takes next, to prefetch what
// that reads: sooner would be too soon, for rows a chunk apart can fall into the same sets of the caches.
type scanUnit struct {
	part *scanPart
	t0   int
}

// following is what comes after the k-th of a task's blocks: the next, or the first in the chunk step rows on.
func following(bs []*scanPart, k, t0, step int) scanUnit {
	if k+1 < len(bs) {
		return scanUnit{bs[k+1], t0}
	}
	return scanUnit{bs[0], t0 + step}
}

// place is a column to prefetch: group g's of m from the unit's row t on.
func (u scanUnit) place(m Mat[float32], g, t int) scanNext { return u.part.place(m, g, u.t0+t, 1) }

// carve cuts the next n elements off the front of s.
func carve(s *[]float32, n int) []float32 {
	head := (*s)[:n:n]
	*s = (*s)[n:]
	return head
}

// A task takes neighbouring blocks through the rows together, chunk by chunk: what it reads of a row lies side by side then,
// on fewer pages and in more sets of the caches. How many blocks does not matter to the result.
const taskBlocks = 2

// forBlocks calls body in parallel for pieces [from, to) of the blocks: taskBlocks each, but the last two for each thread
// singly, so that none waits long for another.
func forBlocks(blocks int, body func(from, to int)) {
	last := min(blocks, 2*Threads())
	long := (blocks - last) / taskBlocks
	last = blocks - long*taskBlocks
	Run(long+last, func(i int) {
		if i < long {
			body(i*taskBlocks, (i+1)*taskBlocks)
			return
		}
		at := blocks - last + i - long
		body(at, at+1)
	})
}

// sharedSize and forwardSize are the numbers of elements of scratch that a task's blocks need together and that each needs
// for itself.
const sharedSize = scanChunk*recordSize + padCount*scanChunk*scanBlock

func forwardSize(n int) int { return 3*n*scanBlock + 2*scanBlock }

// newScanPart prepares channels [lo, hi) in scratch; shared it may share with other blocks.
func newScanPart(s *Scan[float32], lo, hi int, shared []float32, scratch *[]float32) *scanPart {
	b := &scanPart{Scan: s, lo: lo, hi: hi, n: s.B.Cols}
	b.records = unsafe.Slice((*scanRecord)(unsafe.Pointer(&shared[0])), scanChunk)
	b.pads = shared[scanChunk*recordSize:]
	size := b.n * scanBlock
	states := carve(scratch, forwardSize(b.n))
	clear(states) // lanes without a channel stay zero
	b.a, b.a2, b.h = carve(&states, size), carve(&states, size), carve(&states, size)
	b.skip, b.spare = carve(&states, scanBlock), states
	b.enter(b.a2, b.ALog)
	if b.H0 != nil {
		b.enter(b.h, b.H0)
	}
	copy(b.skip, b.D[min(lo, len(b.D)):min(hi, len(b.D))])
	active.vec.exp(size, &b.a2[0], &b.a2[0])
	active.vec.scaleShift(size, &b.a[0], &b.a2[0], -1, 0)
	active.vec.scaleShift(size, &b.a2[0], &b.a2[0], -math.Log2E, 0)
	b.edge.skip = &b.skip[0]
	return b
}

// groups is the number of groups that have channels.
func (b *scanPart) groups() int { return (b.hi - b.lo + scanLanes - 1) / scanLanes }

// group returns group g's part of an array (groups, n, 16).
func (b *scanPart) group(s []float32, g int) []float32 {
	return s[g*b.n*scanLanes : (g+1)*b.n*scanLanes]
}

// enter brings the block's rows of m (d, n) into the order of the registers, (groups, n, 16), and leave takes them back.
func (b *scanPart) enter(s, m []float32) {
	for c := range b.hi - b.lo {
		to := b.group(s, c/scanLanes)[c%scanLanes:]
		for j, v := range m[(b.lo+c)*b.n:][:b.n] {
			to[j*scanLanes] = v
		}
	}
}

func (b *scanPart) leave(s, m []float32) {
	for c := range b.hi - b.lo {
		from := b.group(s, c/scanLanes)[c%scanLanes:]
		for j := range b.n {
			m[(b.lo+c)*b.n+j] = from[j*scanLanes]
		}
	}
}

// full reports whether each lane has a channel.
func (b *scanPart) full() bool { return b.hi-b.lo == scanBlock }

// save writes the states to a chunk's part of saved, and restore reads them back. A full block lies as in the registers.
func (b *scanPart) save(saved []float32) {
	if b.full() {
		copy(saved[b.lo*b.n:], b.h)
	} else {
		b.leave(b.h, saved)
	}
}

func (b *scanPart) restore(saved []float32) {
	if b.full() {
		copy(b.h, saved[b.lo*b.n:])
	} else {
		b.enter(b.h, saved)
	}
}

// A block that is not full works on copies of its columns, so that the passes need not mind where it ends.
const (
	padDT = iota
	padU
	padZ
	padGy
	padY
	padDU
	padDDT
	padDZ
	padCount
)

func (b *scanPart) pad(i int) []float32 { return b.pads[i*scanChunk*scanBlock:][:scanChunk*scanBlock] }

// from returns the columns of m from row t0 on, to be read up to row t1; pad is the copy that a block that is not full makes.
func (b *scanPart) from(m Mat[float32], t0, t1, pad int) scanColumn {
	if b.full() {
		return scanColumn{&m.Data[t0*m.Stride+b.lo], 4 * m.Stride}
	}
	p := b.pad(pad)
	clear(p)
	for t := t0; t < t1; t++ {
		copy(p[(t-t0)*scanBlock:], m.Row(t)[b.lo:b.hi])
	}
	return scanColumn{&p[0], 4 * scanBlock}
}

// to returns the columns of m from row t0 on, to be written, and what to do with them: all bits set to add to them. settle
// is to be called afterwards.
func (b *scanPart) to(m Mat[float32], fresh bool, t0, pad int) (c scanColumn, keep int) {
	switch {
	case m.Absent():
		return scanColumn{&b.spare[0], 0}, 0
	case !b.full():
		return scanColumn{&b.pad(pad)[0], 4 * scanBlock}, 0
	case !fresh:
		keep = -1
	}
	return scanColumn{&m.Data[t0*m.Stride+b.lo], 4 * m.Stride}, keep
}

// settle brings rows [t0, t1) of what was written to a copy to m.
func (b *scanPart) settle(m Mat[float32], fresh bool, t0, t1, pad int) {
	if b.full() || m.Absent() {
		return
	}
	for t := t0; t < t1; t++ {
		to, p := m.Row(t)[b.lo:b.hi], b.pad(pad)[(t-t0)*scanBlock:]
		if fresh {
			clear(to)
		}
		add(to, p[:len(to)])
	}
}

// place is a column to prefetch: group g's of m from row t on, in steps of step rows; none if there is no such row or group.
func (b *scanPart) place(m Mat[float32], g, t, step int) scanNext {
	if m.Absent() || t < 0 || t >= m.Rows || g >= b.groups() {
		return b.nowhere()
	}
	return scanNext{uintptr(unsafe.Pointer(&m.Data[t*m.Stride+b.lo+g*scanLanes])), 4 * step * m.Stride}
}

// placeSaved is where the states are saved before the chunk of row t, a line to each row from there on, beginning with
// group g's.
func (b *scanPart) placeSaved(saved []float32, g, t int) scanNext {
	o := (t/scanChunk*b.U.Cols+b.lo)*b.n + (g*b.n+t%scanChunk)*scanLanes
	if o < 0 || o >= len(saved) {
		return b.nowhere()
	}
	return scanNext{uintptr(unsafe.Pointer(&saved[o])), 4 * scanLanes}
}

// nowhere is a place that is there already.
func (b *scanPart) nowhere() scanNext { return scanNext{uintptr(unsafe.Pointer(&b.spare[0])), 0} }

// load starts on rows [t0, t1): Δ and Δ∘u come into the records, by inputsPass or slopesPass.
func (b *scanPart) load(pass edgePass, t0, t1 int) {
	e := &b.edge
	e.rows, e.row = t1-t0, &b.records[0]
	e.dt, e.u = b.from(b.DT, t0, t1, padDT), b.from(b.U, t0, t1, padU)
	scanEdgeRun(pass, e)
}

// at points the arguments at group g of row t, in the chunk that starts at row t0, for a run of so many rows.
func (b *scanPart) at(g, t, t0, rows int) *scanArgs {
	a := &b.args
	a.rows, a.row = rows, &b.records[t-t0].delta[g*scanLanes]
	a.b, a.c = &b.B.Data[t*b.B.Stride], &b.C.Data[t*b.C.Stride]
	a.ldb, a.ldc = 4*b.B.Stride, 4*b.C.Stride
	a.a, a.h = &b.group(b.a2, g)[0], &b.group(b.h, g)[0]
	return a
}

// whole reports whether the kernels hold all states at a time: they overwrite sums over the states then, which otherwise
// start from zero.
func (b *scanPart) whole() bool { return active.wide && b.n == 16 }

func (b *scanPart) clearOut() {
	for i := range b.records {
		clear(b.records[i].out[:])
	}
}

// scanForwardVector is Forward for n a multiple of eight.
func scanForwardVector(s *Scan[float32], y Mat[float32], saved, hOut []float32) {
	rows, d, n := s.sizes()
	chunks := cutRows(s.First, rows)
	blocks := (d + scanBlock - 1) / scanBlock
	forBlocks(blocks, func(from, to int) {
		buf := borrow(sharedSize + (to-from)*forwardSize(n))
		defer giveBack(buf)
		scratch := buf.data
		shared := carve(&scratch, sharedSize)
		bs := make([]*scanPart, to-from)
		for i := range bs {
			lo := (from + i) * scanBlock
			bs[i] = newScanPart(s, lo, min(d, lo+scanBlock), shared, &scratch)
		}
		for i, rs := range chunks {
			for k, b := range bs {
				b.then = following(bs, k, i*scanChunk, scanChunk)
				if saved != nil {
					b.save(saved[i*d*n : (i+1)*d*n])
				}
				b.forward(y, saved, rs, i*scanChunk, min(rows, (i+1)*scanChunk))
			}
		}
		if hOut != nil {
			for _, b := range bs {
				b.leave(b.h, hOut)
			}
		}
	})
}

// forward takes the block over rows [t0, t1), cut into rs.
func (b *scanPart) forward(y Mat[float32], saved []float32, rs []run, t0, t1 int) {
	b.load(inputsPass, t0, t1)
	if !b.whole() {
		b.clearOut()
	}
	for _, r := range rs {
		if r.reset {
			clear(b.h)
		}
		for g := range b.groups() {
			a := b.at(g, r.lo, t0, r.hi-r.lo)
			u, t := b.then, r.lo-t0
			a.next = [...]scanNext{
				u.place(b.DT, g, t), u.place(b.U, g, t), u.place(b.Z, g, t),
				b.place(y, g, r.lo, 1), b.placeSaved(saved, g, r.lo+scanChunk),
			}
			scanRun(forwardPass, a, b.n)
		}
	}
	e, pass := &b.edge, skipPass
	if !b.Z.Absent() {
		e.z, pass = b.from(b.Z, t0, t1, padZ), gatePass
	}
	e.y, _ = b.to(y, true, t0, padY)
	scanEdgeRun(pass, e)
	b.settle(y, true, t0, t1, padY)
}

// stepRowVector is stepRow for 16 states, which lie side by side: here a vector is one channel.
func stepRowVector(s *Scan[float32], y, h []float32, i, lo, hi int) {
	v, n := &active.vec, hi-lo
	buf := borrow(2 * n)
	defer giveBack(buf)
	delta, in := &buf.data[0], &buf.data[n]
	u := &s.U.Row(i)[lo]
	v.softplus(n, delta, &s.DT.Row(i)[lo])
	v.mul(n, in, delta, u)
	v.step16(n, &y[0], &h[0], &s.ALog[lo*16], delta, in, &s.B.Row(i)[0], &s.C.Row(i)[0])
	if s.D != nil {
		v.mulAdd(n, &y[0], u, &s.D[lo])
	}
	if !s.Z.Absent() {
		v.gate(n, &y[0], &y[0], &s.Z.Row(i)[lo])
	}
}
