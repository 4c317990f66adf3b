package kernel

import "unsafe"

// GatedNorm is the norm of Mamba-2, which gates its input first: with v = y·silu(z),
//
//	o = w ∘ v / √(mean(v²) + eps)
//
// row by row, where the mean is taken over each of Groups equal ranges of channels, in float64. Y and Z are (rows, d),
// W is (d). Dao & Gu 2024.
type GatedNorm[T Float] struct {
	Y, Z   Mat[T]
	W      []T
	Groups int
	Eps    float64
}

// GatedNormGrad contains the destinations to which GatedNorm.Backward adds gradients. A zero or nil one is not needed.
type GatedNormGrad[T Float] struct {
	Y, Z Mat[T]
	W    []T
	// Fresh marks the gradients that have no content yet: they are overwritten.
	Fresh struct{ Y, Z bool }
}

// Forward writes o (rows, d), which may be Y.
func (n *GatedNorm[T]) Forward(o Mat[T]) {
	rows, d := n.Y.Rows, n.Y.Cols
	n.Z.check("gated norm z", rows, d)
	o.check("gated norm o", rows, d)
	if dev := on(o); dev != nil {
		dev.GatedNorm(any(n).(*GatedNorm[float32]), f32Mat(o))
		return
	}
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
	if hasVectors[T]() {
		gatedNormVector(f32s(o), f32s(y), f32s(z), f32s(w), n.Eps)
	} else {
		gatedNormRef(o, y, z, w, n.Eps)
	}
}

// Backward adds to g the gradients of Forward at do (rows, d).
func (n *GatedNorm[T]) Backward(g GatedNormGrad[T], do Mat[T]) {
	rows, d := n.Y.Rows, n.Y.Cols
	n.Z.check("gated norm z", rows, d)
	do.check("gated norm do", rows, d)
	if dev := on(do); dev != nil {
		dev.GatedNormGrad(any(n).(*GatedNorm[float32]), any(g).(GatedNormGrad[float32]), f32Mat(do))
		return
	}
	var parts []T // of dw, for rowsSummed rows each
	if g.W != nil {
		parts = make([]T, (rows+rowsSummed-1)/rowsSummed*d)
	}
	grain := rowGrain
	if g.W != nil {
		grain = rowsSummed
	}
	For(rows, grain, func(lo, hi int) {
		var dw []T
		if parts != nil {
			dw = parts[lo/rowsSummed*d:][:d]
		}
		work := newArena[T](4 * wholeVectors(d))
		defer work.release()
		dy, dz := work.take(d), work.take(d)
		room := [2][]T{work.take(d), work.take(d)}
		for t := lo; t < hi; t++ {
			toY, toZ := rowOr(g.Y, t, g.Fresh.Y, dy), rowOr(g.Z, t, g.Fresh.Z, dz)
			n.rowBackward(toY, toZ, dw, do.Row(t), t, room)
			addRow(g.Y, t, g.Fresh.Y, toY)
			addRow(g.Z, t, g.Fresh.Z, toZ)
		}
	})
	for ; len(parts) > 0; parts = parts[d:] {
		add(g.W, parts[:d])
	}
}

// rowBackward computes dy and dz of row t and adds to dw, which may be nil. room is two rows of scratch.
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
		g := gatedNormGrad[T]{part(dy), part(dz), part(dw), part(do), part(y), part(z), part(n.W), n.Eps}
		if wholeRows[T](1, width) {
			gatedNormGradVector((*gatedNormGrad[float32])(unsafe.Pointer(&g)), [2][]float32{f32s(room[0]), f32s(room[1])})
		} else {
			g.ref()
		}
	}
}

// gatedNormGrad is the backward pass of one group of one row: it overwrites dy and dz and adds to dw, which may be nil.
type gatedNormGrad[T Float] struct {
	dy, dz, dw, do, y, z, w []T
	eps                     float64
}

// rowOr returns row t of m if m is needed and is to be overwritten, and room otherwise.
func rowOr[T Float](m Mat[T], t int, fresh bool, room []T) []T {
	if fresh && !m.Absent() {
		return m.Row(t)
	}
	return room
}

// addRow adds x to row t of m, unless rowOr returned that row or m is not needed.
func addRow[T Float](m Mat[T], t int, fresh bool, x []T) {
	if !fresh && !m.Absent() {
		add(m.Row(t), x)
	}
}
