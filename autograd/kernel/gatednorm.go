package kernel

// GatedNorm is the norm of Mamba-2, which gates first: with v = y·silu(z),
//
//	o = w ∘ v / √(mean(v²) + eps)
//
// row by row, where the mean is over each of Groups equal ranges of channels. Y and Z are (rows, d), W is (d).
// The mean is taken in float64. Dao & Gu 2024.
type GatedNorm[T Float] struct {
	Y, Z   Mat[T]
	W      []T
	Groups int
	Eps    float64
}

// GatedNormGrad names where GatedNorm.Backward adds each gradient; zero and nil are not wanted.
type GatedNormGrad[T Float] struct {
	Y, Z Mat[T]
	W    []T
	// Fresh says which matrices hold nothing yet: they are overwritten.
	Fresh struct{ Y, Z bool }
}

// Forward writes o (rows, d), which may be Y.
func (n *GatedNorm[T]) Forward(o Mat[T]) {
	rows, d := n.Y.Rows, n.Y.Cols
	n.Z.check("gated norm z", rows, d)
	o.check("gated norm o", rows, d)
	width := d / n.Groups
	For(rows, rowGrain, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			for at := 0; at < d; at += width {
				n.group(o.Row(t)[at:at+width], n.Y.Row(t)[at:at+width], n.Z.Row(t)[at:at+width], n.W[at:at+width])
			}
		}
	})
}

// group computes one group of one row.
func (n *GatedNorm[T]) group(o, y, z, w []T) {
	if !is32[T]() || active.vec.gate == nil {
		n.groupRef(o, y, z, w)
		return
	}
	apply3(active.vec.gate, f32s(o), f32s(y), f32s(z))
	scaleBy(o, o, w, T(inverseRMS(o, n.Eps)))
}

// Backward adds to g the gradients of Forward at do (rows, d).
func (n *GatedNorm[T]) Backward(g GatedNormGrad[T], do Mat[T]) {
	rows, d := n.Y.Rows, n.Y.Cols
	n.Z.check("gated norm z", rows, d)
	do.check("gated norm do", rows, d)
	var parts []T // dw of some rows each
	if g.W != nil {
		parts = make([]T, (rows+rowsSummed-1)/rowsSummed*d)
	}
	For(rows, rowsSummed, func(lo, hi int) {
		var dw []T
		if parts != nil {
			dw = parts[lo/rowsSummed*d:][:d]
		}
		work := newArena[T](4 * blocksOf16(d))
		defer work.release()
		dy, dz := work.take(d), work.take(d)
		room := [2][]T{work.take(d), work.take(d)}
		for t := lo; t < hi; t++ {
			n.rowBackward(dy, dz, dw, do.Row(t), t, room)
			deliverRow(g.Y, dy, t, g.Fresh.Y)
			deliverRow(g.Z, dz, t, g.Fresh.Z)
		}
	})
	for ; len(parts) > 0; parts = parts[d:] {
		add(g.W, parts[:d])
	}
}

// rowBackward computes dy and dz of row t and adds to dw, which may be nil. room is two rows.
func (n *GatedNorm[T]) rowBackward(dy, dz, dw, do []T, t int, room [2][]T) {
	width := len(do) / n.Groups
	y, z := n.Y.Row(t), n.Z.Row(t)
	for at := 0; at < len(do); at += width {
		part := func(x []T) []T {
			if x == nil {
				return nil
			}
			return x[at : at+width]
		}
		if is32[T]() && active.vec.gate != nil && width%vectorStep == 0 {
			n.groupBackward(part(dy), part(dz), part(dw), part(do), part(y), part(z), part(n.W), room)
		} else {
			n.groupBackwardRef(part(dy), part(dz), part(dw), part(do), part(y), part(z), part(n.W))
		}
	}
}

// groupBackward is groupBackwardRef in vectors of float32.
func (n *GatedNorm[T]) groupBackward(dy, dz, dw, do, y, z, w []T, room [2][]T) {
	vec, width := &active.vec, len(y)
	v, dv := room[0][:width], room[1][:width]
	pv, pd, py, pz := &f32s(v)[0], &f32s(dv)[0], &f32s(y)[0], &f32s(z)[0]
	vec.gate(width, pv, py, pz)
	s := T(inverseRMS(v, n.Eps))
	clear(dv)
	rmsNormGradRow(dv, do, v, w, s)
	if dw != nil {
		mulAddScaled(dw, do, v, s)
	}
	vec.gate(width, &f32s(dy)[0], pd, pz)
	vec.mul(width, pv, pd, py)
	vec.siluGrad(width, &f32s(dz)[0], pv, pz)
}

// deliverRow adds x to row t of y, or overwrites it; y may be absent.
func deliverRow[T Float](y Mat[T], x []T, t int, fresh bool) {
	switch {
	case y.Absent():
	case fresh:
		copy(y.Row(t), x)
	default:
		add(y.Row(t), x)
	}
}
