package lora

import (
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/mat"

	"mambatrain/autograd/kernel"
)

// principal is the part of a weight that InitPissa moved into the adapter. While the adapter is enabled, the weight
// is reduced by Scale·B·A.
type principal struct {
	change
}

// takePrincipal sets A and B to the largest singular components of l's weight, as computed by decompose.
func takePrincipal(l *layer, decompose decomposition, r *rand.Rand) *principal {
	w, from, to := l.Weight(), l.adapter.From, l.adapter.To
	cols := w.Shape()[1]
	if to == 0 {
		to = w.Shape()[0]
	}
	w.Unpack()
	c := l.change()
	a, b := principalPair(kernel.Dense(w.Float32s()[from*cols:to*cols], to-from, cols), c.rank, c.scale, decompose, r)
	copy(c.a, a)
	copy(c.b, b)
	c.a, c.b, c.magnitude = a, b, nil // the magnitude of DoRA applies to the reduced weight
	return &principal{*c}
}

// principalPair returns √(S/scale)·Vᵀ and U·√(S/scale) for the rank largest singular components of w. Meng et al.
// 2024. If w has fewer, the remaining rows and columns are initialized as with InitTrue.
func principalPair(w kernel.Mat[float32], rank int, scale float64, decompose decomposition, r *rand.Rand) (a, b []float32) {
	a, b = make([]float32, rank*w.Cols), make([]float32, w.Rows*rank)
	u, s, vt := decompose(w, rank, r)
	bound := 1 / math.Sqrt(float64(w.Cols))
	for k := range rank {
		if k >= len(s) || s[k] == 0 {
			for j := range w.Cols {
				if r != nil {
					a[k*w.Cols+j] = float32(bound * (2*r.Float64() - 1))
				}
			}
			continue
		}
		f := float32(math.Sqrt(s[k] / scale))
		for j, v := range vt.Row(k) {
			a[k*w.Cols+j] = f * v
		}
		for i := range w.Rows {
			b[i*rank+k] = f * u.Row(i)[k]
		}
	}
	return a, b
}

// remove subtracts the part from l's weight. It does nothing if p is nil.
func (p *principal) remove(l *layer) { p.addTo(l, -1) }

// restore adds it back.
func (p *principal) restore(l *layer) { p.addTo(l, 1) }

func (p *principal) addTo(l *layer, share float64) {
	if p == nil {
		return
	}
	w := l.Weight()
	w.Unpack()
	p.fold(w.Float32s(), w.Shape()[0], w.Shape()[1], share)
	w.Invalidate()
}

// plain returns the equivalent adapter for the unchanged weight, with twice the rank: [A; A₀] and [B, −B₀].
func (p *principal) plain(c *change) (a, b []float32) {
	a = slices.Concat(c.a, p.a)
	b = make([]float32, 0, 2*len(c.b))
	for i := 0; i < len(c.b); i += c.rank {
		b = append(b, c.b[i:i+c.rank]...)
		for _, x := range p.b[i : i+c.rank] {
			b = append(b, -x)
		}
	}
	return a, b
}

// A decomposition returns the rank largest singular components of w (n, k), or fewer if w has fewer: u (n, p), s, and
// vt (p, k).
type decomposition func(w kernel.Mat[float32], rank int, r *rand.Rand) (u kernel.Mat[float32], s []float64, vt kernel.Mat[float32])

// approximate finds the components by multiplying w by a random matrix and by itself (Halko, Martinsson & Tropp 2011,
// algorithms 4.4 and 5.1). That is fast and accurate enough for initialization: whatever is removed from the weight
// is in the adapter.
func approximate(w kernel.Mat[float32], rank int, r *rand.Rand) (u kernel.Mat[float32], s []float64, vt kernel.Mat[float32]) {
	const more, rounds = 8, 6
	p := min(rank+more, w.Rows, w.Cols)
	q, z := matrix(w.Rows, p), matrix(w.Cols, p)
	for i := range z.Data {
		z.Data[i] = float32(r.NormFloat64())
	}
	for range rounds {
		kernel.MatMulNN(kernel.Set, q, 1, w, z)
		orthonormalize(q)
		kernel.MatMulTN(kernel.Set, z, 1, w, q)
		orthonormalize(z)
	}
	kernel.MatMulNN(kernel.Set, q, 1, w, z)
	orthonormalize(q)
	// w ≈ q·b with b = qᵀ·w (p, k), whose left singular vectors and values are those of b·bᵀ.
	b, gram := matrix(p, w.Cols), matrix(p, p)
	kernel.MatMulTN(kernel.Set, b, 1, q, w)
	kernel.MatMulNT(kernel.Set, gram, 1, b, b)
	vectors, s := eigen(gram)
	s = s[:min(rank, p)]
	u, vt = matrix(w.Rows, p), matrix(p, w.Cols)
	kernel.MatMulNN(kernel.Set, u, 1, q, vectors)
	kernel.MatMulTN(kernel.Set, vt, 1, vectors, b)
	for i, x := range s {
		for j := range vt.Cols {
			if x > 0 {
				vt.Row(i)[j] /= float32(x)
			}
		}
	}
	return u, s, vt
}

