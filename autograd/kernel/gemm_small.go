package kernel

// Small matrix products within a task. The left operand is packed into tiles once and multiplies several right
// operands, which are read in place because they are all in the near caches.

// factor is a left operand (m, k).
type factor[T Float] struct {
	m, k       int
	mat        Mat[T] // the source matrix, (m, k) or (k, m); float64 reads it
	transposed bool
	packed     []float32 // panel after panel, each as [k][rows]; the panel that starts at row r starts at r·k
}

// triangle specifies which part of a square product is needed.
type triangle uint8

const (
	square   triangle = iota // all
	lower                    // the left operand is zero above its diagonal
	upper                    // the left operand is zero below its diagonal
	lowerOut                 // the result is needed on and below its diagonal
)

// factorRoom returns the number of elements needed to pack a factor (m, k). Vectors reach past the last panel.
func factorRoom(m, k int) int { return wholeVectors(m*k) + vectorStep }

// newFactor packs mat (m, k) into room (factorRoom elements). mat must not change while the factor is in use. A
// triangular mat must contain its zeros for the 16 columns next to the diagonal; beyond those it may contain anything.
func newFactor[T Float](mat Mat[T], shape triangle, room []T) factor[T] {
	f := factor[T]{m: mat.Rows, k: mat.Cols, mat: mat}
	if is32[T]() {
		f.packed = f32s(room)
		f.packRows(f32Mat(mat), shape)
	}
	return f
}

// newTransposedFactor is like newFactor for the transpose of mat (k, m). shape describes the factor, not mat.
func newTransposedFactor[T Float](mat Mat[T], shape triangle, room []T) factor[T] {
	f := factor[T]{m: mat.Cols, k: mat.Rows, mat: mat, transposed: true}
	if is32[T]() {
		f.packed = f32s(room)
		f.packColumns(f32Mat(mat), shape)
	}
	return f
}

// packRows packs a matrix whose rows run along k. A vector may reach into the next panel, which is written later.
func (f *factor[T]) packRows(a Mat[float32], shape triangle) {
	panels := splitRows(f.m, active.height)
	for i := range panels.count {
		from, to := panels.start(i), panels.start(i+1)
		_, k := f.steps(shape, from, to)
		rows := rowPointers(a, from, to-from, 0)
		packLoose(min(f.k, (k+7)&^7), &rows, to-from, &f.packed[from*f.k])
	}
}

// packColumns packs a matrix whose columns run along k.
func (f *factor[T]) packColumns(a Mat[float32], shape triangle) {
	panels := splitRows(f.m, active.height)
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

// steps returns the range of k needed for rows [from, to).
func (f *factor[T]) steps(shape triangle, from, to int) (k0, k1 int) {
	switch shape {
	case lower:
		return 0, min(to, f.k)
	case upper:
		return from, f.k
	}
	return 0, f.k
}

// mul computes c (m, n) = f·b, or adds it to c. In float32, n must be a multiple of 16. With lowerOut, elements of c
// above the diagonal are undefined. While computing, it prefetches the first rows of the matrices in next, as many as
// f has steps.
func (f *factor[T]) mul(mode Mode, c, b Mat[T], shape triangle, next ...Mat[T]) {
	if is32[T]() {
		f.mulTiles(mode, f32Mat(c), f32Mat(b), shape, next)
		return
	}
	f.mulRef(mode, c, b, shape)
}

// mulTiles is mul in float32. Each strip of b, one tile wide, is multiplied by all panels.
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
				end = min(end, wholeVectors(to))
			}
			k0, k1 := f.steps(shape, from, to)
			bp := &b.Data[k0*b.Stride+j]
			tile := active.tile[to-from][(end-j)/vectorStep]
			ahead, step := upcomingRows(next, k0, j, i, bp)
			tile(k1-k0, &f.packed[from*f.k+k0*(to-from)], bp, b.Stride, &c.Data[from*c.Stride+j], c.Stride, add, ahead, step)
		}
	}
}

// upcomingRows returns where the tile of panel i and column j starts prefetching, and the distance in bytes to the
// next row. A tile prefetches one cache line of each row of one matrix, from row k0 on. Successive panels use
// successive matrices, and strips successive lines. Without such a matrix it returns here, which the tile reads anyway.
func upcomingRows[T Float](next []Mat[T], k0, j, i int, here *float32) (*float32, int) {
	if len(next) == 0 {
		return here, 0
	}
	m := f32Mat(next[i%len(next)])
	if len(m.Data) == 0 {
		return here, 0
	}
	if active.wide && i/len(next)%2 == 1 {
		j += vectorStep // a strip spans two cache lines of each row
	}
	return &m.Data[min(k0, m.Rows-1)*m.Stride+j%m.Cols], 4 * m.Stride
}
