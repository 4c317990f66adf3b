package lora

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"

	"mambatrain/autograd/kernel"
)

// TestPrincipalPair compares the removed components with an exact decomposition.
func TestPrincipalPair(t *testing.T) {
	for name, decompose := range map[string]decomposition{"approximate": approximate, "exact": exact} {
		t.Run(name, func(t *testing.T) { testPrincipalPair(t, decompose) })
	}
}

func testPrincipalPair(t *testing.T, decompose decomposition) {
	const tolerance = 2e-5 // float32 products of numbers near 1
	for _, size := range [][3]int{{40, 24, 4}, {7, 30, 7}, {30, 7, 9}, {16, 16, 1}} {
		rows, cols, rank := size[0], size[1], size[2]
		r := rand.New(rand.NewPCG(uint64(rows), 2))
		// Decreasing singular values, as in trained weights.
		x := mat.NewDense(rows, cols, nil)
		for k := range min(rows, cols) {
			f := math.Pow(0.6, float64(k))
			u, v := make([]float64, rows), make([]float64, cols)
			for i := range u {
				u[i] = f * r.NormFloat64()
			}
			for j := range v {
				v[j] = r.NormFloat64()
			}
			var outer mat.Dense
			outer.Outer(1, mat.NewVecDense(rows, u), mat.NewVecDense(cols, v))
			x.Add(x, &outer)
		}
		w := make([]float32, rows*cols)
		for i := range w {
			w[i] = float32(x.At(i/cols, i%cols))
		}
		var svd mat.SVD
		if !svd.Factorize(x, mat.SVDThin) {
			t.Fatal("no decomposition")
		}
		var u, v mat.Dense
		svd.UTo(&u)
		svd.VTo(&v)
		s := svd.Values(nil)

		const scale = 2.5
		a, b := principalPair(kernel.Dense(w, rows, cols), rank, scale, decompose, r)
		for i := range rows {
			for j := range cols {
				got, want := 0.0, 0.0
				for k := range rank {
					got += scale * float64(b[i*rank+k]) * float64(a[k*cols+j])
					if k < len(s) {
						want += u.At(i, k) * s[k] * v.At(j, k)
					}
				}
				if math.Abs(got-want) > tolerance*s[0] {
					t.Fatalf("%v: at (%d, %d): got %v, want %v", size, i, j, got, want)
				}
			}
		}
		for k := range rank {
			if zero := dot(wide(a[k*cols:(k+1)*cols]), wide(a[k*cols:(k+1)*cols])) == 0; zero {
				t.Errorf("%v: row %d of A is zero and would never train", size, k)
			}
		}
	}
}

func wide(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}
