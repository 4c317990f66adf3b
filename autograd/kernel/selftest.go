package kernel

import (
	"math"
	"math/rand/v2"
	"time"

	"mambatrain/internal/quant"
)

// Report is what [SelfTest] found: the machine's peaks and one check for each kernel.
type Report struct {
	FLOPS, FLOPSBF16 float64 // per second, in float32 and in bfloat16
	Bandwidth        float64 // bytes per second
	Checks           []Check
}

// Check compares one kernel in float32 with its plain loop in float64.
type Check struct {
	Name       string
	OK         bool    // whether rounding explains Difference
	Difference float64 // largest, relative to the largest value; infinite if the kernel returns NaN
	Rate       float64 // in Unit, the best of several runs
	Unit       string
}

// selfTest is a kernel to be checked. fast and plain draw the same inputs and return functions that compute on them.
type selfTest struct {
	name   string
	fast   func(*rand.Rand) func() []float32
	plain  func(*rand.Rand) func() []float64
	amount float64 // work done by a run, in units
	unit   string
}

// Sizes of the self-test. They are odd, to cover the ends of rows and blocks.
const (
	testRows  = 129
	testInner = 193
	testState = 16
	testHeads = 6
	testHead  = 32
)

// gigaflops is the unit of the products, which are compared with the machine's peak.
const gigaflops = "GFLOP/s"

// testLimit is the largest difference, relative to the largest value, that rounding can explain.
const testLimit = 2e-5

// SelfTest checks the kernels and measures the machine's peaks. The peaks are sampled before each check, so that one busy
// moment of the machine does not decide the result. A sample takes about the given time, and that of the bandwidth reads
// a buffer of the given size. A product that is faster than every sample raises the peak.
func SelfTest(sample time.Duration, bytes int) Report {
	var r Report
	for _, t := range selfTests() {
		r.FLOPS = max(r.FLOPS, PeakFLOPS(Float32, sample))
		r.FLOPSBF16 = max(r.FLOPSBF16, PeakFLOPS(BFloat16, sample))
		r.Bandwidth = max(r.Bandwidth, PeakBandwidth(bytes, sample))
		c := t.run()
		if r.Checks = append(r.Checks, c); c.Unit == gigaflops {
			r.FLOPS = max(r.FLOPS, c.Rate*1e9)
		}
	}
	r.FLOPSBF16 = max(r.FLOPSBF16, r.FLOPS) // weights in bfloat16 can be widened
	return r
}

func selfTests() []selfTest {
	const operations = 2 * testRows * testInner * testInner
	const elements = testRows * testInner
	return []selfTest{
		{"matrix product", selfTestProduct[float32], selfTestProduct[float64], operations / 1e9, gigaflops},
		{"packed product", selfTestPacked, selfTestProduct[float64], operations / 1e9, gigaflops},
		{"quantized product", selfTestQuantized, selfTestDequantized, 2 * (testRows + 1) * testInner * testBlock * float64(len(testTypes)) / 1e9, gigaflops},
		{"convolution", selfTestConv[float32], selfTestConv[float64], elements / 1e6, "M elements/s"},
		{"scan", selfTestScan[float32], selfTestScan[float64], elements * testState / 1e6, "M updates/s"},
		{"state space duality", selfTestSSD[float32], selfTestSSD[float64], 2 * testRows * testHeads * testHead * testState / 1e6, "M updates/s"},
		{"norm", selfTestNorm[float32], selfTestNorm[float64], elements / 1e6, "M elements/s"},
		{"gated norm", selfTestGatedNorm[float32], selfTestGatedNorm[float64], testRows * testHeads * testHead / 1e6, "M elements/s"},
		{"softplus", selfTestSoftplus[float32], selfTestSoftplus[float64], elements / 1e6, "M elements/s"},
		{"cross entropy", selfTestCrossEntropy[float32], selfTestCrossEntropy[float64], elements / 1e6, "M elements/s"},
	}
}

func (s selfTest) run() Check {
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
	c := Check{Name: s.name, Difference: largestDifference(got, want), Unit: s.unit}
	if c.OK = c.Difference <= testLimit; !math.IsInf(c.Difference, 1) {
		c.Rate = s.amount / best
	}
	return c
}

