package kernel

import (
	"math"
	"unsafe"
)

// The vector form of the scan works on groups of 16 channels, one to a lane, a chunk of rows at a time. The group's inputs
// are brought into planes, (rows of the chunk, 16) without gaps, over which Δ and the gate run as elementwise loops; the
// recurrence is one kernel that keeps the states in registers over a run of rows, that is until a document starts anew.

// scanArgs is what the kernels of gen/scan read, by offset. Strides are in bytes.
type scanArgs struct {
	rows        int
	dt, u, y    *float32 // planes
	b, c        *float32
	ldb, ldc    int
	a, h        *float32 // (n, 16): A·log₂e forward, A backward; the state forward, its gradient backward
	hs, es      *float32 // (n, 16) per row, ldh apart: the state after it, and exp(Δ∘A)
	ldh         int
	gy, du, ddt *float32 // planes
	da          *float32 // (n, 16)
	part        *float32 // (2·n) per row, ldpart apart: dB and dC of as many states as a kernel holds, in turns
	ldpart      int
	next        [4]scanNext
}

// scanNext is a column of memory that will be wanted soon: a kernel prefetches one line per row and moves at on, past the
// end perhaps, which is why it must not look like a pointer to the garbage collector.
type scanNext struct {
	at     uintptr
	stride int
}

func nextOf(m Mat[float32], row, col, stride int) scanNext {
	return scanNext{uintptr(unsafe.Pointer(&m.Data[row*m.Stride+col])), 4 * stride}
}

// scanPass is one of the kernels' three jobs: the recurrence, the same keeping every state, and the way back.
type scanPass uint8

const (
	forwardPass scanPass = iota
	statesPass
	backwardPass
)

// scanLanes is the number of channels of a group.
const scanLanes = 16

// planeSize is the number of elements of a plane.
func planeSize(rows int) int { return min(rows, scanChunk) * scanLanes }

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

// scanGroup is the scratch of one group of channels [lo, hi).
type scanGroup struct {
	*Scan[float32]
	lo, hi, n        int
	a, a2, h         []float32 // (n, 16)
	dt, u, y, skip   []float32 // planes; skip is D on every row
	dh, da           []float32 // (n, 16), and the following are there backward only
	gy, du, ddt      []float32 // planes
	z, dz, dD, slope []float32 // planes
	hs, es           []float32 // (rows of a chunk + runs, n, 16)
	part             []float32 // (rows, 2·n), shared by the block
	nextRow, nextCol int       // the group that follows: its rows as a distance, its first column
}

// carve cuts the next n elements off the front of s.
func carve(s *[]float32, n int) []float32 {
	head := (*s)[:n:n]
	*s = (*s)[n:]
	return head
}

// forwardSize and backwardSize are the elements of scratch that a group needs.
func forwardSize(rows, n int) int { return 3*n*scanLanes + 4*planeSize(rows) }
func backwardSize(rows, n int) int {
	return forwardSize(rows, n) + 2*n*scanLanes + 7*planeSize(rows)
}

// newScanGroup prepares channels [lo, hi) in scratch, which it clears.
func (s *Scan[T]) newScanGroup(lo, hi int, scratch []float32) *scanGroup {
	g := &scanGroup{Scan: (*Scan[float32])(unsafe.Pointer(s)), lo: lo, hi: hi, n: s.B.Cols}
	clear(scratch) // lanes without a channel stay zero
	size, plane := g.n*scanLanes, planeSize(s.U.Rows)
	for _, p := range []*[]float32{&g.a, &g.a2, &g.h} {
		*p = carve(&scratch, size)
	}
	for _, p := range []*[]float32{&g.dt, &g.u, &g.y, &g.skip} {
		*p = carve(&scratch, plane)
	}
	if len(scratch) > 0 {
		g.dh, g.da = carve(&scratch, size), carve(&scratch, size)
		for _, p := range []*[]float32{&g.gy, &g.du, &g.ddt, &g.z, &g.dz, &g.dD, &g.slope} {
			*p = carve(&scratch, plane)
		}
	}
	for c := range hi - lo {
		for j := range g.n {
			g.a2[j*scanLanes+c] = g.ALog[(lo+c)*g.n+j]
			if g.H0 != nil {
				g.h[j*scanLanes+c] = g.H0[(lo+c)*g.n+j]
			}
		}
	}
	active.vec.exp(size, &g.a2[0], &g.a2[0])
	active.vec.scaleShift(size, &g.a[0], &g.a2[0], -1, 0)
	active.vec.scaleShift(size, &g.a2[0], &g.a2[0], -math.Log2E, 0)
	if g.D != nil {
		copy(g.skip, g.D[lo:hi])
		for n := scanLanes; n < plane; n *= 2 {
			copy(g.skip[n:], g.skip[:n])
		}
	}
	return g
}

