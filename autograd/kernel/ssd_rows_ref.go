package kernel

// The plain loops of ssd_rows.go and ssd_decays.go.

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

// transposeRowsRef transposes the rows of x, starting with row from.
func transposeRowsRef[T Float](y, x Mat[T], from int) {
	for i := from; i < x.Rows; i++ {
		for j, v := range x.Row(i) {
			y.Data[j*y.Stride+i] = v
		}
	}
}

// maskRef writes m_ij = gram_ij·e^{s_i−s_j}·Δ_j for j ≤ i and zeros to up to 16 columns after that.
func (d *ssdDecays[T]) maskRef(m, gram Mat[T]) {
	for i := range d.q {
		row := m.Data[i*m.Stride:][:m.Stride]
		for j, v := range gram.Row(i)[:i+1] {
			row[j] = v * exp(T(d.s[i]-d.s[j])) * d.delta[j]
		}
		clear(row[i+1 : min(len(row), i+1+vectorStep)])
	}
}

// maskGradRef writes m as maskRef does. With e_ij = e^{s_i−s_j} and v_ij = gram_ij·e_ij·k_ij, it adds e_ij·k_ij·Δ_j to w for
// j ≤ i, and computes r_j = Σ_{i≥j} v_ij and da_i = Σ_{j<i≤l} v_lj·Δ_j.
func (d *ssdDecays[T]) maskGradRef(g maskGrads[T]) {
	for i := d.q - 1; i >= 0; i-- {
		m, k, w := g.m.Data[i*g.m.Stride:][:g.m.Stride], g.k.Row(i), g.w.Row(i)
		var sum T
		for j, gram := range g.gram.Row(i)[:i+1] {
			e := exp(T(d.s[i] - d.s[j]))
			m[j] = gram * e * d.delta[j]
			w[j] += e * k[j] * d.delta[j]
			g.r[j] += gram * e * k[j]
			if j < i {
				sum += g.r[j] * d.delta[j]
			}
		}
		clear(m[i+1 : min(len(m), i+1+vectorStep)])
		g.da[i] = sum
	}
}