// largestDifference returns the largest difference, relative to the largest value of want, or infinity if got contains
// NaN.
func largestDifference(got []float32, want []float64) float64 {
	largest, difference := 0.0, 0.0
	for i, w := range want {
		d := math.Abs(float64(got[i]) - w)
		if math.IsNaN(d) {
			return math.Inf(1)
		}
		largest, difference = max(largest, math.Abs(w)), max(difference, d)
	}
	return difference / largest
}

// draw returns random numbers that are exact in both precisions.
func draw[T Float](r *rand.Rand, rows, cols int) Mat[T] {
	v := make([]T, rows*cols)
	for i := range v {
		v[i] = T(float32(r.NormFloat64()))
	}
	return Dense(v, rows, cols)
}

func selfTestProduct[T Float](r *rand.Rand) func() []T {
	x, w := draw[T](r, testRows, testInner), draw[T](r, testInner, testInner)
	y := Dense(make([]T, testRows*testInner), testRows, testInner)
	return func() []T {
		MatMulNT(Set, y, 1, x, w)
		return y.Data
	}
}

func selfTestPacked(r *rand.Rand) func() []float32 {
	x, w := draw[float32](r, testRows, testInner), draw[float32](r, testInner, testInner)
	y := Dense(make([]float32, testRows*testInner), testRows, testInner)
	p := Pack(w)
	return func() []float32 {
		p.Forward(Set, y, x)
		return y.Data
	}
}

// testTypes are the quantized weights that are checked, testBlock elements wide.
var testTypes = []quant.Type{quant.Q8_0, quant.Q4_K, quant.Q5_K, quant.Q6_K, quant.Q4_0, quant.Q5_0, quant.F16}

const testBlock = 256

// selfTestQuantized multiplies weights of each type by many rows and by one.
func selfTestQuantized(r *rand.Rand) func() []float32 {
	var weights []*Packed
	for _, of := range testTypes {
		p, _ := PackQuantized(of, of.Encode(draw[float32](r, testInner, testBlock).Data), testInner, testBlock) // sizes agree
		weights = append(weights, p)
	}
	x := draw[float32](r, testRows+1, testBlock)
	y := Dense(make([]float32, len(weights)*(testRows+1)*testInner), len(weights)*(testRows+1), testInner)
	return func() []float32 {
		for i, p := range weights {
			part := y.Slice(i*(testRows+1), (i+1)*(testRows+1), 0, testInner)
			p.Forward(Set, part.Slice(0, testRows, 0, testInner), x.Slice(0, testRows, 0, testBlock))
			p.Forward(Set, part.Slice(testRows, testRows+1, 0, testInner), x.Slice(testRows, testRows+1, 0, testBlock))
		}
		return y.Data
	}
}

// selfTestDequantized does the same as selfTestQuantized with the plain loops.
func selfTestDequantized(r *rand.Rand) func() []float64 {
	var weights []Mat[float64]
	for _, of := range testTypes {
		w := draw[float32](r, testInner, testBlock)
		of.Dequantize(w.Data, of.Encode(w.Data))
		wide := Dense(make([]float64, len(w.Data)), w.Rows, w.Cols)
		for i, v := range w.Data {
			wide.Data[i] = float64(v)
		}
		weights = append(weights, wide)
	}
	x := draw[float64](r, testRows+1, testBlock)
	y := make([]float64, len(weights)*(testRows+1)*testInner)
	return func() []float64 {
		for i, w := range weights {
			n := (testRows + 1) * testInner
			MatMulNT(Set, Dense(y[i*n:][:n], testRows+1, testInner), 1, x, w)
		}
		return y
	}
}

func selfTestConv[T Float](r *rand.Rand) func() []T {
	const taps = 4
	x := draw[T](r, testRows, testInner)
	c := Conv[T]{W: draw[T](r, testInner, taps).Data, Bias: draw[T](r, 1, testInner).Data, K: taps, Act: SiLU}
	y := Dense(make([]T, testRows*testInner), testRows, testInner)
	return func() []T {
		c.Forward(y, x, nil, nil)
		return y.Data
	}
}

