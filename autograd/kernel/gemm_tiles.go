package kernel

// Matrix products in float32, after Goto & van de Geijn 2008 and BLIS: both operands are divided into panels, stored
// in the order in which a register tile reads them.
//
//   - A (m, k) is packed whole into panels up to 14 rows high, [k][rows]; a tile broadcasts its elements.
//   - B (k, n) is divided into panels 32 columns wide, [k][32]; a tile reads them as vectors. A frozen weight is stored that
//     way; other matrices are packed when they are used.
//   - k is divided into blocks, so that a panel of B stays in the near caches while it is multiplied by the panels of A. If A
//     has too few rows for packing B to pay off, the blocks are shorter: B is read in place, a few rows at a time.
//
// An element of C is one chain of multiply-adds in the order of k, interrupted at each block boundary, regardless of
// which tile or thread computes it: results depend on the kernel set, not on the number of threads or the height of a
// panel.

// tileFunc computes c (rows × columns of the tile) = Σ_l a[l]ᵀ·b[l] over k steps, or adds it to c if add is not 0.
// Rows of a are contiguous, rows of b are ldb elements apart, and rows of c ldc. For bfloat16 a step is a pair. With
// each step the tile prefetches memory that later tiles read: starting at next, step bytes apart.
type tileFunc = func(k int, a, b *float32, ldb int, c *float32, ldc, add int, next *float32, step int)

const (
	kBlock    = 384  // bound of productBlocks.near: 48 KiB of B
	kDirect   = 32   // maximum steps of k between two visits to C for a B read in place: as many pages as fit in the first-level TLB
	kPack     = 3072 // steps of k for which A is packed at a time
	rowsPack  = 1008 // rows of A packed at a time
	stepUnit  = 32   // blocks of k are multiples of it: the steps of a packed weight's blocks
	tasksEach = 12   // tasks per thread

	// A task's scratch: a panel of B, a tile that extends past the last column, and whatever else panel needs.
	cornerAt = kBlock * panel
	stripsAt = cornerAt + panel*panel

	streamAhead = 128 // rows of B prefetched into the second-level cache when A is one panel
)

// left is operand A (m, k), given as its transpose (k, m) if transposed is set.
type left struct {
	mat        Mat[float32]
	transposed bool
	alpha      float32 // multiplies it
	bf16       bool    // round to bfloat16 pairs along k
}

// right is operand B (k, n).
type right interface {
	// panel returns columns [32·j, 32·j+32) of steps [k0, k0+kc), which it may build in scratch, and its row stride.
	panel(scratch []float32, j, k0, kc int) (b *float32, ldb int)
	// packs reports whether panel builds what it returns.
	packs() bool
	// upcoming returns the address and byte count of part i of n of what panel reads, for prefetching. It may be
	// inexact.
	upcoming(j, k0, kc, i, n int) (next *float32, bytes int)
}

// product is one matrix product, c (m, n) = a·b or c += a·b, k steps deep (pairs in bfloat16).
type product struct {
	set      *kernelSet
	maxBlock int // maximum steps of k between two visits to C
	mode     Mode
	c        Mat[float32]
	a        left
	b        right
	m, n, k  int
	adapter  *adapterProduct // nil, or the adapter's share
	bias     []float32       // (n), padded to whole vectors and added to each row, or nil
}

// run computes the product.
func (p *product) run() {
	p.set, p.maxBlock = active, active.blocks.long
	if p.b.packs() {
		p.maxBlock = p.set.blocks.near
	} else if _, ok := p.b.(directRight); ok {
		p.maxBlock = kDirect
	}
	if p.m == 0 || p.n == 0 {
		return
	}
	if p.k == 0 {
		if p.mode == Set {
			for i := range p.m {
				clear(p.c.Row(i))
			}
		}
		return
	}
	if s, ok := p.b.(shareable); ok && p.m > rowsPack {
		buf := prepack(s, p.k, p.n)
		defer giveBack(buf)
		p.b, p.maxBlock = prepacked{buf.data, p.k}, p.set.blocks.long
	}
	each := evenPart(p.m, rowsPack, p.set.height)
	for r := 0; r < p.m; r += each {
		rows := min(each, p.m-r)
		for k0 := 0; k0 < p.k; k0 += kPack {
			p.slab(r, rows, k0, min(kPack, p.k-k0))
		}
	}
}

// evenPart returns the length of equal parts of n, at most limit each. It is a multiple of unit if limit is.
func evenPart(n, limit, unit int) int {
	parts := (n + limit - 1) / limit
	return min(limit, ((n+parts-1)/parts+unit-1)/unit*unit)
}

