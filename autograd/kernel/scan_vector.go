package kernel

import (
	"math"
	"unsafe"
)

// The vector form of the scan processes the rows of a block of 64 channels, one chunk at a time. A chunk has a record
// for each row. Elementwise passes read the matrices and write the inputs of the recurrence to the records; others
// read its results from the records and write the matrices. Between them the recurrence runs over the block's groups
// of channels (see scanShape), one channel per lane, with the states in registers. A chunk is short enough for its
// records and states to stay in the caches.

// segment is rows [lo, hi) of one document.
type segment struct {
	lo, hi int
	reset  bool // lo starts the document
}

// segments divides rows [t0, t1) where documents start.
func segments(first []int, t0, t1 int) []segment {
	out := make([]segment, 0, 4)
	for t := t0; t < t1; t++ {
		if reset := firstRow(first, t) == t; t == t0 || reset {
			out = append(out, segment{t, t, reset})
		}
		out[len(out)-1].hi = t + 1
	}
	return out
}

// segmentChunks returns the segments of every chunk.
func segmentChunks(first []int, rows int) [][]segment {
	var chunks [][]segment
	for t0 := 0; t0 < rows; t0 += scanChunk {
		chunks = append(chunks, segments(first, t0, min(rows, t0+scanChunk)))
	}
	return chunks
}

// channelBlock is a pass over the rows of channels [lo, hi).
type channelBlock struct {
	*Scan[float32]
	lo, hi, n   int
	lanes       int // channels per group
	records     []scanRecord
	a, a2, h    []float32 // (groups, n, lanes)
	skip        []float32 // D, or zeros
	spare       []float32 // (64), written in place of absent results
	pads        []float32 // copies of the matrices' columns, (chunk, 64) each, for a block that is not full
	args        scanArgs
	elementwise scanElementwise
	upNext      blockChunk // what the task processes next
	blockGrads
}

// takeFront removes the first n elements of s and returns them.
func takeFront(s *[]float32, n int) []float32 {
	head := (*s)[:n:n]
	*s = (*s)[n:]
	return head
}

// taskBlocks is the number of neighboring blocks that a task processes together, chunk by chunk, so that what it reads
// of a row is contiguous, on fewer pages and in more cache sets. The result does not depend on it.
const taskBlocks = 2

// forBlocks calls body in parallel for pieces [from, to) of the blocks: taskBlocks each, except that the last blocks,
// two per thread, are single, so that no thread waits long for the others.
func forBlocks(blocks int, body func(from, to int)) {
	last := min(blocks, 2*Threads())
	long := (blocks - last) / taskBlocks
	last = blocks - long*taskBlocks
	runTasks(long+last, func(i int) {
		if i < long {
			body(i*taskBlocks, (i+1)*taskBlocks)
			return
		}
		at := blocks - last + i - long
		body(at, at+1)
	})
}

// sharedSize is the number of elements of scratch shared by a task's blocks, and forwardSize the number that each block
// needs for itself.
const sharedSize = scanChunk*recordSize + padCount*scanChunk*scanBlock

func forwardSize(n int) int { return 3*n*scanBlock + 2*scanBlock }

// newChannelBlock prepares channels [lo, hi). It takes its own memory from scratch and shares shared with other
// blocks.
func newChannelBlock(s *Scan[float32], lo, hi int, shared []float32, scratch *[]float32) *channelBlock {
	b := &channelBlock{Scan: s, lo: lo, hi: hi, n: s.B.Cols, lanes: active.scan.lanes}
	b.records = unsafe.Slice((*scanRecord)(unsafe.Pointer(&shared[0])), scanChunk)
	b.pads = shared[scanChunk*recordSize:]
	size := b.n * scanBlock
	states := takeFront(scratch, forwardSize(b.n))
	clear(states) // lanes without a channel remain zero
	b.a, b.a2, b.h = takeFront(&states, size), takeFront(&states, size), takeFront(&states, size)
	b.skip, b.spare = takeFront(&states, scanBlock), states
	b.toLanes(b.a2, b.ALog)
	if b.H0 != nil {
		b.toLanes(b.h, b.H0)
	}
	copy(b.skip, b.D[min(lo, len(b.D)):min(hi, len(b.D))])
	active.vec.exp(size, &b.a2[0], &b.a2[0])
	active.vec.scaleShift(size, &b.a[0], &b.a2[0], -1, 0)
	active.vec.scaleShift(size, &b.a2[0], &b.a2[0], -math.Log2E, 0)
	b.elementwise.skip = &b.skip[0]
	return b
}

