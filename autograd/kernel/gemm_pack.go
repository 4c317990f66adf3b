package kernel

// pack packs steps [k0, k0+kc) of n panels of height rows into dst, each as [kc][height]. The first panel starts at
// row r of A.
func (a *left) pack(dst []float32, r, n, height, k0, kc int) {
	if a.transposed {
		packPanels(kc, &a.mat.Data[k0*a.mat.Stride+r], a.mat.Stride, n, height, a.alpha, &dst[0], kc*height)
		return
	}
	for i := range n {
		packAlong(a, dst[i*kc*height:], r+i*height, height, k0, kc)
	}
}

// packAlong packs rows that run along k.
func packAlong(a *left, dst []float32, r, height, k0, kc int) {
	if a.bf16 {
		rows := rowPointers(a.mat, r, height, 2*k0)
		packTransposed16(min(2*kc, a.mat.Cols-2*k0), &rows, height, a.alpha, &dst[0], height)
		return
	}
	rows := rowPointers(a.mat, r, height, k0)
	packTransposed(kc, &rows, height, a.alpha, &dst[0], height)
}

// rowPointers returns the addresses of element col of rows r … r+height−1. The remaining entries repeat the last one.
func rowPointers(m Mat[float32], r, height, col int) (rows [16]*float32) {
	for i := range rows {
		rows[i] = &m.Data[(r+min(i, height-1))*m.Stride+col]
	}
	return rows
}

// plainRight is B (k, n) row by row.
type plainRight struct{ mat Mat[float32] }

func (b plainRight) packs() bool { return true }

func (b plainRight) panel(scratch []float32, j, k0, kc int) (*float32, int) {
	width := min(panel, b.mat.Cols-j*panel)
	packStraight(kc, &b.mat.Data[k0*b.mat.Stride+j*panel], b.mat.Stride, width, 1, &scratch[0], panel)
	return &scratch[0], panel
}

func (b plainRight) upcoming(j, k0, kc, i, n int) (*float32, int) {
	return upcomingRow(b.mat, k0+kc*i/n, j*panel)
}

// upcomingRow returns 32 columns of one row: packing itself prefetches the other rows.
func upcomingRow(m Mat[float32], row, col int) (*float32, int) {
	return &m.Data[row*m.Stride+min(col, m.Cols-1)], 4 * panel
}

// directRight is plainRight without packing, for products with so few rows that each panel is read only a few times. n
// must be a multiple of 16 because tiles read whole vectors.
type directRight struct{ mat Mat[float32] }

func (b directRight) packs() bool { return false }

func (b directRight) panel(_ []float32, j, k0, kc int) (*float32, int) {
	return &b.mat.Data[k0*b.mat.Stride+j*panel], b.mat.Stride
}

func (b directRight) upcoming(j, k0, kc, i, n int) (*float32, int) {
	return &b.mat.Data[k0*b.mat.Stride+j*panel], 4 * b.mat.Stride * kc
}

// transposedRight is B (k, n) given as its transpose (n, k).
type transposedRight struct{ mat Mat[float32] }

func (b transposedRight) packs() bool { return true }

func (b transposedRight) panel(scratch []float32, j, k0, kc int) (*float32, int) {
	for c := 0; c < panel && j*panel+c < b.mat.Rows; c += 16 {
		row := j*panel + c
		if kc%16 == 0 && b.mat.Rows-row >= 16 {
			transposeSquares(kc, &b.mat.Data[row*b.mat.Stride+k0], b.mat.Stride, &scratch[c], panel)
			continue
		}
		rows := rowPointers(b.mat, row, min(16, b.mat.Rows-row), k0)
		packTransposed(kc, &rows, 16, 1, &scratch[c], panel)
	}
	return &scratch[0], panel
}

func (b transposedRight) upcoming(j, k0, kc, i, n int) (*float32, int) {
	row := j*panel + panel*i/n
	return &b.mat.Data[min(row, b.mat.Rows-1)*b.mat.Stride+k0], 4 * kc
}

// shareable is a B that is packed once if A has many rows. Otherwise it would be packed again for each band of rows.
type shareable interface {
	right
	shareable()
}

func (plainRight) shareable()      {}
func (transposedRight) shareable() {}

// prepack builds all panels of b (k, n), one after the other.
func prepack(b right, k, n int) *buffer {
	buf := borrow((n + panel - 1) / panel * panel * k)
	blocks := (k + kBlock - 1) / kBlock
	runTasks((n+panel-1)/panel*blocks, func(t int) {
		j, k0 := t/blocks, t%blocks*kBlock
		b.panel(buf.data[(j*k+k0)*panel:], j, k0, min(kBlock, k-k0))
	})
	return buf
}

// prepacked is a B built by prepack, k steps deep.
type prepacked struct {
	data []float32
	k    int
}

func (prepacked) packs() bool { return false }

func (b prepacked) panel(_ []float32, j, k0, _ int) (*float32, int) {
	return &b.data[(j*b.k+k0)*panel], panel
}

func (b prepacked) upcoming(j, k0, kc, i, n int) (*float32, int) {
	part := (kc*panel + n - 1) / n
	return &b.data[min((j*b.k+k0)*panel+i*part, len(b.data)-1)], 4 * part
}
