package kernel

import "unsafe"

// prefetchStream is memory that will be needed soon. With each row, a kernel prefetches one line of it and advances
// at, perhaps past the end, so at must not look like a pointer to the garbage collector.
type prefetchStream struct {
	at     uintptr
	stride int // in bytes
}

// blockChunk is one block's part of the chunk that starts at row t0. A block knows which blockChunk its task processes
// next and prefetches what that one reads. Any earlier would be too early: rows a chunk apart can fall into the same
// cache sets.
type blockChunk struct {
	*channelBlock
	t0 int
}

// nextChunk returns what follows the k-th of a task's blocks: the next block, or the first one again, step rows later.
func nextChunk(bs []*channelBlock, k, t0, step int) blockChunk {
	if k+1 < len(bs) {
		return blockChunk{bs[k+1], t0}
	}
	return blockChunk{bs[0], t0 + step}
}

// prefetch returns group g's columns of m, starting at row t of the chunk.
func (u blockChunk) prefetch(m Mat[float32], g, t int) prefetchStream {
	return u.channelBlock.prefetch(m, g, u.t0+t, 1)
}

// prefetch returns group g's columns of m, starting at row t, in steps of step rows. The row or the group may not
// exist.
func (b *channelBlock) prefetch(m Mat[float32], g, t, step int) prefetchStream {
	if m.Absent() || t < 0 || t >= m.Rows || g >= b.groups() {
		return b.prefetchNothing()
	}
	return prefetchStream{uintptr(unsafe.Pointer(&m.Data[t*m.Stride+b.lo+g*b.lanes])), 4 * step * m.Stride}
}

// prefetchSaved returns the states saved before the chunk of row t, starting with group g's, one line per row.
func (b *channelBlock) prefetchSaved(saved []float32, g, t int) prefetchStream {
	o := (t/scanChunk*b.U.Cols+b.lo)*b.n + (g*b.n+t%scanChunk)*b.lanes
	if o < 0 || o >= len(saved) {
		return b.prefetchNothing()
	}
	return prefetchStream{uintptr(unsafe.Pointer(&saved[o])), 4 * b.lanes}
}

// prefetchSums returns the sums of dB and dC from row t downward. The groups share a row's cache lines.
func (b *channelBlock) prefetchSums(g, t int) prefetchStream {
	if t < 0 {
		return b.prefetchNothing()
	}
	return prefetchStream{uintptr(unsafe.Pointer(&b.dBC[t*2*b.n+g*b.lanes%(2*b.n)])), -4 * 2 * b.n}
}

// prefetchNothing returns a dummy stream, a line that is already cached.
func (b *channelBlock) prefetchNothing() prefetchStream {
	return prefetchStream{uintptr(unsafe.Pointer(&b.spare[0])), 0}
}
