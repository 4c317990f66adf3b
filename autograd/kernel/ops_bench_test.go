package kernel

import (
	"math/rand"
	"testing"
)

// The sizes of mamba-130m, with 512 rows.
const (
	benchRows   = 512
	benchHidden = 768
	benchInner  = 1536
	benchVocab  = 50280
)

// reportRate reports elements per second and bytes per second, counting each array once.
func reportRate(b *testing.B, elements, bytesEach int) {
	b.Helper()
	rate := float64(elements) * float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(rate/1e9, "Gelem/s")
	b.ReportMetric(rate*float64(bytesEach)/1e9, "GB/s")
}

func BenchmarkElementwise(b *testing.B) {
	x := random[float32](rand.New(rand.NewSource(1)), 1<<16)
	y := make([]float32, len(x))
	for _, f := range []struct {
		name string
		run  func()
	}{
		{"exp", func() { expSlice(y, x) }},
		{"softplus", func() { softplusSlice(y, x) }},
		{"silu", func() { activateSlice(SiLU, y, x) }},
		{"add", func() { AddTo(y, x) }},
		{"sumsquares", func() { SumSquares(x) }},
	} {
		b.Run(f.name, func(b *testing.B) {
			for b.Loop() {
				f.run()
			}
			reportRate(b, len(x), 8)
		})
	}
}

func BenchmarkRMSNorm(b *testing.B) {
	rng := rand.New(rand.NewSource(2))
	x, dy, w := randomMat[float32](rng, benchRows, benchHidden), randomMat[float32](rng, benchRows, benchHidden), random[float32](rng, benchHidden)
	y, dw := randomMat[float32](rng, benchRows, benchHidden), make([]float32, benchHidden)
	b.Run("forward", func(b *testing.B) {
		for b.Loop() {
			RMSNorm(y, x, w, 1e-5)
		}
		reportRate(b, len(x.Data), 8)
	})
	b.Run("backward", func(b *testing.B) {
		for b.Loop() {
			RMSNormGrad(y, dw, dy, x, w, 1e-5)
		}
		reportRate(b, len(x.Data), 16)
	})
}

func BenchmarkConv(b *testing.B) {
	rng := rand.New(rand.NewSource(3))
	x, dy := gapped(rng, benchRows, benchInner, benchInner), randomMat[float32](rng, benchRows, benchInner)
	y := randomMat[float32](rng, benchRows, benchInner)
	c := Conv[float32]{random[float32](rng, benchInner*4), random[float32](rng, benchInner), 4, SiLU}
	b.Run("forward", func(b *testing.B) {
		for b.Loop() {
			c.Forward(y, x, nil, nil)
		}
		reportRate(b, len(y.Data), 8)
	})
	b.Run("backward", func(b *testing.B) {
		for b.Loop() {
			c.Backward(ConvGrad[float32]{X: y}, dy, x, nil, nil, nil)
		}
		reportRate(b, len(y.Data), 16)
	})
}

func BenchmarkCrossEntropy(b *testing.B) {
	rng := rand.New(rand.NewSource(4))
	const rows = 64
	x, g := randomMat[float32](rng, rows, benchVocab), randomMat[float32](rng, rows, benchVocab)
	nll, targets := make([]float64, rows), make([]int, rows)
	b.Run("loss", func(b *testing.B) {
		for b.Loop() {
			CrossEntropy(nll, Mat[float32]{}, x, targets, 1, 0)
		}
		reportRate(b, len(x.Data), 4)
	})
	b.Run("gradient", func(b *testing.B) {
		for b.Loop() {
			CrossEntropy(nll, g, x, targets, 1, 0)
		}
		reportRate(b, len(x.Data), 8)
	})
}

func BenchmarkAdamW(b *testing.B) {
	rng := rand.New(rand.NewSource(5))
	const n = 1 << 22
	w, g, m, v := random[float32](rng, n), random[float32](rng, n), make([]float32, n), make([]float32, n)
	for b.Loop() {
		AdamW(w, g, m, v, AdamWStep{LR: 1e-3, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Step: 1, GradScale: 1})
	}
	reportRate(b, n, 28)
}

func BenchmarkEmbedding(b *testing.B) {
	rng := rand.New(rand.NewSource(6))
	p := Pack(randomMat[float32](rng, 4096, benchHidden))
	y, ids := randomMat[float32](rng, benchRows, benchHidden), make([]int, benchRows)
	for i := range ids {
		ids[i] = rng.Intn(4096)
	}
	for b.Loop() {
		p.Gather(y, ids)
	}
	reportRate(b, len(y.Data), 8)
}

// BenchmarkStep measures decoding without the products: one row of one layer.
func BenchmarkStep(b *testing.B) {
	rng := rand.New(rand.NewSource(7))
	const n = 16
	s := randomScan(rng, 1, benchInner, n, nil)
	f := &Scan[float32]{mat32(s.U), mat32(s.DT), mat32(s.B), mat32(s.C), mat32(s.Z), narrow(s.ALog), narrow(s.D), nil, nil}
	c := Conv[float32]{random[float32](rng, benchInner*4), random[float32](rng, benchInner), 4, SiLU}
	y, h, taps := randomMat[float32](rng, 1, benchInner), make([]float32, benchInner*n), make([]float32, 3*benchInner)
	b.Run("scan", func(b *testing.B) {
		for b.Loop() {
			f.Step(y, h)
		}
	})
	b.Run("conv", func(b *testing.B) {
		for b.Loop() {
			c.Step(y, f.U, taps)
		}
	})
}