// slab multiplies rows [r, r+rows) over steps [k0, k0+kn).
func (p *product) slab(r, rows, k0, kn int) {
	s := slab{product: p, r: r, rows: rows, k0: k0, kn: kn, block: evenPart(kn, p.maxBlock, stepUnit), panels: splitRows(rows, p.set.height)}
	if p.m == 1 && !p.a.transposed && !p.a.bf16 && p.a.alpha == 1 && p.adapter == nil {
		s.packed = p.a.mat.Data[k0:] // a single row is its own panel
	} else {
		buf := borrow(rows * kn)
		defer giveBack(buf)
		s.packed = buf.data
		s.packA()
	}
	columns := (p.n + panel - 1) / panel
	target, share := tasksEach*Threads(), p.set.blocks.share
	if p.b.packs() {
		target, share = 6*Threads(), p.set.blocks.bands // splitting the rows further would pack B more often
	} else if p.maxBlock == kDirect {
		target = 4 * Threads() // narrow bands of columns would read too little of each row
	}
	bands := min(max((rows*s.block+share-1)/share, (target+columns-1)/columns), s.panels.count)
	groups := taper{columns, 2 * Threads()}
	runTasks(bands*groups.count(), func(t int) {
		band := t % bands
		j0, j1 := groups.piece(t / bands)
		s.task(s.panels.count*band/bands, s.panels.count*(band+1)/bands, j0, j1)
	})
}

// taper divides [0, n) into pieces, each a fixed share of the remainder: long ones first, which use caches well, and
// short ones at the end, so that no thread waits long for the last.
type taper struct{ n, shares int }

func (t taper) next(at int) int { return at + max(1, (t.n-at)/t.shares) }

func (t taper) count() (pieces int) {
	for at := 0; at < t.n; at = t.next(at) {
		pieces++
	}
	return pieces
}

func (t taper) piece(i int) (lo, hi int) {
	for range i {
		lo = t.next(lo)
	}
	return lo, t.next(lo)
}

// rowPanels divides rows into count panels of full height, except that the last two share the remainder evenly: a tile
// of seven or more rows keeps the multipliers busy, and a tile of one or two does not.
type rowPanels struct{ rows, height, count int }

func splitRows(rows, height int) rowPanels {
	return rowPanels{rows, height, (rows + height - 1) / height}
}

// start returns the first row of panel i; start(count) is the number of rows.
func (p rowPanels) start(i int) int {
	if i == p.count {
		return p.rows
	}
	if i == p.count-1 && i > 0 {
		return p.rows - (p.rows-(i-1)*p.height)/2
	}
	return i * p.height
}

// sameHeight returns the number of panels, from i up to hi, with the same height as panel i.
func (p rowPanels) sameHeight(i, hi int) int {
	if full := p.count - 2; i < full {
		return min(hi, full) - i
	}
	return 1
}

// slab is the part of a product for which A is packed at once. Block kb of the packed A starts at kb·block·rows.
// Within it, the panel that starts at row r starts at r·(steps of the block).
type slab struct {
	*product
	r, rows, k0, kn int
	block           int // steps of k between two visits to C
	panels          rowPanels
	packed          []float32
}

func (s *slab) packA() {
	grain := max(1, 1<<15/(s.kn*s.set.height)) // panels per task: about 32 thousand elements
	For(s.panels.count, grain, func(lo, hi int) {
		for i := lo; i < hi; {
			n := s.panels.sameHeight(i, hi)
			from, height := s.panels.start(i), s.panels.start(i+1)-s.panels.start(i)
			for k := 0; k < s.kn; k += s.block {
				kc := min(s.block, s.kn-k)
				s.a.pack(s.packed[k*s.rows+from*kc:], s.r+from, n, height, s.k0+k, kc)
			}
			i += n
		}
		if s.adapter != nil {
			for i := lo; i < hi; i++ {
				s.adapter.project(s, s.panels.start(i), s.panels.start(i+1))
			}
		}
	})
}

// task computes panels [p0, p1) × B's panels [j0, j1). A single panel goes through packed B column by column, in
// memory order; several panels share each block of B.
func (s *slab) task(p0, p1, j0, j1 int) {
	scratch := borrow(stripsAt + stripRoom)
	defer giveBack(scratch)
	blocks := (s.kn + s.block - 1) / s.block
	if p1-p0 == 1 && s.maxBlock != kDirect {
		for j := j0; j < j1; j++ {
			for kb := range blocks {
				s.strip(scratch.data, p0, p1, j, j0, j1, kb*s.block)
			}
		}
		return
	}
	for kb := range blocks {
		for j := j0; j < j1; j++ {
			s.strip(scratch.data, p0, p1, j, j0, j1, kb*s.block)
		}
	}
}

