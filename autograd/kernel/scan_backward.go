package kernel

// blockGrads contains what a block needs in the backward pass.
type blockGrads struct {
	dh, da []float32 // (groups, n, 16)
	dSkip  []float32 // dD
	hs     []float32 // (rows of a chunk + segments, 2·n, lanes): a group's states and exponentials
	dBC    []float32 // (rows, 2·n), see scanArgs.part
	pass   recurrencePass
}

// sharedBackwardSize and backwardSize are the counterparts of sharedSize and forwardSize for the backward pass.
func sharedBackwardSize(n int) int { return sharedSize + 2*scanChunk*2*n*active.scan.lanes }
func backwardSize(n int) int       { return forwardSize(n) + 2*n*scanBlock + scanBlock }

// prepareBackward sets blockGrads.
func (b *channelBlock) prepareBackward(shared []float32, scratch *[]float32, dBC []float32, wantA bool) {
	size := b.n * scanBlock
	sums := takeFront(scratch, 2*size+scanBlock)
	clear(sums)
	b.dh, b.da, b.dSkip = takeFront(&sums, size), takeFront(&sums, size), sums
	b.hs, b.dBC = shared[sharedSize:], dBC
	b.elementwise.dSkip = &b.dSkip[0]
	b.pass = backwardPass
	if wantA {
		b.pass = backwardAPass
	}
}

// scanBackwardVector is Backward for n a multiple of eight.
func scanBackwardVector(s *Scan[float32], grad ScanGrad[float32], dy Mat[float32], saved, dhOut []float32) {
	rows, d, n := s.sizes()
	chunks := segmentChunks(s.First, rows)
	blocks := (d + scanBlock - 1) / scanBlock
	part := borrow(blocks * rows * 2 * n)
	defer giveBack(part)
	forBlocks(blocks, func(from, to int) {
		buf := borrow(sharedBackwardSize(n) + (to-from)*backwardSize(n))
		defer giveBack(buf)
		scratch := buf.data
		shared := takeFront(&scratch, sharedBackwardSize(n))
		bs := make([]*channelBlock, to-from)
		for i := range bs {
			lo := (from + i) * scanBlock
			bs[i] = newChannelBlock(s, lo, min(d, lo+scanBlock), shared, &scratch)
			bs[i].prepareBackward(shared, &scratch, part.data[(from+i)*rows*2*n:][:rows*2*n], grad.ALog != nil)
			if dhOut != nil {
				bs[i].toLanes(bs[i].dh, dhOut)
			}
		}
		for i := len(chunks) - 1; i >= 0; i-- {
			for k, b := range bs {
				b.upNext = nextChunk(bs, k, i*scanChunk, -scanChunk)
				b.restore(saved[i*d*n : (i+1)*d*n])
				b.backward(grad, dy, saved, chunks[i], i*scanChunk, min(rows, (i+1)*scanChunk))
			}
		}
		for _, b := range bs {
			b.addSums(grad)
		}
	})
	sumScanParts(grad, part.data, blocks, rows, n)
}

// partGrain is the number of rows of dB and dC that one task sums over the blocks.
const partGrain = 64