// groups cuts the block [lo, hi) into groups and gives each size elements of scratch. Chunks follow each
// other at a distance of step rows.
func (s *Scan[T]) groups(lo, hi, step, size int, scratch []float32) []*scanGroup {
	var all []*scanGroup
	for c := lo; c < hi; c += scanLanes {
		g := s.newScanGroup(c, min(hi, c+scanLanes), carve(&scratch, size))
		g.nextCol = g.hi
		all = append(all, g)
	}
	last := all[len(all)-1]
	last.nextRow, last.nextCol = step, lo
	return all
}

// pick brings the group's columns of rows [t0, t1) of m into a plane.
func (g *scanGroup) pick(plane []float32, m Mat[float32], t0, t1 int) {
	packStraight(t1-t0, &m.Data[t0*m.Stride+g.lo], m.Stride, g.hi-g.lo, 1, &plane[0], scanLanes)
}

// load brings in rows [t0, t1): Δ, u, and y = D∘u; for the way back also dΔ/ddt.
func (g *scanGroup) load(t0, t1 int) {
	v, n := &active.vec, (t1-t0)*scanLanes
	g.pick(g.dt, g.DT, t0, t1)
	g.pick(g.u, g.U, t0, t1)
	if g.slope == nil {
		v.softplus(n, &g.dt[0], &g.dt[0])
	} else {
		v.softplusSlope(n, &g.dt[0], &g.slope[0], &g.dt[0])
	}
	v.mul(n, &g.y[0], &g.u[0], &g.skip[0])
}

// args points at row t of the chunk that starts at row t0.
func (g *scanGroup) args(t, t0, rows int) scanArgs {
	o := (t - t0) * scanLanes
	still := nextOf(Mat[float32]{Data: g.h}, 0, 0, 0)
	return scanArgs{
		rows: rows, dt: &g.dt[o], u: &g.u[o], y: &g.y[o],
		b: &g.B.Data[t*g.B.Stride], c: &g.C.Data[t*g.C.Stride], ldb: 4 * g.B.Stride, ldc: 4 * g.C.Stride,
		a: &g.a2[0], h: &g.h[0],
		next: [4]scanNext{still, still, still, still},
	}
}

// ahead has the kernel prefetch what the group after this one, or the first group of the next chunk, will read of ms at
// the kernel's rows.
func (a *scanArgs) ahead(g *scanGroup, t int, ms ...Mat[float32]) {
	row, col := t+g.nextRow, g.nextCol
	for i, m := range ms {
		if row >= 0 && row < m.Rows {
			a.next[i] = nextOf(m, row, col, m.Stride)
		}
	}
}

// shift moves the arguments to the states from j on.
func (a scanArgs) shift(j int) scanArgs {
	n := j * scanLanes
	a.b, a.c, a.a, a.h = after(a.b, j), after(a.c, j), after(a.a, n), after(a.h, n)
	if a.hs != nil {
		a.hs, a.es = after(a.hs, n), after(a.es, n)
	}
	if a.part != nil {
		a.part, a.da = after(a.part, 2*j), after(a.da, n)
	}
	return a
}

// lanes moves the arguments to the channels from l on.
func (a scanArgs) lanes(l int) scanArgs {
	if l == 0 {
		return a
	}
	for _, p := range [...]**float32{&a.dt, &a.u, &a.y, &a.a, &a.h, &a.hs, &a.es, &a.gy, &a.du, &a.ddt, &a.da} {
		if *p != nil {
			*p = after(*p, l)
		}
	}
	return a
}

// addRowsGo adds src (k, 16) to the first w ≤ 16 columns of k rows of dst, ldd apart.
func addRowsGo(k int, dst *float32, ldd, w int, src *float32) {
	d, s := unsafe.Slice(dst, (k-1)*ldd+w), unsafe.Slice(src, k*scanLanes)
	for t := range k {
		add(d[t*ldd:][:w], s[t*scanLanes:][:w])
	}
}

// forwardVec is Forward for float32, n a multiple of eight.
func (s *Scan[T]) forwardVec(y Mat[float32], saved, hOut []float32) {
	rows, d, n := s.sizes()
	For(d, scanBlock, func(lo, hi int) {
		buf := borrow(scanBlock / scanLanes * forwardSize(rows, n))
		defer giveBack(buf)
		gs := s.groups(lo, hi, scanChunk, forwardSize(rows, n), buf.data)
		for t0 := 0; t0 < rows; t0 += scanChunk {
			t1 := min(rows, t0+scanChunk)
			rs := runs(s.First, t0, t1)
			for _, g := range gs {
				if saved != nil {
					g.save(saved[t0/scanChunk*d*n:])
				}
				g.load(t0, t1)
				g.forward(y, rs, t0)
				g.emit(y, t0, t1)
			}
		}
		if hOut != nil {
			for _, g := range gs {
				g.leave(hOut)
			}
		}
	})
}