func matrix(rows, cols int) kernel.Mat[float32] {
	return kernel.Dense(make([]float32, rows*cols), rows, cols)
}

// exact computes the decomposition from w·wᵀ or wᵀ·w in double precision. It is needed for adapters that other
// programs created from the exact components. The time is cubic in the smaller dimension of w.
func exact(w kernel.Mat[float32], rank int, _ *rand.Rand) (u kernel.Mat[float32], s []float64, vt kernel.Mat[float32]) {
	x := kernel.Dense(make([]float64, w.Rows*w.Cols), w.Rows, w.Cols)
	for i := range w.Rows {
		for j, v := range w.Row(i) {
			x.Row(i)[j] = float64(v)
		}
	}
	p := min(w.Rows, w.Cols)
	gram := kernel.Dense(make([]float64, p*p), p, p)
	u, vt = matrix(w.Rows, p), matrix(p, w.Cols)
	if w.Rows <= w.Cols {
		kernel.MatMulNT(kernel.Set, gram, 1, x, x)
		u, s = eigen(gram)
		kernel.MatMulTN(kernel.Set, vt, 1, u, w)
	} else {
		kernel.MatMulTN(kernel.Set, gram, 1, x, x)
		var v kernel.Mat[float32]
		v, s = eigen(gram)
		kernel.MatMulNN(kernel.Set, u, 1, w, v)
		transpose(vt, v)
	}
	for i, y := range s {
		for j := range max(w.Rows, w.Cols) {
			switch {
			case y == 0:
			case w.Rows <= w.Cols:
				vt.Row(i)[j] /= float32(y)
			default:
				u.Row(j)[i] /= float32(y)
			}
		}
	}
	return u, s[:min(rank, p)], vt
}

func transpose(y, x kernel.Mat[float32]) {
	for i := range x.Rows {
		for j, v := range x.Row(i) {
			y.Row(j)[i] = v
		}
	}
}

// eigen returns the eigenvectors of a positive semidefinite symmetric matrix as columns and the square roots of its
// eigenvalues, largest first. Roots below the noise of float32 are 0.
func eigen[T kernel.Float](g kernel.Mat[T]) (kernel.Mat[float32], []float64) {
	sym := mat.NewSymDense(g.Rows, nil)
	for i := range g.Rows {
		for j := i; j < g.Cols; j++ {
			sym.SetSym(i, j, float64(g.Row(i)[j]))
		}
	}
	var e mat.EigenSym
	roots := make([]float64, g.Rows)
	vectors := matrix(g.Rows, g.Rows)
	if !e.Factorize(sym, true) {
		return vectors, roots
	}
	var q mat.Dense
	e.VectorsTo(&q)
	values := e.Values(nil)
	largest := math.Max(values[len(values)-1], 0)
	for j := range roots {
		from := len(roots) - 1 - j
		if x := values[from]; x > 1e-12*largest {
			roots[j] = math.Sqrt(x)
		}
		for i := range g.Rows {
			vectors.Row(i)[j] = float32(q.At(i, from))
		}
	}
	return vectors, roots
}

// orthonormalize makes the columns of q orthonormal by the Gram-Schmidt method, applied twice for accuracy. A column
// that depends linearly on the preceding ones becomes zero.
func orthonormalize(q kernel.Mat[float32]) {
	cols := make([][]float64, q.Cols)
	for j := range cols {
		c := make([]float64, q.Rows)
		for i := range c {
			c[i] = float64(q.Row(i)[j])
		}
		before := math.Sqrt(dot(c, c))
		for range 2 {
			for _, o := range cols[:j] {
				f := dot(c, o)
				for i := range c {
					c[i] -= f * o[i]
				}
			}
		}
		n := math.Sqrt(dot(c, c))
		for i := range c {
			if n <= 1e-10*before {
				c[i] = 0
			} else {
				c[i] /= n
			}
			q.Row(i)[j] = float32(c[i])
		}
		cols[j] = c
	}
}

func dot(a, b []float64) float64 {
	s := 0.0
	for i, x := range a {
		s += x * b[i]
	}
	return s
}
