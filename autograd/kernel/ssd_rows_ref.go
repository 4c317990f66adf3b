package kernel

// The plain loops of ssd_rows.go and of the decays within a chunk.

func scaleRowsRef[T Float](y, x Mat[T], w []T) {
	for i := range x.Rows {
		yi, wi := y.Row(i), w[i]
		for j, v := range x.Row(i) {
			yi[j] = wi * v
		}
	}
}

func addRowsRef[T Float](y, x Mat[T], w []T) {
	for i := range x.Rows {
		yi, wi := y.Row(i), w[i]
		for j, v := range x.Row(i) {
			yi[j] += wi * v
		}
	}
}

func dotRowsRef[T Float](y []T, a, b Mat[T]) {
	for i := range a.Rows {
		bi := b.Row(i)
		var sum T
		for j, v := range a.Row(i) {
			sum += v * bi[j]
		}
		y[i] = sum
	}
}

// turnRowsRef transposes the rows of x from from on.
func turnRowsRef[T Float](y, x Mat[T], from int) {
	for i := from; i < x.Rows; i++ {
		for j, v := range x.Row(i) {
			y.Data[j*y.Stride+i] = v
		}
	}
}

// maskRef writes m_ij = gram_ij·e^{s_i−s_j}·Δ_j for j ≤ i, and zeros to the columns after it, as many as a block has.
func (d *ssdDecays[T]) maskRef(m, gram Mat[T]) {
	for i := range d.q {
		row := m.Data[i*m.Stride:][:m.Stride]
		for j, v := range gram.Row(i)[:i+1] {
			row[j] = v * exp(T(d.s[i]-d.s[j])) * d.delta[j]
		}
		clear(row[i+1 : min(len(row), i+1+vectorStep)])
	}
}

// maskGradRef writes m as maskRef does. With e_ij = e^{s_i−s_j} it adds e_ij·k_ij·Δ_j to w, for j ≤ i, and computes
// r_j = Σ_{i≥j} gram_ij·e_ij·k_ij and da_i = Σ_{j<i≤i'} gram_i'j·e_i'j·k_i'j·Δ_j.
func (d *ssdDecays[T]) maskGradRef(m, gram, w, k Mat[T], r, da []T) {
	for i := d.q - 1; i >= 0; i-- {
		row, kr, wr := m.Data[i*m.Stride:][:m.Stride], k.Row(i), w.Row(i)
		var sum T
		for j, g := range gram.Row(i)[:i+1] {
			e := exp(T(d.s[i] - d.s[j]))
			row[j] = g * e * d.delta[j]
			wr[j] += e * kr[j] * d.delta[j]
			r[j] += g * e * kr[j]
			if j < i {
				sum += r[j] * d.delta[j]
			}
		}
		clear(row[i+1 : min(len(row), i+1+vectorStep)])
		da[i] = sum
	}
}