func selfTestScan[T Float](r *rand.Rand) func() []T {
	s := Scan[T]{
		U: draw[T](r, testRows, testInner), DT: draw[T](r, testRows, testInner), Z: draw[T](r, testRows, testInner),
		B: draw[T](r, testRows, testState), C: draw[T](r, testRows, testState),
		ALog: draw[T](r, testInner, testState).Data, D: draw[T](r, 1, testInner).Data,
	}
	y := Dense(make([]T, testRows*testInner), testRows, testInner)
	return func() []T {
		s.Forward(y, nil, nil)
		return y.Data
	}
}

// selfTestSSD computes the output and the input's gradient, in chunks of half the rows, and one step from zeros.
func selfTestSSD[T Float](r *rand.Rand) func() []T {
	const width, size = testHeads * testHead, testHeads * testHead * testState
	s := SSD[T]{
		X: draw[T](r, testRows, width), B: draw[T](r, testRows, testState), C: draw[T](r, testRows, testState), DT: draw[T](r, testRows, testHeads),
		DTBias: draw[T](r, 1, testHeads).Data, ALog: draw[T](r, 1, testHeads).Data, D: draw[T](r, 1, testHeads).Data,
		Groups: 1, Limit: [2]float64{0, math.Inf(1)},
	}
	if is32[T]() {
		s.Chunk = (testRows + 1) / 2
	}
	all := make([]T, (2*testRows+1)*width)
	y, dx := Dense(all, testRows, width), Dense(all[testRows*width:], testRows, width)
	g := SSDGrad[T]{X: dx}
	g.Fresh.X = true
	one := s
	one.X, one.B, one.C, one.DT = s.X.Slice(0, 1, 0, width), s.B.Slice(0, 1, 0, testState), s.C.Slice(0, 1, 0, testState), s.DT.Slice(0, 1, 0, testHeads)
	saved, state := make([]T, SSDSaved(testRows, size, s.Chunk)), make([]T, size)
	return func() []T {
		s.Forward(y, saved, nil)
		s.Backward(g, y, saved, nil)
		clear(state)
		one.Step(Dense(all[2*testRows*width:], 1, width), state)
		return all
	}
}

// selfTestGatedNorm computes the output and the gradient of the gate.
func selfTestGatedNorm[T Float](r *rand.Rand) func() []T {
	const width = testHeads * testHead
	n := GatedNorm[T]{Y: draw[T](r, testRows, width), Z: draw[T](r, testRows, width), W: draw[T](r, 1, width).Data, Groups: 2, Eps: 1e-5}
	all := make([]T, 2*testRows*width)
	o := Dense(all, testRows, width)
	g := GatedNormGrad[T]{Z: Dense(all[testRows*width:], testRows, width)}
	g.Fresh.Z = true
	return func() []T {
		n.Forward(o)
		n.Backward(g, o)
		return all
	}
}

func selfTestNorm[T Float](r *rand.Rand) func() []T {
	x, w := draw[T](r, testRows, testInner), draw[T](r, 1, testInner)
	y := Dense(make([]T, testRows*testInner), testRows, testInner)
	return func() []T {
		RMSNorm(y, x, w.Data, 1e-5)
		return y.Data
	}
}

func selfTestSoftplus[T Float](r *rand.Rand) func() []T {
	x := draw[T](r, testRows, testInner)
	y := make([]T, len(x.Data))
	return func() []T {
		mapElements(y, x.Data, softplus[T], active.vec.softplus)
		return y
	}
}

func selfTestCrossEntropy[T Float](r *rand.Rand) func() []T {
	logits := draw[T](r, testRows, testInner)
	targets := make([]int, testRows)
	for i := range targets {
		targets[i] = r.IntN(testInner)
	}
	nll := make([]float64, testRows)
	d := Dense(make([]T, len(logits.Data)), testRows, testInner)
	return func() []T {
		CrossEntropy(nll, d, logits, targets, 1, 0)
		for i, v := range nll {
			d.Data[i*testInner] += T(v)
		}
		return d.Data
	}
}
