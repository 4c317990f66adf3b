package kernel

import (
	"math"
	"math/rand"
	"testing"
)

func TestRMSNormGrad(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	const rows, m = 5, 7
	x, w, r := randomMat[float64](rng, rows, m), random[float64](rng, m), random[float64](rng, rows*m)
	loss := func() float64 {
		y := make([]float64, rows*m)
		RMSNorm(Dense(y, rows, m), x, w, 1e-5)
		return dot(y, r)
	}
	dx, dw := make([]float64, rows*m), make([]float64, m)
	RMSNormGrad(Dense(dx, rows, m), dw, Dense(r, rows, m), x, w, 1e-5)
	checkGrad(t, "x", x.Data, dx, loss)
	checkGrad(t, "w", w, dw, loss)
}

func TestConvGrad(t *testing.T) {
	rng := rand.New(rand.NewSource(2))
	for _, act := range []Activation{Identity, SiLU, GELU, GELUTanh, Tanh, Sigmoid} {
		for _, first := range [][]int{documents(0, 9), documents(2, 1, 4, 3), documents(0, 1, 2, 3), documents(1, 2), documents(5, 1), documents(0, 2)} {
			const d, k = 3, 4
			rows := len(first)
			c := Conv[float64]{random[float64](rng, d*k), random[float64](rng, d), k, act}
			x, r, carry := randomMat[float64](rng, rows, d), random[float64](rng, rows*d), random[float64](rng, (k-1)*d)
			dTail := random[float64](rng, (k-1)*d)
			loss := func() float64 {
				y, tail := make([]float64, rows*d), make([]float64, (k-1)*d)
				c.Forward(Dense(y, rows, d), x, first, carry)
				c.Tail(tail, x, first, carry)
				return dot(y, r) + dot(tail, dTail)
			}
			g := ConvGrad[float64]{Dense(make([]float64, rows*d), rows, d), make([]float64, d*k), make([]float64, d), make([]float64, (k-1)*d)}
			c.Backward(g, Dense(r, rows, d), x, first, carry, dTail)
			checkGrad(t, "x", x.Data, g.X.Data, loss)
			checkGrad(t, "w", c.W, g.W, loss)
			checkGrad(t, "b", c.Bias, g.Bias, loss)
			checkGrad(t, "carry", carry, g.Carry, loss)
		}
	}
}

// A document split at any row and continued with the carry from Tail gives the same result as the whole document.
func TestConvCarry(t *testing.T) {
	rng := rand.New(rand.NewSource(3))
	const d, k, rows = 3, 4, 9
	c := Conv[float64]{random[float64](rng, d*k), nil, k, SiLU}
	x := randomMat[float64](rng, rows, d)
	want := make([]float64, rows*d)
	c.Forward(Dense(want, rows, d), x, nil, nil)
	for cut := 1; cut < rows; cut++ {
		got, carry := make([]float64, rows*d), make([]float64, (k-1)*d)
		c.Forward(Dense(got[:cut*d], cut, d), x.Slice(0, cut, 0, d), nil, nil)
		c.Tail(carry, x.Slice(0, cut, 0, d), nil, nil)
		first := documents(cut, rows-cut)
		c.Forward(Dense(got[cut*d:], rows-cut, d), x.Slice(cut, rows, 0, d), first, carry)
		near(t, "cut", got, want, 0)
		c.Tail(carry, x.Slice(cut, rows, 0, d), first, carry)
		near(t, "carry", carry, x.Data[(rows-k+1)*d:], 0)
	}
	got, taps := make([]float64, rows*d), make([]float64, (k-1)*d)
	for i := range rows {
		c.Step(Dense(got[i*d:(i+1)*d], 1, d), x.Slice(i, i+1, 0, d), taps)
	}
	near(t, "row by row", got, want, 1e-13) // sums in another order
}

// opTol bounds the error of a float32 elementwise kernel against the float64 loop, relative to the result's rms.
const opTol = 1e-4

func TestConvFloat32(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(3))
		for _, d := range []int{1, 15, 16, 17, 48, 530} {
			for _, k := range []int{2, 4} {
				for _, act := range []Activation{SiLU, Identity, GELU} {
					for _, first := range [][]int{nil, documents(0, 1, 2, 3, 4, 5, 1), documents(1, 6, 4), documents(5, 2), documents(0, 33, 31, 2, 40)} {
						checkConv(t, rng, Conv[float32]{random[float32](rng, d*k), random[float32](rng, d), k, act}, d, first)
					}
				}
			}
		}
	})
}

