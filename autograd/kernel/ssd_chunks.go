package kernel

// ssdWindow is the number of chunks computed at a time, so that memory for what heads share does not grow with the
// batch.
const ssdWindow = 8

// ssdStart identifies the source of the state before a chunk.
type ssdStart uint8

const (
	fromZeros ssdStart = iota
	fromH0
	fromChunk // the previous chunk
)

// ssdChunk is rows [lo, hi), all of one document.
type ssdChunk struct {
	lo, hi int
	start  ssdStart
	saved  int  // fromChunk: the index of the state before it among the saved states
	feeds  bool // the state after it is used, or its gradient is given
}

// ssdChunks is an SSD divided into chunks: what the forward and backward passes have in common.
type ssdChunks[T Float] struct {
	*SSD[T]
	ssdSizes
	list       []ssdChunk
	q          int // rows of the longest chunk
	qp, pp, np int // q, p, and n rounded up to vectors
	ld         int // row stride of (q, q) matrices, which have a vector to spare
}

// wholeVectors rounds n up to a multiple of vectorStep.
func wholeVectors(n int) int { return (n + vectorStep - 1) &^ (vectorStep - 1) }

// chunks divides the rows into chunks. last is the state after the last row, or its gradient, or nil.
func (s *SSD[T]) chunks(last []T) ssdChunks[T] {
	r := ssdChunks[T]{SSD: s, ssdSizes: s.sizes()}
	limit, saved := s.Chunk, 0
	if limit == 0 {
		limit = SSDChunk
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
		each := evenPart(end-lo, limit, 1)
		for ; lo < end; lo = c.hi {
			c.lo, c.hi = lo, min(end, lo+each)
			c.feeds = c.hi < end || end == r.rows && last != nil
			r.list = append(r.list, c)
			r.q = max(r.q, c.hi-c.lo)
			c.start, c.saved = fromChunk, saved
			if c.hi < end {
				saved++
			}
		}
	}
	r.qp, r.pp, r.np = wholeVectors(r.q), wholeVectors(r.p), wholeVectors(r.n)
	r.ld = r.qp + vectorStep
	return r
}

// chains divides chunks [from, to) into chains of consecutive chunks of one document.
func (r *ssdChunks[T]) chains(from, to int) [][2]int {
	var all [][2]int
	for i := from; i < to; i++ {
		if i == from || r.list[i].start != fromChunk {
			all = append(all, [2]int{i, i})
		}
		all[len(all)-1][1] = i + 1
	}
	return all
}

// forChains calls body in parallel for each chain [c0, c1) of chunks [from, to) and a few neighboring heads [h0, h1),
// whose channels are adjacent in memory. No result depends on how many heads a call gets.
func (r *ssdChunks[T]) forChains(from, to int, body func(c0, c1, h0, h1 int)) {
	const limit, tasksEach = 4, 4
	chains := r.chains(from, to)
	each := max(1, min(limit, len(chains)*r.heads/(tasksEach*Threads())))
	parts := (r.heads + each - 1) / each
	runTasks(len(chains)*parts, func(i int) {
		c, h := chains[i/parts], i%parts*each
		body(c[0], c[1], h, min(r.heads, h+each))
	})
}

// groupOf returns the group of head h.
func (r *ssdChunks[T]) groupOf(h int) int { return h / (r.heads / r.Groups) }

// channels views the columns of head h in the rows of a chunk.
func (r *ssdChunks[T]) channels(m Mat[T], c ssdChunk, h int) Mat[T] {
	return m.Slice(c.lo, c.hi, h*r.p, (h+1)*r.p)
}

// group views the columns of group g in the rows of a chunk.
func (r *ssdChunks[T]) group(m Mat[T], c ssdChunk, g int) Mat[T] {
	return m.Slice(c.lo, c.hi, g*r.n, (g+1)*r.n)
}

// state views head h in an array of states (h, p, n).
func (r *ssdChunks[T]) state(states []T, h int) Mat[T] {
	return Dense(states[h*r.p*r.n:][:r.p*r.n], r.p, r.n)
}

// transposedState views head h in an array of states in their working layout, (h, n, p).
func (r *ssdChunks[T]) transposedState(states []T, h int) Mat[T] {
	return Dense(states[h*r.n*r.pp:][:r.n*r.pp], r.n, r.pp)
}

// gram computes C_i·B_j on and below the diagonal of m.
func (r *ssdChunks[T]) gram(m Mat[T], c *factor[T], b Mat[T]) {
	scratch := newArena[T](r.n * r.qp)
	defer scratch.release()
	transposed := scratch.matrix(r.n, wholeVectors(b.Rows), r.qp)
	transposeRows(transposed, b)
	c.mul(Set, m, transposed, lowerOut)
}

// top views the first rows rows of m.
func (m Mat[T]) top(rows int) Mat[T] { return m.Slice(0, rows, 0, m.Cols) }

// left views the first cols columns of m.
func (m Mat[T]) left(cols int) Mat[T] { return m.Slice(0, m.Rows, 0, cols) }
