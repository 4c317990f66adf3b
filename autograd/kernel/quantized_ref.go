package kernel

// readStripRef is the plain loop of readStrip. It dequantizes whole blocks.
func (b *blocks) readStripRef(y Mat[float32], o, i int) {
	per := b.of.Block()
	from, to := i/per*per, (i+y.Cols+per-1)/per*per
	values := make([]float32, to-from)
	for r := range y.Rows {
		b.of.Dequantize(values, b.row(o + r)[b.of.Bytes(from):b.of.Bytes(to)])
		copy(y.Row(r), values[i-from:])
	}
}

// dotRowsRef is the plain loop of dotRows.
func (b *blocks) dotRowsRef(y, x []float32, o int) {
	row := make([]float32, len(x))
	for r := range y {
		b.of.Dequantize(row, b.row(o+r))
		y[r] = 0
		for i, w := range row {
			y[r] += w * x[i]
		}
	}
}