// forward takes the state over the runs of the chunk that starts at row t0.
func (g *scanGroup) forward(y Mat[float32], rs []run, t0 int) {
	for _, r := range rs {
		if r.reset {
			clear(g.h)
		}
		a := g.args(r.lo, t0, r.hi-r.lo)
		a.ahead(g, r.lo, g.DT, g.U, g.Z)
		a.next[3] = nextOf(y, r.lo, g.lo, y.Stride) // about to be written
		scanRun(forwardPass, a, g.n)
	}
}

// emit gates the chunk's y and writes it out.
func (g *scanGroup) emit(y Mat[float32], t0, t1 int) {
	if !g.Z.Absent() {
		g.pick(g.dt, g.Z, t0, t1) // Δ is used up
		active.vec.gate((t1-t0)*scanLanes, &g.y[0], &g.y[0], &g.dt[0])
	}
	packStraight(t1-t0, &g.y[0], scanLanes, g.hi-g.lo, 1, &y.Data[t0*y.Stride+g.lo], y.Stride)
}

// leave writes the state to h (d, n).
func (g *scanGroup) leave(h []float32) {
	for c := g.lo; c < g.hi; c++ {
		for j := range g.n {
			h[c*g.n+j] = g.h[j*scanLanes+c-g.lo]
		}
	}
}

// save writes the state to the chunk's part of saved, and restore reads it back. A whole group lies as in the registers, a
// partial one channel by channel, so that both fit in d·n.
func (g *scanGroup) save(saved []float32) {
	if g.hi-g.lo < scanLanes {
		g.leave(saved)
		return
	}
	copy(saved[g.lo*g.n:g.hi*g.n], g.h)
}

func (g *scanGroup) restore(saved []float32) {
	if g.hi-g.lo == scanLanes {
		copy(g.h, saved[g.lo*g.n:g.hi*g.n])
		return
	}
	for c := g.lo; c < g.hi; c++ {
		for j := range g.n {
			g.h[j*scanLanes+c-g.lo] = saved[c*g.n+j]
		}
	}
}

// backwardVec is Backward for float32, n a multiple of eight.
func (s *Scan[T]) backwardVec(grad ScanGrad[float32], dy Mat[float32], saved []float32) {
	rows, d, n := s.sizes()
	blocks := (d + scanBlock - 1) / scanBlock
	part := borrow(blocks * rows * 2 * n)
	defer giveBack(part)
	For(d, scanBlock, func(lo, hi int) {
		own := part.data[lo/scanBlock*rows*2*n:][:rows*2*n]
		clear(own)
		count := scanBlock / scanLanes
		room := 4 * scanChunk * n * scanLanes // states of a chunk, one more row per run
		buf := borrow(count*backwardSize(rows, n) + room)
		defer giveBack(buf)
		gs := s.groups(lo, hi, -scanChunk, backwardSize(rows, n), buf.data[room:])
		for t0 := (rows - 1) / scanChunk * scanChunk; t0 >= 0; t0 -= scanChunk {
			t1 := min(rows, t0+scanChunk)
			rs := runs(s.First, t0, t1)
			for _, g := range gs {
				g.hs, g.es, g.part = buf.data[:room/2], buf.data[room/2:room], own
				g.restore(saved[t0/scanChunk*d*n:])
				g.back(grad, dy, rs, t0, t1)
			}
		}
		for _, g := range gs {
			g.finish(grad)
		}
	})
	sumScanParts(grad, part.data, blocks, rows, n)
}

// partGrain is how many rows of dB and dC one task sums over the blocks.
const partGrain = 64

// sumScanParts adds the blocks' shares of dB and dC, in ascending order.
func sumScanParts(grad ScanGrad[float32], part []float32, blocks, rows, n int) {
	states := active.scan / 2 // of which a kernel stores dB and dC together
	For(rows, partGrain, func(lo, hi int) {
		size := (hi - lo) * 2 * n
		buf := borrow(size)
		defer giveBack(buf)
		clear(buf.data)
		for i := range blocks {
			active.vec.add(size, &buf.data[0], &part[(i*rows+lo)*2*n])
		}
		for t := lo; t < hi; t++ {
			sum := buf.data[(t-lo)*2*n:][:2*n]
			for j := range n {
				at := j/states*2*states + j%states
				if !grad.B.Absent() {
					grad.B.Row(t)[j] += sum[at]
				}
				if !grad.C.Absent() {
					grad.C.Row(t)[j] += sum[at+states]
				}
			}
		}
	})
}

