package main

import (
	"math"
	"math/rand/v2"
	"time"

	"mambatrain/autograd/kernel"
)

// selfTest compares a kernel in float32, where the fast ones are, with the plain loop, which is what float64 runs.
type selfTest struct {
	name   string
	fast   func(*rand.Rand) func() []float32 // draws inputs; what it returns computes
	plain  func(*rand.Rand) func() []float64
	amount float64 // of unit that a run does
	unit   string
}

// Sizes of the self-test: odd, so that the ends of rows and blocks are met.
const (
	testRows  = 129
	testInner = 193
	testState = 16
)

// gigaflops is the unit of the products, which can be held against the machine's peak.
const gigaflops = "GFLOP/s"

// testLimit is the largest difference, relative to the largest value, that rounding explains.
const testLimit = 2e-5

func selfTests() []selfTest {
	const operations = 2 * testRows * testInner * testInner
	const elements = testRows * testInner
	return []selfTest{
		{"matrix product", product[float32], product[float64], operations / 1e9, gigaflops},
		{"packed product", packed, product[float64], operations / 1e9, gigaflops},
		{"convolution", convolve[float32], convolve[float64], elements / 1e6, "M elements/s"},
		{"scan", scan[float32], scan[float64], elements * testState / 1e6, "M updates/s"},
		{"norm", norm[float32], norm[float64], elements / 1e6, "M elements/s"},
		{"softplus", softplus[float32], softplus[float64], elements / 1e6, "M elements/s"},
		{"cross entropy", crossEntropy[float32], crossEntropy[float64], elements / 1e6, "M elements/s"},
	}
}

// run returns the largest relative difference and the amount per second.
func (s selfTest) run() (difference, rate float64) {
	const seed = 7
	want := s.plain(rand.New(rand.NewPCG(seed, seed)))()
	fast := s.fast(rand.New(rand.NewPCG(seed, seed)))
	var got []float32
	best := math.Inf(1)
	for range 9 {
		began := time.Now()
		got = fast()
		best = min(best, time.Since(began).Seconds())
	}
	largest := 0.0
	for i, w := range want {
		largest = max(largest, math.Abs(w))
		d := math.Abs(float64(got[i]) - w)
		if math.IsNaN(d) {
			return math.Inf(1), 0
		}
		difference = max(difference, d)
	}
	return difference / largest, s.amount / best
}

// draw fills a matrix with numbers that both precisions hold exactly.
func draw[T kernel.Float](r *rand.Rand, rows, cols int) kernel.Mat[T] {
	v := make([]T, rows*cols)
	for i := range v {
		v[i] = T(float32(r.NormFloat64()))
	}
	return kernel.Dense(v, rows, cols)
}

func product[T kernel.Float](r *rand.Rand) func() []T {
	x, w := draw[T](r, testRows, testInner), draw[T](r, testInner, testInner)
	y := kernel.Dense(make([]T, testRows*testInner), testRows, testInner)
	return func() []T {
		kernel.MatMulNT(kernel.Set, y, 1, x, w)
		return y.Data
	}
}

func packed(r *rand.Rand) func() []float32 {
	x, w := draw[float32](r, testRows, testInner), draw[float32](r, testInner, testInner)
	y := kernel.Dense(make([]float32, testRows*testInner), testRows, testInner)
	p := kernel.Pack(w)
	return func() []float32 {
		p.Forward(kernel.Set, y, x)
		return y.Data
	}
}

func convolve[T kernel.Float](r *rand.Rand) func() []T {
	const taps = 4
	x := draw[T](r, testRows, testInner)
	c := kernel.Conv[T]{W: draw[T](r, testInner, taps).Data, Bias: draw[T](r, 1, testInner).Data, K: taps, Act: kernel.SiLU}
	y := kernel.Dense(make([]T, testRows*testInner), testRows, testInner)
	return func() []T {
		c.Forward(y, x, nil, nil)
		return y.Data
	}
}

func scan[T kernel.Float](r *rand.Rand) func() []T {
	s := kernel.Scan[T]{
		U: draw[T](r, testRows, testInner), DT: draw[T](r, testRows, testInner), Z: draw[T](r, testRows, testInner),
		B: draw[T](r, testRows, testState), C: draw[T](r, testRows, testState),
		ALog: draw[T](r, testInner, testState).Data, D: draw[T](r, 1, testInner).Data,
	}
	y := kernel.Dense(make([]T, testRows*testInner), testRows, testInner)
	return func() []T {
		s.Forward(y, nil, nil)
		return y.Data
	}
}

func norm[T kernel.Float](r *rand.Rand) func() []T {
	x, w := draw[T](r, testRows, testInner), draw[T](r, 1, testInner)
	y := kernel.Dense(make([]T, testRows*testInner), testRows, testInner)
	return func() []T {
		kernel.RMSNorm(y, x, w.Data, 1e-5)
		return y.Data
	}
}

func softplus[T kernel.Float](r *rand.Rand) func() []T {
	x := draw[T](r, testRows, testInner)
	y := make([]T, len(x.Data))
	return func() []T {
		kernel.Softplus(y, x.Data)
		return y
	}
}

func crossEntropy[T kernel.Float](r *rand.Rand) func() []T {
	logits := draw[T](r, testRows, testInner)
	targets := make([]int, testRows)
	for i := range targets {
		targets[i] = r.IntN(testInner)
	}
	nll := make([]float64, testRows)
	d := kernel.Dense(make([]T, len(logits.Data)), testRows, testInner)
	return func() []T {
		kernel.CrossEntropy(nll, d, logits, targets, 1, 0)
		for i, v := range nll {
			d.Data[i*testInner] += T(v)
		}
		return d.Data
	}
}