func checkConv(t *testing.T, rng *rand.Rand, c Conv[float32], d int, first []int) {
	t.Helper()
	rows := len(first)
	if first == nil {
		rows = 11
	}
	if rng.Intn(3) == 0 {
		c.Bias = nil
	}
	plain := Conv[float64]{to64(c.W), nil, c.K, c.Act}
	if c.Bias != nil {
		plain.Bias = to64(c.Bias)
	}
	x, dy, carry := gapped(rng, rows, d, 7), gapped(rng, rows, d, 1), random[float32](rng, (c.K-1)*d)
	y, yIntact := guarded(rows, d, 2)
	want := mat64(y)
	c.Forward(y, x, first, carry)
	plain.Forward(want, mat64(x), first, to64(carry))
	nearMat(t, "y", y, want, opTol)

	dx, dxIntact := guarded(rows, d, 3)
	wantDX := mat64(dx)
	dw, db, wantDW, wantDB := make([]float32, d*c.K), make([]float32, d), make([]float64, d*c.K), make([]float64, d)
	dCarry, dTail, wantDCarry := make([]float32, len(carry)), random[float32](rng, len(carry)), make([]float64, len(carry))
	c.Backward(ConvGrad[float32]{dx, dw, db, dCarry}, dy, x, first, carry, dTail)
	plain.Backward(ConvGrad[float64]{wantDX, wantDW, wantDB, wantDCarry}, mat64(dy), mat64(x), first, to64(carry), to64(dTail))
	nearMat(t, "dx", dx, wantDX, opTol)
	near(t, "dw", dw, wantDW, opTol)
	near(t, "db", db, wantDB, opTol)
	near(t, "dcarry", dCarry, wantDCarry, opTol)
	if !yIntact() || !dxIntact() {
		t.Fatalf("d %d: wrote outside a result", d)
	}
}

func TestRMSNormFloat32(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(4))
		for m := 1; m < 70; m++ {
			const rows = 9
			x, w, dy := gapped(rng, rows, m, 1), random[float32](rng, m), gapped(rng, rows, m, 1)
			y, yIntact := guarded(rows, m, 2)
			dx, dxIntact := guarded(rows, m, 2)
			want, wantDX := mat64(y), mat64(dx)
			dw, wantDW := make([]float32, m), make([]float64, m)
			RMSNorm(y, x, w, 1e-5)
			RMSNorm(want, mat64(x), to64(w), 1e-5)
			nearMat(t, "y", y, want, opTol)
			RMSNormGrad(dx, dw, dy, x, w, 1e-5)
			RMSNormGrad(wantDX, wantDW, mat64(dy), mat64(x), to64(w), 1e-5)
			nearMat(t, "dx", dx, wantDX, opTol)
			near(t, "dw", dw, wantDW, opTol)
			if !yIntact() || !dxIntact() {
				t.Fatalf("m %d: wrote outside a result", m)
			}
		}
	})
}

func TestCrossEntropyFloat32(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(5))
		for _, v := range []int{1, 2, 15, 16, 17, 31, 33, 1000, 1024, 2055} {
			const rows = 4
			x := gapped(rng, rows, v, 1)
			targets := []int{0, v - 1, -1, v / 2}
			nll, wantNLL := make([]float64, rows), make([]float64, rows)
			g, intact := guarded(rows, v, 3)
			want := mat64(g)
			CrossEntropy(wantNLL, want, mat64(x), targets, 0.25, 0.1)
			CrossEntropy(nll, g, x, targets, 0.25, 0.1)
			near(t, "nll", nll, wantNLL, opTol)
			nearMat(t, "gradient", g, want, opTol)
			CrossEntropy(nll, x, x, targets, 0.25, 0.1)
			nearMat(t, "gradient in place", x, want, opTol)
			if !intact() {
				t.Fatalf("v %d: wrote outside the gradient", v)
			}
		}
	})
}

func expSlice[T Float](y, x []T)      { mapElements(y, x, exp[T], active.vec.exp) }
func softplusSlice[T Float](y, x []T) { mapElements(y, x, softplus[T], active.vec.softplus) }