// groups returns the number of groups that have channels.
func (b *channelBlock) groups() int { return (b.hi - b.lo + b.lanes - 1) / b.lanes }

// group returns group g's part of an array (groups, n, lanes).
func (b *channelBlock) group(s []float32, g int) []float32 {
	return s[g*b.n*b.lanes : (g+1)*b.n*b.lanes]
}

// toLanes copies the block's rows of m (d, n) to s in register order, (groups, n, lanes).
func (b *channelBlock) toLanes(s, m []float32) {
	for c := range b.hi - b.lo {
		to := b.group(s, c/b.lanes)[c%b.lanes:]
		for j, v := range m[(b.lo+c)*b.n:][:b.n] {
			to[j*b.lanes] = v
		}
	}
}

// fromLanes copies s, as written by toLanes, back to m.
func (b *channelBlock) fromLanes(s, m []float32) {
	for c := range b.hi - b.lo {
		from := b.group(s, c/b.lanes)[c%b.lanes:]
		for j := range b.n {
			m[(b.lo+c)*b.n+j] = from[j*b.lanes]
		}
	}
}

// addLanes adds s, as written by toLanes, to m.
func (b *channelBlock) addLanes(m, s []float32) {
	for c := range b.hi - b.lo {
		from := b.group(s, c/b.lanes)[c%b.lanes:]
		for j := range b.n {
			m[(b.lo+c)*b.n+j] += from[j*b.lanes]
		}
	}
}

// full reports whether every lane has a channel.
func (b *channelBlock) full() bool { return b.hi-b.lo == scanBlock }

// save writes the states to a chunk's part of saved. Those of a full block remain in register order.
func (b *channelBlock) save(saved []float32) {
	if b.full() {
		copy(saved[b.lo*b.n:], b.h)
	} else {
		b.fromLanes(b.h, saved)
	}
}

// restore reads the states written by save.
func (b *channelBlock) restore(saved []float32) {
	if b.full() {
		copy(b.h, saved[b.lo*b.n:])
	} else {
		b.toLanes(b.h, saved)
	}
}

// A block that is not full uses copies of its columns, as wide as a full block.
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

func (b *channelBlock) pad(i int) []float32 {
	return b.pads[i*scanChunk*scanBlock:][:scanChunk*scanBlock]
}