// strip computes panels [p0, p1) × panel j of B over the block of steps at k; the task's columns are [j0, j1).
func (s *slab) strip(scratch []float32, p0, p1, j, j0, j1, k int) {
	kc := min(s.block, s.kn-k)
	t := tileArgs{kc: kc, j: j, add: 1, last: s.k0+k+kc == s.k, corner: scratch[cornerAt:]}
	if s.mode == Set && s.k0+k == 0 {
		t.add = 0
	}
	t.b, t.ldb = s.b.panel(scratch, j, s.k0+k, kc)
	nextJ, nextK := j+1, k
	if j+1 == j1 {
		nextJ, nextK = j0, k+s.block
	}
	ahead := nextK < s.kn && (p1-p0 > 1 || s.maxBlock == kDirect)
	for i := p0; i < p1; i++ {
		t.next, t.step = t.b, 0
		switch {
		case ahead:
			var bytes int
			t.next, bytes = s.b.upcoming(nextJ, s.k0+nextK, min(s.block, s.kn-nextK), i-p0, p1-p0)
			t.step = (bytes + kc - 1) / kc
		case p1-p0 == 1 && s.maxBlock == s.set.blocks.long && !s.b.packs(): // B is read once
			t.next, _ = s.b.upcoming(j, s.k0+k+streamAhead, kc, 0, 1)
			t.step = 4 * t.ldb
		}
		t.from, t.to = s.panels.start(i), s.panels.start(i+1)
		t.a = &s.packed[k*s.rows+t.from*kc]
		s.computeTile(&t)
	}
}

var ones = [16]float32{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}

// tileArgs describes one tile: rows [from, to) × panel j, kc steps. last means that these are the last steps of k,
// after which the adapter adds its share.
type tileArgs struct {
	a, b             *float32
	ldb, kc          int
	from, to, j, add int
	last             bool
	corner           []float32
	next             *float32
	step             int
}

// narrowTile is the width of a tile for the products of an adapter, whose rank is small.
const narrowTile = 8

// tileFor returns the narrowest tile that computes width columns, and the number of columns that it computes.
func tileFor(tiles *[3]tileFunc, width int) (tile tileFunc, covered int) {
	if width <= narrowTile && tiles[0] != nil {
		return tiles[0], narrowTile
	}
	n := (width + vectorStep - 1) / vectorStep
	return tiles[n], n * vectorStep
}

// computeTile computes one tile, in corner if it would extend past the last column.
func (s *slab) computeTile(t *tileArgs) {
	width := min(panel, s.n-t.j*panel)
	tile, covered := tileFor(&s.set.tile[t.to-t.from], width)
	if s.a.bf16 {
		tile, covered = tileFor(&s.set.tile16[t.to-t.from], width)
	}
	c, ldc := &s.c.Data[(s.r+t.from)*s.c.Stride+t.j*panel], s.c.Stride
	if width < covered {
		c, ldc = &t.corner[0], panel
		for r := t.from; r < t.to && t.add != 0; r++ { // so that the terms are added in the same order as in other tiles
			copy(t.corner[(r-t.from)*panel:][:width], s.c.Row(s.r + r)[t.j*panel:])
		}
	}
	tile(t.kc, t.a, t.b, t.ldb, c, ldc, t.add, t.next, t.step)
	if t.last && s.adapter != nil {
		s.adapter.extend(s, t.from, t.to, t.j, width, c, ldc)
	}
	if t.last && s.bias != nil { // one more step of k, with ones for a
		tile, _ := tileFor(&s.set.tile[t.to-t.from], width)
		tile(1, &ones[0], &s.bias[t.j*panel], panel, c, ldc, 1, c, 0)
	}
	if width < covered {
		for r := t.from; r < t.to; r++ {
			copy(s.c.Row(s.r + r)[t.j*panel:], t.corner[(r-t.from)*panel:][:width])
		}
	}
}

// store copies src to dst, or adds it if add is not 0.
func store(dst, src []float32, add int) {
	if add == 0 {
		copy(dst, src)
		return
	}
	for i, v := range src {
		dst[i] += v
	}
}
