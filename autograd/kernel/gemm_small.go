package kernel

// Products within a task, of operands that lie in the nearer caches: the left one is laid out for the tiles once and then
// multiplies several right ones, which are read where they are.

// factor is the left operand of such products, (m, k).
type factor[T Float] struct {
	m, k   int
	mat    Mat[T] // what it was laid out from, (m, k) or (k, m); double precision multiplies that
	turned bool
	packed []float32 // panel after panel, each as [k][rows]; the panel that starts at row r starts at r·k
}

// triangle says which part of a square product matters.
type triangle uint8

const (
	square   triangle = iota
	lower             // the left operand is zero above its diagonal
	upper             // the left operand is zero below its diagonal
	lowerOut          // the result is wanted on and below its diagonal
)

// factorRoom is how many elements newFactor needs to lay out a factor (m, k): vectors reach beyond the last panel.
func factorRoom(m, k int) int { return blocksOf16(m*k) + vectorStep }

// newFactor lays out mat, or its transpose if turned, in room (factorRoom elements). mat must stay as it is while the factor is
// in use. A triangular factor may have any content beyond its diagonal but for the first few elements, up to the end of the
// panel, which must be zero.
func newFactor[T Float](mat Mat[T], turned bool, shape triangle, room []T) factor[T] {
	f := factor[T]{m: mat.Rows, k: mat.Cols, mat: mat, turned: turned}
	if turned {
		f.m, f.k = mat.Cols, mat.Rows
	}
	if !is32[T]() {
		return f
	}
	f.packed = f32s(room)
	panels := splitRows(f.m, active.height)
	if a := f32Mat(mat); turned {
		f.packColumns(a, panels, shape)
	} else {
		f.packRows(a, panels, shape)
	}
	return f
}

// packRows lays out the panels of a matrix whose rows run along k. Where a vector reaches into the next panel, that one comes
// later.
func (f *factor[T]) packRows(a Mat[float32], panels rowPanels, shape triangle) {
	for i := range panels.count {
		from, to := panels.start(i), panels.start(i+1)
		_, k := f.steps(shape, from, to)
		rows := rowPointers(a, from, to-from, 0)
		packLoose(min(f.k, (k+7)&^7), &rows, to-from, &f.packed[from*f.k])
	}
}

// packColumns lays out the panels of a matrix whose columns run along k.
func (f *factor[T]) packColumns(a Mat[float32], panels rowPanels, shape triangle) {
	for i := 0; i < panels.count; {
		n := 1
		if shape != upper {
			n = panels.sameHeight(i, panels.count)
		}
		from, to := panels.start(i), panels.start(i+1)
		k0, k1 := f.steps(shape, from, to)
		packPanels(k1-k0, &a.Data[k0*a.Stride+from], a.Stride, n, to-from, 1, &f.packed[from*f.k+k0*(to-from)], f.k*(to-from))
		i += n
	}
}

// steps is the range of k that rows [from, to) need.
func (f *factor[T]) steps(shape triangle, from, to int) (k0, k1 int) {
	switch shape {
	case lower:
		return 0, min(to, f.k)
	case upper:
		return from, f.k
	}
	return 0, f.k
}

// mul computes c (m, n) = f·b, or adds it to c. In float32 n is a multiple of 16. For lowerOut the columns of c right of the
// diagonal get arbitrary values, or none. Meanwhile the rows of the matrices in next are prefetched, as many as f has steps.
func (f *factor[T]) mul(mode Mode, c, b Mat[T], shape triangle, next ...Mat[T]) {
	if is32[T]() {
		f.mulTiles(mode, f32Mat(c), f32Mat(b), shape, next)
		return
	}
	f.mulRef(mode, c, b, shape)
}

// mulTiles is mul in float32: for each strip of b, as wide as a tile, all panels.
func (f *factor[T]) mulTiles(mode Mode, c, b Mat[float32], shape triangle, next []Mat[T]) {
	add, width := 0, vectorStep
	if mode == Add {
		add = 1
	}
	if active.wide {
		width = panel
	}
	panels := splitRows(f.m, active.height)
	for j := 0; j < b.Cols; j += width {
		for i := range panels.count {
			from, to := panels.start(i), panels.start(i+1)
			end := min(j+width, b.Cols)
			if shape == lowerOut {
				if to <= j {
					continue
				}
				end = min(end, blocksOf16(to))
			}
			k0, k1 := f.steps(shape, from, to)
			bp := &b.Data[k0*b.Stride+j]
			tile := active.tile[to-from][(end-j)/vectorStep]
			ahead, step := upcomingRows(next, k0, j, i, bp)
			tile(k1-k0, &f.packed[from*f.k+k0*(to-from)], bp, b.Stride, &c.Data[from*c.Stride+j], c.Stride, add, ahead, step)
		}
	}
}

// upcomingRows returns where the tile of panel i and column j begins to prefetch, and how many bytes its next row is away: a
// line of each row of one matrix, row k0 and on. Panels take turns at the matrices and strips at the lines; here is what a tile
// reads anyway.
func upcomingRows[T Float](next []Mat[T], k0, j, i int, here *float32) (*float32, int) {
	if len(next) == 0 {
		return here, 0
	}
	m := f32Mat(next[i%len(next)])
	if len(m.Data) == 0 {
		return here, 0
	}
	if active.wide && i/len(next)%2 == 1 {
		j += vectorStep // a strip has two lines of each row
	}
	return &m.Data[min(k0, m.Rows-1)*m.Stride+j%m.Cols], 4 * m.Stride
}
