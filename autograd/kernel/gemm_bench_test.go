package kernel

import (
	"fmt"
	"math/rand"
	"testing"
	"time"
)

// peakTime is how long a benchmark measures the arithmetic peak for comparison.
const peakTime = 30 * time.Millisecond

// reportFLOPs reports GFLOP/s and the share of the peak, which is measured right afterwards.
func reportFLOPs(b *testing.B, format Format, flops float64) {
	b.Helper()
	rate := flops * float64(b.N) / b.Elapsed().Seconds()
	b.StopTimer()
	b.ReportMetric(rate/1e9, "GFLOP/s")
	b.ReportMetric(100*rate/PeakFLOPS(format, peakTime), "%peak")
}

// layerShapes are mamba-130m's frozen weights.
var layerShapes = []struct {
	name    string
	out, in int
}{
	{"in_proj", 3072, 768}, {"x_proj", 80, 1536}, {"dt_proj", 1536, 48}, {"out_proj", 768, 1536}, {"lm_head", 50280, 768},
}

func BenchmarkPacked(b *testing.B) {
	rng := rand.New(rand.NewSource(1))
	for _, s := range layerShapes {
		for format, p := range packings(randomMat[float32](rng, s.out, s.in)) {
			f := Float32
			if p.isBF16() {
				f = BFloat16
			}
			for _, rows := range []int{192, 512} {
				if s.out > 10000 {
					rows /= 4
				}
				x, y := randomMat[float32](rng, rows, s.in), randomMat[float32](rng, rows, s.out)
				flops := 2 * float64(rows) * float64(s.out) * float64(s.in)
				b.Run(fmt.Sprintf("%s/%s/rows%d/forward", s.name, format, rows), func(b *testing.B) {
					for b.Loop() {
						p.Forward(Set, y, x)
					}
					reportFLOPs(b, f, flops)
				})
				b.Run(fmt.Sprintf("%s/%s/rows%d/backward", s.name, format, rows), func(b *testing.B) {
					for b.Loop() {
						p.Backward(Set, x, y)
					}
					reportFLOPs(b, f, flops)
				})
			}
		}
	}
}

func BenchmarkMatMul(b *testing.B) {
	rng := rand.New(rand.NewSource(2))
	for _, s := range append(layerShapes[:4:4], struct {
		name    string
		out, in int
	}{"square", 1024, 1024}) {
		rows := 512
		if s.name == "square" {
			rows = 1024
		}
		x, y, w := randomMat[float32](rng, rows, s.in), randomMat[float32](rng, rows, s.out), randomMat[float32](rng, s.out, s.in)
		flops := 2 * float64(rows) * float64(s.out) * float64(s.in)
		b.Run(s.name+"/NT", func(b *testing.B) {
			for b.Loop() {
				MatMulNT(Set, y, 1, x, w)
			}
			reportFLOPs(b, Float32, flops)
		})
		b.Run(s.name+"/NN", func(b *testing.B) {
			for b.Loop() {
				MatMulNN(Set, x, 1, y, w)
			}
			reportFLOPs(b, Float32, flops)
		})
		b.Run(s.name+"/TN", func(b *testing.B) {
			for b.Loop() {
				MatMulTN(Set, w, 1, y, x)
			}
			reportFLOPs(b, Float32, flops)
		})
	}
}

func BenchmarkPackedSquare(b *testing.B) {
	rng := rand.New(rand.NewSource(3))
	const n = 1024
	x, y := randomMat[float32](rng, n, n), randomMat[float32](rng, n, n)
	for format, p := range packings(randomMat[float32](rng, n, n)) {
		f := Float32
		if p.isBF16() {
			f = BFloat16
		}
		b.Run(format, func(b *testing.B) {
			for b.Loop() {
				p.Forward(Set, y, x)
			}
			reportFLOPs(b, f, 2*n*n*n)
		})
	}
}

// BenchmarkLoRA measures one step of one layer's linear maps, forward and backward, with and without adapters.
func BenchmarkLoRA(b *testing.B) {
	rng := rand.New(rand.NewSource(4))
	const rank = 8
	for _, s := range layerShapes[:4] {
		p := Pack(randomMat[float32](rng, s.out, s.in))
		for _, rows := range []int{192, 512} {
			x, y, dx := randomMat[float32](rng, rows, s.in), randomMat[float32](rng, rows, s.out), randomMat[float32](rng, rows, s.in)
			ad := LoRA{randomMat[float32](rng, rank, s.in), randomMat[float32](rng, s.out, rank), 2}
			g := LoRAGrad{randomMat[float32](rng, rank, s.in), randomMat[float32](rng, s.out, rank)}
			z := randomMat[float32](rng, rows, rank)
			name := fmt.Sprintf("%s/rows%d", s.name, rows)
			b.Run(name+"/plain", func(b *testing.B) {
				for b.Loop() {
					p.Forward(Set, y, x)
					p.Backward(Set, dx, y)
				}
			})
			b.Run(name+"/adapted", func(b *testing.B) {
				for b.Loop() {
					p.ForwardLoRA(Set, y, x, ad, z)
					p.BackwardLoRA(Set, dx, g, y, x, z, ad)
				}
			})
		}
	}
}

// BenchmarkDecode reports the rate at which a product with one row reads a weight, and its share of the bandwidth,
// measured right after.
func BenchmarkDecode(b *testing.B) {
	rng := rand.New(rand.NewSource(5))
	for format, p := range packings(randomMat[float32](rng, 50280, 768)) {
		for _, rows := range []int{1, 4} {
			x, y := randomMat[float32](rng, rows, p.In), randomMat[float32](rng, rows, p.Out)
			b.Run(fmt.Sprintf("%s/rows%d", format, rows), func(b *testing.B) {
				for b.Loop() {
					p.Forward(Set, y, x)
				}
				rate := float64(p.Bytes()) * float64(b.N) / b.Elapsed().Seconds()
				b.StopTimer()
				b.ReportMetric(rate/1e9, "GB/s")
				b.ReportMetric(100*rate/PeakBandwidth(256<<20, 200*time.Millisecond), "%bandwidth")
			})
		}
	}
}
