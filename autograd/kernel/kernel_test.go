package kernel

import (
	"fmt"
	"math"
	"math/rand"
	"testing"
)

// Helpers shared by the tests of this package.

func random[T Float](rng *rand.Rand, n int) []T {
	x := Make[T](n) // allocated as in training
	for i := range x {
		x[i] = T(rng.NormFloat64())
	}
	return x
}

func randomMat[T Float](rng *rand.Rand, rows, cols int) Mat[T] {
	return Dense(random[T](rng, rows*cols), rows, cols)
}

// guarded returns a rows × cols Mat with gap columns between rows and guard words all around. intact reports whether
// every guard word is unchanged.
func guarded(rows, cols, gap int) (m Mat[float32], intact func() bool) {
	const guard = -77777
	const margin = 64
	stride := cols + gap
	buf := make([]float32, rows*stride+2*margin)
	for i := range buf {
		buf[i] = guard
	}
	m = Mat[float32]{buf[margin : margin+max(0, (rows-1)*stride+cols)], rows, cols, stride}
	return m, func() bool {
		for i, v := range buf {
			o := i - margin
			inside := o >= 0 && o/stride < rows && o%stride < cols
			if !inside && v != guard {
				return false
			}
		}
		return true
	}
}

// to64 converts x to float64.
func to64(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

func mat64(m Mat[float32]) Mat[float64] {
	return Mat[float64]{to64(m.Data), m.Rows, m.Cols, m.Stride}
}

// near fails the test unless got is within tol of want, relative to want's root mean square.
func near[T Float](t *testing.T, name string, got []T, want []float64, tol float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d elements, want %d", name, len(got), len(want))
	}
	var s float64
	for _, v := range want {
		s += v * v
	}
	s = math.Sqrt(s/float64(max(1, len(want)))) + 1e-30
	for i, v := range want {
		if e := math.Abs(float64(got[i])-v) / s; !(e <= tol) {
			t.Fatalf("%s: element %d is %g, want %g (off by %.2g of the rms)", name, i, got[i], v, e)
		}
	}
}

// nearMat is like near, for the elements of matrices.
func nearMat(t *testing.T, name string, got Mat[float32], want Mat[float64], tol float64) {
	t.Helper()
	var g []float32
	var w []float64
	for i := range got.Rows {
		g = append(g, got.Row(i)...)
		w = append(w, want.Row(i)...)
	}
	near(t, name, g, w, tol)
}

// gradStep is the step of central differences in float64: error about 1e-10 at values around 1.
const (
	gradStep = 1e-5
	gradTol  = 1e-7
)

// checkGrad compares grad with central differences of loss with respect to x.
func checkGrad(t *testing.T, name string, x, grad []float64, loss func() float64) {
	t.Helper()
	want := make([]float64, len(x))
	for i, v := range x {
		x[i] = v + gradStep
		up := loss()
		x[i] = v - gradStep
		want[i] = (up - loss()) / (2 * gradStep)
		x[i] = v
	}
	near(t, name, grad, want, gradTol)
}

// eachISA runs f under every kernel set of this machine.
func eachISA(t *testing.T, f func(t *testing.T)) {
	for _, name := range available() {
		t.Run(name, func(t *testing.T) {
			defer use(ISA())
			use(name)
			f(t)
		})
	}
}

// sameBits runs f on 1, 2, 3, and 7 threads and fails unless all results agree bit for bit.
func sameBits(t *testing.T, name string, f func() []float32) {
	t.Helper()
	defer SetThreads(0)
	SetThreads(1)
	want := f()
	for _, n := range []int{2, 3, 7} {
		SetThreads(n)
		for i, v := range f() {
			if math.Float32bits(v) != math.Float32bits(want[i]) {
				t.Fatalf("%s: element %d is %g on %d threads, %g on one", name, i, v, n, want[i])
			}
		}
	}
}

// documents returns First for documents of the given lengths. If continued > 0, that many rows of the first document
// precede the batch.
func documents(continued int, lengths ...int) []int {
	var first []int
	for i, n := range lengths {
		start := len(first)
		if i == 0 && continued > 0 {
			start = -continued
		}
		for range n {
			first = append(first, start)
		}
	}
	return first
}

func ExampleFor() {
	x := make([]int, 10)
	For(len(x), 4, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			x[i] = i * i
		}
	})
	fmt.Println(x)
	// Output: [0 1 4 9 16 25 36 49 64 81]
}