// Elementwise kernels agree with their loops for every length around the vector width.
func TestElementwiseLengths(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(6))
		for n := 1; n < 70; n++ {
			x := random[float32](rng, n)
			y, intact := guarded(1, n, 0)
			for name, f := range map[string]struct {
				fast  func(y, x []float32)
				plain func(y, x []float64)
			}{
				"exp":      {expSlice[float32], expSlice[float64]},
				"softplus": {softplusSlice[float32], softplusSlice[float64]},
				"silu":     {func(y, x []float32) { activateSlice(SiLU, y, x) }, func(y, x []float64) { activateSlice(SiLU, y, x) }},
				"sigmoid":  {func(y, x []float32) { activateSlice(Sigmoid, y, x) }, func(y, x []float64) { activateSlice(Sigmoid, y, x) }},
				"add":      {AddTo[float32], AddTo[float64]},
			} {
				want := to64(y.Data)
				f.fast(y.Data, x)
				f.plain(want, to64(x))
				near(t, name, y.Data, want, opTol)
			}
			if !intact() {
				t.Fatalf("n %d: wrote outside the result", n)
			}
			if got, want := SumSquares(x), dot(to64(x), to64(x)); math.Abs(got-want) > 1e-9*want {
				t.Fatalf("n %d: sum of squares %g, want %g", n, got, want)
			}
		}
	})
}

func TestAdamWFloat32(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(7))
		for n := 1; n < 40; n++ {
			w, g, m, v := random[float32](rng, n), random[float32](rng, n), random[float32](rng, n), make([]float32, n)
			w64, m64, v64 := to64(w), to64(m), to64(v)
			h := AdamWStep{LR: 0.1, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8, WeightDecay: 0.1, Step: 3, GradScale: 2}
			AdamW(w, g, m, v, h)
			AdamW(w64, to64(g), m64, v64, h)
			near(t, "w", w, w64, opTol)
			near(t, "m", m, m64, opTol)
			near(t, "v", v, v64, opTol)
		}
	})
}

func TestOpsThreads(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(8))
		const rows, d = 150, 333
		x, dy := randomMat[float32](rng, rows, d), randomMat[float32](rng, rows, d)
		w := random[float32](rng, d)
		c := Conv[float32]{random[float32](rng, 4*d), w, 4, SiLU}
		sameBits(t, "ops", func() []float32 {
			y, dx, dw, cw := make([]float32, rows*d), make([]float32, rows*d), make([]float32, d), make([]float32, 4*d)
			RMSNorm(Dense(y, rows, d), x, w, 1e-5)
			RMSNormGrad(Dense(dx, rows, d), dw, dy, x, w, 1e-5)
			c.Backward(ConvGrad[float32]{X: Dense(dx, rows, d), W: cw, Bias: dw}, dy, x, nil, nil, nil)
			return append(append(append(y, dx...), dw...), float32(SumSquares(x.Data)))
		})
	})
}

func TestCrossEntropyGrad(t *testing.T) {
	rng := rand.New(rand.NewSource(4))
	const rows, v = 4, 9
	targets := []int{3, -1, 0, 8}
	for _, smoothing := range []float64{0, 0.1} {
		x := randomMat[float64](rng, rows, v)
		nll := make([]float64, rows)
		loss := func() float64 {
			CrossEntropy(nll, Mat[float64]{}, x, targets, 0, smoothing)
			return 0.5 * (nll[0] + nll[1] + nll[2] + nll[3])
		}
		dx := make([]float64, rows*v)
		CrossEntropy(nll, Dense(dx, rows, v), x, targets, 0.5, smoothing)
		if nll[1] != 0 {
			t.Fatalf("ignored row has loss %g", nll[1])
		}
		checkGrad(t, "logits", x.Data, dx, loss)
	}
}

// AdamW agrees with torch.optim.AdamW's arithmetic, written out in float64.
func TestAdamW(t *testing.T) {
	rng := rand.New(rand.NewSource(5))
	const n = 37
	w, m, v := random[float64](rng, n), make([]float64, n), make([]float64, n)
	want, wm, wv := append([]float64(nil), w...), make([]float64, n), make([]float64, n)
	for step := 1; step <= 3; step++ {
		g := random[float64](rng, n)
		AdamW(w, g, m, v, AdamWStep{LR: 0.01, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1, Step: step, GradScale: 0.5})
		for i := range want {
			gi := 0.5 * g[i]
			want[i] *= 1 - 0.01*0.1
			wm[i] = 0.9*wm[i] + 0.1*gi
			wv[i] = 0.999*wv[i] + 0.001*gi*gi
			denom := math.Sqrt(wv[i])/math.Sqrt(1-math.Pow(0.999, float64(step))) + 1e-8
			want[i] -= 0.01 / (1 - math.Pow(0.9, float64(step))) * wm[i] / denom
		}
	}
	near(t, "w", w, want, 1e-12)
}