// back takes rows [t0, t1), cut into rs, back: the states first, forward again, then the gradients.
func (g *scanGroup) back(grad ScanGrad[float32], dy Mat[float32], rs []run, t0, t1 int) {
	v, size := &active.vec, (t1-t0)*scanLanes
	g.load(t0, t1)
	g.pick(g.gy, dy, t0, t1)
	g.states(dy, rs, t0)
	if !g.Z.Absent() {
		g.pick(g.z, g.Z, t0, t1)
		clear(g.dz[:size])
		v.gateGrad(size, &g.gy[0], &g.dz[0], &g.y[0], &g.z[0])
		g.deliver(grad.Z, grad.Fresh.Z, g.dz, t0, t1)
	}
	v.mul(size, &g.du[0], &g.gy[0], &g.skip[0])
	if grad.D != nil {
		v.mulAdd(size, &g.dD[0], &g.gy[0], &g.u[0])
	}
	clear(g.ddt[:size])
	for i := len(rs) - 1; i >= 0; i-- {
		g.backRun(grad, rs[i], i, t0)
	}
	g.deliver(grad.U, grad.Fresh.U, g.du, t0, t1)
	if !grad.DT.Absent() {
		v.mul(size, &g.ddt[0], &g.ddt[0], &g.slope[0])
		g.deliver(grad.DT, grad.Fresh.DT, g.ddt, t0, t1)
	}
}

// rowState is where the state before row t is kept; those after the rows of run i follow.
func (g *scanGroup) rowState(i, t, t0 int) int { return (t - t0 + i) * g.n * scanLanes }

// states recomputes y and every state of the chunk.
func (g *scanGroup) states(dy Mat[float32], rs []run, t0 int) {
	size := g.n * scanLanes
	for i, r := range rs {
		if r.reset {
			clear(g.h)
		}
		o := g.rowState(i, r.lo, t0)
		copy(g.hs[o:], g.h)
		a := g.args(r.lo, t0, r.hi-r.lo)
		a.hs, a.es, a.ldh = &g.hs[o+size], &g.es[o+size], 4*size
		a.ahead(g, r.lo, g.DT, g.U, dy, g.Z)
		scanRun(statesPass, a, g.n)
	}
}

// backRun takes run i back.
func (g *scanGroup) backRun(grad ScanGrad[float32], r run, i, t0 int) {
	last := r.hi - 1
	a := g.args(last, t0, r.hi-r.lo)
	o, p := g.rowState(i, r.hi, t0), (last-t0)*scanLanes
	a.hs, a.es, a.ldh = &g.hs[o], &g.es[o], 4*g.n*scanLanes
	a.a, a.h, a.da = &g.a[0], &g.dh[0], &g.da[0]
	a.gy, a.du, a.ddt = &g.gy[p], &g.du[p], &g.ddt[p]
	a.part, a.ldpart = &g.part[last*2*g.n], 4*2*g.n
	for i, m := range []Mat[float32]{grad.U, grad.DT} { // about to be added to
		if !m.Absent() {
			a.next[i] = nextOf(m, last, g.lo, -m.Stride)
		}
	}
	scanRun(backwardPass, a, g.n)
	if r.reset {
		clear(g.dh)
	}
}

// deliver adds a plane to the group's columns of rows [t0, t1) of m, if wanted, or writes it there if m is fresh.
func (g *scanGroup) deliver(m Mat[float32], fresh bool, plane []float32, t0, t1 int) {
	switch {
	case m.Absent():
	case fresh:
		packStraight(t1-t0, &plane[0], scanLanes, g.hi-g.lo, 1, &m.Data[t0*m.Stride+g.lo], m.Stride)
	default:
		addRows(t1-t0, &m.Data[t0*m.Stride+g.lo], m.Stride, g.hi-g.lo, &plane[0])
	}
}

// finish delivers what was summed over all rows.
func (g *scanGroup) finish(grad ScanGrad[float32]) {
	for c := g.lo; c < g.hi; c++ {
		lane := c - g.lo
		if grad.D != nil {
			var s float32
			for t := range min(g.U.Rows, scanChunk) {
				s += g.dD[t*scanLanes+lane]
			}
			grad.D[c] += s
		}
		if grad.ALog != nil {
			for j := range g.n {
				o := j*scanLanes + lane
				grad.ALog[c*g.n+j] += g.da[o] * g.a[o]
			}
		}
	}
}

// stepRowVec is stepRow for 16 states, which lie side by side: here a vector is one channel.
func stepRowVec(s *Scan[float32], y, h []float32, i, lo, hi int) {
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
