package kernel

// readStripRef is readStrip: it dequantizes whole blocks.
func (b *blocks) readStripRef(y Mat[float32], o, i int) {
	per := b.of.Block()
	from, to := i/per*per, (i+y.Cols+per-1)/per*per
	buf := borrow(to - from)
	defer giveBack(buf)
	for r := range y.Rows {
		b.of.Dequantize(buf.data, b.row(o + r)[b.of.Bytes(from):b.of.Bytes(to)])
		copy(y.Row(r), buf.data[i-from:])
	}
}

// dotRowsRef is dotRows.
func (b *blocks) dotRowsRef(y, x []float32, o int) {
	buf := borrow(len(x))
	defer giveBack(buf)
	for r := range y {
		b.of.Dequantize(buf.data, b.row(o+r))
		y[r] = 0
		for i, w := range buf.data {
			y[r] += w * x[i]
		}
	}
}
