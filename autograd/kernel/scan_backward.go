package kernel

import "unsafe"

// scanGradPart is what a block carries on its way back.
type scanGradPart struct {
	dh, da []float32 // (groups, n, 16)
	dSkip  []float32 // dD
	hs     []float32 // (rows of a chunk + runs, n, 2, 16): a group's states and exponentials
	dBC    []float32 // (rows, 2·n), see scanArgs.part
	pass   scanPass
}

// sharedBackSize and backwardSize are sharedSize and forwardSize for the way back.
func sharedBackSize(n int) int { return sharedSize + 2*scanChunk*2*n*scanLanes }
func backwardSize(n int) int   { return forwardSize(n) + 2*n*scanBlock + scanBlock }

// prepareBack adds to a block what the way back needs.
func (b *scanPart) prepareBack(shared []float32, scratch *[]float32, dBC []float32, wantA bool) {
	size := b.n * scanBlock
	sums := carve(scratch, 2*size+scanBlock)
	clear(sums)
	b.dh, b.da, b.dSkip = carve(&sums, size), carve(&sums, size), sums
	b.hs, b.dBC = shared[sharedSize:], dBC
	b.edge.dSkip = &b.dSkip[0]
	b.pass = backwardPass
	if wantA {
		b.pass = backwardAPass
	}
}

// scanBackwardVector is Backward for n a multiple of eight.
func scanBackwardVector(s *Scan[float32], grad ScanGrad[float32], dy Mat[float32], saved []float32) {
	rows, d, n := s.sizes()
	chunks := cutRows(s.First, rows)
	blocks := (d + scanBlock - 1) / scanBlock
	part := borrow(blocks * rows * 2 * n)
	defer giveBack(part)
	forBlocks(blocks, func(from, to int) {
		buf := borrow(sharedBackSize(n) + (to-from)*backwardSize(n))
		defer giveBack(buf)
		scratch := buf.data
		shared := carve(&scratch, sharedBackSize(n))
		bs := make([]*scanPart, to-from)
		for i := range bs {
			lo := (from + i) * scanBlock
			bs[i] = newScanPart(s, lo, min(d, lo+scanBlock), shared, &scratch)
			bs[i].prepareBack(shared, &scratch, part.data[(from+i)*rows*2*n:][:rows*2*n], grad.ALog != nil)
		}
		for i := len(chunks) - 1; i >= 0; i-- {
			for k, b := range bs {
				b.then = following(bs, k, i*scanChunk, -scanChunk)
				b.restore(saved[i*d*n : (i+1)*d*n])
				b.back(grad, dy, saved, chunks[i], i*scanChunk, min(rows, (i+1)*scanChunk))
			}
		}
		for _, b := range bs {
			b.finish(grad)
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
func (b *scanPart) back(grad ScanGrad[float32], dy Mat[float32], saved []float32, rs []run, t0, t1 int) {
	b.load(slopesPass, t0, t1)
	b.loadGrads(grad, dy, t0, t1)
	if !b.whole() {
		b.clearOut()
		for i := range b.records {
			clear(b.records[i].sumB[:])
			clear(b.records[i].sumA[:])
		}
	}
	for g := range b.groups() {
		b.states(g, dy, saved, rs, t0)
		for i := len(rs) - 1; i >= 0; i-- {
			b.backRun(grad, g, rs[i], i, t0)
		}
	}
	e := &b.edge
	e.du, e.keepU = b.to(grad.U, grad.Fresh.U, t0, padDU)
	e.ddt, e.keepDT = b.to(grad.DT, grad.Fresh.DT, t0, padDDT)
	e.dz, e.keepZ = b.to(grad.Z, grad.Fresh.Z, t0, padDZ)
	scanEdgeRun(deliverPass, e)
	b.settle(grad.U, grad.Fresh.U, t0, t1, padDU)
	b.settle(grad.DT, grad.Fresh.DT, t0, t1, padDDT)
	b.settle(grad.Z, grad.Fresh.Z, t0, t1, padDZ)
}

// loadGrads brings in what dy sends back through the gate.
func (b *scanPart) loadGrads(grad ScanGrad[float32], dy Mat[float32], t0, t1 int) {
	if b.Z.Absent() {
		for t := t0; t < t1; t++ {
			copy(b.records[t-t0].gy[:], dy.Row(t)[b.lo:b.hi])
		}
		return
	}
	e := &b.edge
	e.z, e.gy = b.from(b.Z, t0, t1, padZ), b.from(dy, t0, t1, padGy)
	scanEdgeRun(gateGradsPass, e)
}

// kept is where the state before row t is kept; those after the rows of run i follow.
func (b *scanPart) kept(i, t, t0 int) int { return (t - t0 + i) * b.n * 2 * scanLanes }

// states recomputes C·h and every state of group g.
func (b *scanPart) states(g int, dy Mat[float32], saved []float32, rs []run, t0 int) {
	for i, r := range rs {
		if r.reset {
			clear(b.group(b.h, g))
		}
		a := b.at(g, r.lo, t0, r.hi-r.lo)
		a.hs, a.ldh = &b.hs[b.kept(i, r.lo, t0)], 4*2*b.n*scanLanes
		u, t := b.then, r.lo-t0
		a.next = [len(a.next)]scanNext{
			u.place(b.DT, g, t), u.place(b.U, g, t), u.place(b.Z, g, t), u.place(dy, g, t),
			u.part.placeSaved(saved, g, u.t0+t),
		}
		scanRun(statesPass, a, b.n)
	}
}

// backRun takes group g over run i back.
func (b *scanPart) backRun(grad ScanGrad[float32], g int, r run, i, t0 int) {
	last := r.hi - 1
	a := b.at(g, last, t0, r.hi-r.lo)
	a.hs = &b.hs[b.kept(i, r.hi, t0)]
	a.a, a.h, a.da = &b.group(b.a, g)[0], &b.group(b.dh, g)[0], &b.group(b.da, g)[0]
	a.part, a.ldpart = &b.dBC[last*2*b.n], 4*2*b.n
	a.next = [len(a.next)]scanNext{
		b.place(grad.U, g, last, -1), b.place(grad.DT, g, last, -1), b.place(grad.Z, g, last, -1),
		b.then.part.placePart(g, b.then.t0+last-t0),
	}
	a.keepPart = -1
	if g == 0 {
		a.keepPart = 0
	}
	scanRun(b.pass, a, b.n)
	a.da, a.part = nil, nil
	if r.reset {
		clear(b.group(b.dh, g)) // what follows a reset has no say in the document before
	}
}

// placePart is a place of the rows of dB and dC that will be written next, down from row t: the groups take turns at a row's
// cache lines.
func (b *scanPart) placePart(g, t int) scanNext {
	if t < 0 {
		return b.nowhere()
	}
	return scanNext{uintptr(unsafe.Pointer(&b.dBC[t*2*b.n+g*scanLanes%(2*b.n)])), -4 * 2 * b.n}
}

// finish delivers what was summed over all rows.
func (b *scanPart) finish(grad ScanGrad[float32]) {
	if grad.D != nil {
		add(grad.D[b.lo:b.hi], b.dSkip[:b.hi-b.lo])
	}
	if grad.ALog == nil {
		return
	}
	for c := range b.hi - b.lo {
		da, a := b.group(b.da, c/scanLanes)[c%scanLanes:], b.group(b.a, c/scanLanes)[c%scanLanes:]
		for j := range b.n {
			grad.ALog[(b.lo+c)*b.n+j] += da[j*scanLanes] * a[j*scanLanes]
		}
	}
}