// sumScanParts adds the blocks' shares of dB and dC, in ascending order.
func sumScanParts(grad ScanGrad[float32], part []float32, blocks, rows, n int) {
	states := active.scan.joined // states whose dB and dC a kernel stores together
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

// backward computes rows [t0, t1), whose segments are rs: forward again for the states, then backward for the
// gradients.
func (b *channelBlock) backward(grad ScanGrad[float32], dy Mat[float32], saved []float32, rs []segment, t0, t1 int) {
	b.loadInputs(slopesPass, t0, t1)
	b.loadGrads(grad, dy, t0, t1)
	if !b.allStates() {
		b.clearOut()
		for i := range b.records {
			clear(b.records[i].sumB[:])
			clear(b.records[i].sumA[:])
		}
	}
	for g := range b.groups() {
		b.recomputeStates(g, dy, saved, rs, t0)
		for i := len(rs) - 1; i >= 0; i-- {
			b.backwardSegment(grad, g, rs[i], i, t0)
		}
	}
	e := &b.elementwise
	e.du, e.addU = b.writeColumns(grad.U, grad.Fresh.U, t0, padDU)
	e.ddt, e.addDT = b.writeColumns(grad.DT, grad.Fresh.DT, t0, padDDT)
	e.dz, e.addZ = b.writeColumns(grad.Z, grad.Fresh.Z, t0, padDZ)
	runElementwise(gradsPass, e)
	b.writeBack(grad.U, grad.Fresh.U, t0, t1, padDU)
	b.writeBack(grad.DT, grad.Fresh.DT, t0, t1, padDDT)
	b.writeBack(grad.Z, grad.Fresh.Z, t0, t1, padDZ)
}

// loadGrads writes the gradients of the gate's two inputs into the records.
func (b *channelBlock) loadGrads(grad ScanGrad[float32], dy Mat[float32], t0, t1 int) {
	if b.Z.Absent() {
		for t := t0; t < t1; t++ {
			copy(b.records[t-t0].gy[:], dy.Row(t)[b.lo:b.hi])
		}
		return
	}
	e := &b.elementwise
	e.z, e.gy = b.readColumns(b.Z, t0, t1, padZ), b.readColumns(dy, t0, t1, padGy)
	runElementwise(gateGradsPass, e)
}

// stateOffset returns the offset in hs of the state before row t of segment i; the states after its rows follow.
func (b *channelBlock) stateOffset(i, t, t0 int) int { return (t - t0 + i) * b.n * 2 * b.lanes }

// recomputeStates recomputes C·h and every state of group g.
func (b *channelBlock) recomputeStates(g int, dy Mat[float32], saved []float32, rs []segment, t0 int) {
	for i, r := range rs {
		if r.reset {
			clear(b.group(b.h, g))
		}
		a := b.argsAt(g, r.lo, t0, r.hi-r.lo)
		a.hs, a.ldh = &b.hs[b.stateOffset(i, r.lo, t0)], 4*2*b.n*b.lanes
		u, t := b.upNext, r.lo-t0
		a.next = [len(a.next)]prefetchStream{
			u.prefetch(b.DT, g, t), u.prefetch(b.U, g, t), u.prefetch(b.Z, g, t), u.prefetch(dy, g, t),
			u.prefetchSaved(saved, g, u.t0+t),
		}
		runRecurrence(statesPass, a, b.n)
	}
}

// backwardSegment runs the backward pass of group g over segment i.
func (b *channelBlock) backwardSegment(grad ScanGrad[float32], g int, r segment, i, t0 int) {
	last := r.hi - 1
	a := b.argsAt(g, last, t0, r.hi-r.lo)
	a.hs = &b.hs[b.stateOffset(i, r.hi, t0)]
	a.a, a.h, a.da = &b.group(b.a, g)[0], &b.group(b.dh, g)[0], &b.group(b.da, g)[0]
	a.part, a.ldpart = &b.dBC[last*2*b.n], 4*2*b.n
	a.next = [len(a.next)]prefetchStream{
		b.prefetch(grad.U, g, last, -1), b.prefetch(grad.DT, g, last, -1), b.prefetch(grad.Z, g, last, -1),
		b.upNext.prefetchSums(g, b.upNext.t0+last-t0),
	}
	a.addPart = -1
	if g == 0 {
		a.addPart = 0
	}
	runRecurrence(b.pass, a, b.n)
	a.da, a.part = nil, nil
	if r.reset {
		clear(b.group(b.dh, g)) // no gradient flows into the previous document
	}
}

// addSums adds the gradients that are sums over all rows, and the gradient of H0.
func (b *channelBlock) addSums(grad ScanGrad[float32]) {
	if grad.D != nil {
		add(grad.D[b.lo:b.hi], b.dSkip[:b.hi-b.lo])
	}
	if grad.H0 != nil {
		b.addLanes(grad.H0, b.dh)
	}
	if grad.ALog == nil {
		return
	}
	for c := range b.hi - b.lo {
		da, a := b.group(b.da, c/b.lanes)[c%b.lanes:], b.group(b.a, c/b.lanes)[c%b.lanes:]
		for j := range b.n {
			grad.ALog[(b.lo+c)*b.n+j] += da[j*b.lanes] * a[j*b.lanes]
		}
	}
}