// readColumns returns the columns of m from row t0 on, for reading up to row t1. pad selects the copy used by a block
// that is not full.
func (b *channelBlock) readColumns(m Mat[float32], t0, t1, pad int) scanColumn {
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

// writeColumns returns the columns of m from row t0 on, for writing, and add, which has all bits set if the pass must
// add to them. writeBack must be called afterwards.
func (b *channelBlock) writeColumns(m Mat[float32], fresh bool, t0, pad int) (c scanColumn, add int) {
	switch {
	case m.Absent():
		return scanColumn{&b.spare[0], 0}, 0
	case !b.full():
		return scanColumn{&b.pad(pad)[0], 4 * scanBlock}, 0
	case !fresh:
		add = -1
	}
	return scanColumn{&m.Data[t0*m.Stride+b.lo], 4 * m.Stride}, add
}

// writeBack copies or adds rows [t0, t1) to m from the copy used by a block that is not full.
func (b *channelBlock) writeBack(m Mat[float32], fresh bool, t0, t1, pad int) {
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

// loadInputs writes Δ and Δ∘u of rows [t0, t1) to the records, using inputsPass or slopesPass.
func (b *channelBlock) loadInputs(pass elementwisePass, t0, t1 int) {
	e := &b.elementwise
	e.rows, e.row = t1-t0, &b.records[0]
	e.dt, e.u = b.readColumns(b.DT, t0, t1, padDT), b.readColumns(b.U, t0, t1, padU)
	runElementwise(pass, e)
}

// argsAt sets the arguments for group g and the given number of rows from row t on, in the chunk that starts at row
// t0.
func (b *channelBlock) argsAt(g, t, t0, rows int) *scanArgs {
	a := &b.args
	a.rows, a.row = rows, &b.records[t-t0].delta[g*b.lanes]
	a.b, a.c = &b.B.Data[t*b.B.Stride], &b.C.Data[t*b.C.Stride]
	a.ldb, a.ldc = 4*b.B.Stride, 4*b.C.Stride
	a.a, a.h = &b.group(b.a2, g)[0], &b.group(b.h, g)[0]
	return a
}

// allStates reports whether a single kernel covers all states. That kernel overwrites the sums over states; others add
// to them.
func (b *channelBlock) allStates() bool { return b.n == active.scan.all }

func (b *channelBlock) clearOut() {
	for i := range b.records {
		clear(b.records[i].out[:])
	}
}

// scanForwardVector is Forward for n a multiple of eight.
func scanForwardVector(s *Scan[float32], y Mat[float32], saved, hOut []float32) {
	rows, d, n := s.sizes()
	chunks := segmentChunks(s.First, rows)
	blocks := (d + scanBlock - 1) / scanBlock
	forBlocks(blocks, func(from, to int) {
		buf := borrow(sharedSize + (to-from)*forwardSize(n))
		defer giveBack(buf)
		scratch := buf.data
		shared := takeFront(&scratch, sharedSize)
		bs := make([]*channelBlock, to-from)
		for i := range bs {
			lo := (from + i) * scanBlock
			bs[i] = newChannelBlock(s, lo, min(d, lo+scanBlock), shared, &scratch)
		}
		for i, rs := range chunks {
			for k, b := range bs {
				b.upNext = nextChunk(bs, k, i*scanChunk, scanChunk)
				if saved != nil {
					b.save(saved[i*d*n : (i+1)*d*n])
				}
				b.forward(y, saved, rs, i*scanChunk, min(rows, (i+1)*scanChunk))
			}
		}
		if hOut != nil {
			for _, b := range bs {
				b.fromLanes(b.h, hOut)
			}
		}
	})
}

// forward computes rows [t0, t1), whose segments are rs.
func (b *channelBlock) forward(y Mat[float32], saved []float32, rs []segment, t0, t1 int) {
	b.loadInputs(inputsPass, t0, t1)
	if !b.allStates() {
		b.clearOut()
	}
	for _, r := range rs {
		if r.reset {
			clear(b.h)
		}
		for g := range b.groups() {
			a := b.argsAt(g, r.lo, t0, r.hi-r.lo)
			u, t := b.upNext, r.lo-t0
			a.next = [...]prefetchStream{
				u.prefetch(b.DT, g, t), u.prefetch(b.U, g, t), u.prefetch(b.Z, g, t),
				b.prefetch(y, g, r.lo, 1), b.prefetchSaved(saved, g, r.lo+scanChunk),
			}
			runRecurrence(forwardPass, a, b.n)
		}
	}
	e, pass := &b.elementwise, skipPass
	if !b.Z.Absent() {
		e.z, pass = b.readColumns(b.Z, t0, t1, padZ), gatePass
	}
	e.y, _ = b.writeColumns(y, true, t0, padY)
	runElementwise(pass, e)
	b.writeBack(y, true, t0, t1, padY)
}

// stepRowVector is stepRow for 16 states, which are contiguous: here a vector is one channel's states.
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