func TestScatterAddGather(t *testing.T) {
	rng := rand.New(rand.NewSource(6))
	ids := []int{2, 0, 2, 2, 4}
	table, dy := randomMat[float64](rng, 5, 300), randomMat[float64](rng, len(ids), 300)
	y := Dense(make([]float64, len(ids)*300), len(ids), 300)
	Gather(y, table, ids)
	near(t, "gather", y.Row(3), table.Row(2), 0)
	sum := Dense(make([]float64, 5*300), 5, 300)
	ScatterAdd(sum, dy, ids)
	for j := range 300 {
		if got, want := sum.Row(2)[j], dy.Row(0)[j]+dy.Row(2)[j]+dy.Row(3)[j]; got != want {
			t.Fatalf("column %d: %g, want %g", j, got, want)
		}
	}
}

// In float32, rows with the same id are added in their order.
func TestScatterAdd_order(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(7))
		ids := []int{1, 0, 1, 1}
		dy := randomMat[float32](rng, len(ids), 300)
		sum := Dense(make([]float32, 2*300), 2, 300)
		ScatterAdd(sum, dy, ids)
		for j := range 300 {
			if got, want := sum.Row(1)[j], dy.Row(0)[j]+dy.Row(2)[j]+dy.Row(3)[j]; got != want {
				t.Fatalf("column %d: %g, want %g", j, got, want)
			}
		}
	})
}

// ulpError returns |got − want| in units in the last place of want as a float32; for denormals, of the smallest normal
// number.
func ulpError(got float32, want float64) float64 {
	w := float32(want)
	_, e := math.Frexp(math.Max(math.Abs(float64(w)), 0x1p-126))
	return math.Abs(float64(got)-want) / math.Ldexp(1, e-24)
}

func TestVectorMathULP(t *testing.T) {
	sigm := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	for _, f := range []struct {
		name  string
		fast  func(y, x []float32)
		truth func(float64) float64
		ulp   float64
	}{
		{"exp", expSlice[float32], math.Exp, 2},
		{"sigmoid", func(y, x []float32) { activateSlice(Sigmoid, y, x) }, sigm, 4},
		{"silu", func(y, x []float32) { activateSlice(SiLU, y, x) }, func(x float64) float64 { return x * sigm(x) }, 4},
		{"softplus", softplusSlice[float32], func(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }, 4},
	} {
		t.Run(f.name, func(t *testing.T) {
			eachISA(t, func(t *testing.T) { checkULP(t, f.fast, f.truth, f.ulp) })
		})
	}
}

func checkULP(t *testing.T, fast func(y, x []float32), truth func(float64) float64, limit float64) {
	var x []float32
	for i := range 400_001 {
		x = append(x, float32(i-200_000)*(110.0/200_000))
	}
	for e := -30; e < 1; e++ {
		x = append(x, float32(math.Ldexp(1.37, e)), float32(math.Ldexp(-1.37, e)))
	}
	x = append(x, 0, float32(math.Inf(-1)))
	y := make([]float32, len(x))
	fast(y, x)
	worst, at := 0.0, float32(0)
	for i, v := range x {
		want := truth(float64(v))
		if math.IsInf(float64(v), -1) && math.IsNaN(want) { // x·σ(x) at −∞ is 0 in the limit
			continue
		}
		if want > math.MaxFloat32 {
			if !math.IsInf(float64(y[i]), 1) {
				t.Fatalf("at %g: %g, want +Inf", v, y[i])
			}
			continue
		}
		if e := ulpError(y[i], want); !(e <= worst) {
			worst, at = e, v
		}
	}
	if !(worst <= limit) {
		t.Fatalf("%.2f ulp at %g, want at most %g", worst, at, limit)
	}
	t.Logf("%.2f ulp", worst)
	x = []float32{float32(math.NaN())}
	fast(x, x)
	if x[0] == x[0] {
		t.Fatalf("NaN gives %g", x[0])
	}
}
