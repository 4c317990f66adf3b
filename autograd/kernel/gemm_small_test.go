package kernel

import (
	"fmt"
	"math/rand"
	"testing"
)

// A factor multiplies as the plain loop does, for all tile heights and strip widths, from rows and from columns, full
// and triangular, with and without prefetching. It writes nothing out of bounds.
func TestFactor(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(1))
		for m := 1; m <= 34; m++ {
			for _, k := range []int{1, 7, 8, 33} {
				for _, n := range []int{16, 32, 48} {
					checkFactor(t, rng, m, k, n, square, m%2 == 0)
				}
			}
			for shape := lower; shape <= upper; shape++ {
				checkFactor(t, rng, m, m, 48, shape, shape == upper)
			}
			checkFactor(t, rng, m, 9, wholeVectors(m), lowerOut, false)
		}
	})
}

func checkFactor(t *testing.T, rng *rand.Rand, m, k, n int, shape triangle, transposed bool) {
	t.Helper()
	a := Mat[float32]{random[float32](rng, (m+1)*(k+40)), m, k, k + 40}
	if transposed {
		a = Mat[float32]{random[float32](rng, (k+1)*(m+40)), k, m, m + 40}
	}
	if shape == lower || shape == upper { // zero for some columns past the diagonal, in the rows as stored
		for i := range a.Rows {
			clear(a.Data[i*a.Stride+i+1:][:vectorStep])
		}
	}
	b := randomMat[float32](rng, k, n)
	room := random[float32](rng, factorRoom(m, k))
	var f factor[float32]
	if transposed {
		f = newTransposedFactor(a, shape, room)
	} else {
		f = newFactor(a, shape, room)
	}
	for _, mode := range []Mode{Set, Add} {
		c, intact := guarded(m, n, 3)
		start := mat64(c)
		for i := range m {
			copy(c.Row(i), random[float32](rng, n))
			for j, v := range c.Row(i) {
				start.Row(i)[j] = float64(v)
			}
		}
		f.mul(mode, c, b, shape, b, Mat[float32]{}, c)
		for i := range m {
			for j := range n {
				want := 0.0
				if mode == Add {
					want = start.Row(i)[j]
				}
				k0, k1 := f.steps(shape, i, i+1)
				for l := k0; l < k1; l++ {
					want += float64(f.at(i, l)) * float64(b.Row(l)[j])
				}
				if shape != lowerOut || j <= i {
					name := fmt.Sprintf("%d × %d × %d, shape %d, transposed %v, mode %d: (%d, %d)", m, k, n, shape, transposed, mode, i, j)
					if d := float64(c.Row(i)[j]) - want; d > 1e-4 || d < -1e-4 || d != d {
						t.Fatalf("%s is %g, want %g", name, c.Row(i)[j], want)
					}
				}
			}
		}
		if !intact() {
			t.Fatal("wrote outside c")
		}
	}
}

// The row loops agree with the float64 loops for every width up to three vectors and write nothing out of bounds.
func TestRows(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(2))
		for n := 1; n <= 49; n++ {
			for _, rows := range []int{1, 5} {
				x, w := randomMat[float64](rng, rows, n+4).Slice(0, rows, 2, 2+n), random[float64](rng, rows)
				y, intact := guarded(rows, n, 3)
				want := mat64(y)
				scaleRows(want, x, w)
				scaleRows(y, mat32(x), narrow(w))
				nearMat(t, "scaled", y, want, 1e-6)
				addRows(want, x, w)
				addRows(y, mat32(x), narrow(w))
				nearMat(t, "added", y, want, 1e-6)
				got, sums := make([]float32, rows), make([]float64, rows)
				dotRows(sums, want, x)
				dotRows(got, y, mat32(x))
				near(t, "inner products", got, sums, 1e-4)
				transposed, transposedIntact := guarded(n, rows, 1)
				transposeRows(transposed, y)
				for i := range rows {
					for j := range n {
						if transposed.Row(j)[i] != y.Row(i)[j] {
							t.Fatalf("(%d, %d) of %d × %d is in the wrong place", i, j, rows, n)
						}
					}
				}
				if !intact() || !transposedIntact() {
					t.Fatalf("%d × %d: wrote outside the result", rows, n)
				}
			}
		}
		x := randomMat[float32](rng, 40, 23)
		y, intact := guarded(23, 40, 2)
		transposeRows(y, x)
		for i := range 40 {
			for j := range 23 {
				if y.Row(j)[i] != x.Row(i)[j] {
					t.Fatalf("(%d, %d) is in the wrong place", i, j)
				}
			}
		}
		if !intact() {
			t.Fatal("wrote outside the transpose")
		}
	})
}
