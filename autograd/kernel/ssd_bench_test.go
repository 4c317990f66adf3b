package kernel

import (
	"fmt"
	"math/rand"
	"testing"
	"time"
)

// benchSSD is a layer of mamba2-130m over documents of the given lengths. Its inputs are laid out as in a model: in
// column ranges of the outputs of the convolution and of in_proj.
func benchSSD(rng *rand.Rand, lengths ...int) *SSD[float32] {
	const heads, p, n = 24, 64, 128
	const e = heads * p
	first := documents(0, lengths...)
	rows := len(first)
	xbc, projected := randomMat[float32](rng, rows, e+2*n), randomMat[float32](rng, rows, 2*e+2*n+heads)
	s := &SSD[float32]{
		X: xbc.Slice(0, rows, 0, e), B: xbc.Slice(0, rows, e, e+n), C: xbc.Slice(0, rows, e+n, e+2*n),
		DT: projected.Slice(0, rows, 2*e+2*n, 2*e+2*n+heads), DTBias: make([]float32, heads), ALog: random[float32](rng, heads),
		D: random[float32](rng, heads), Groups: 1, Limit: noLimit, First: first,
	}
	for i := range s.DTBias {
		s.DTBias[i] = -4
	}
	return s
}

// flops returns the number of operations in the products of the chunked form, forward and backward. Triangles are
// counted without their zeros.
func (r *ssdChunks[T]) flops() (forward, backward float64) {
	for _, c := range r.list {
		q := float64(c.hi - c.lo)
		state := 2 * q * float64(r.n*r.p*r.heads)
		within := q * (q + 1) * float64(r.p*r.heads)
		forward += q*(q+1)*float64(r.n*r.Groups) + within
		backward += q*(q+1)*float64(r.n*(3*r.Groups)) + 2*within
		if c.start != fromZeros {
			forward += state
			backward += state
		}
		if c.start == fromChunk {
			backward += state
		}
		if c.feeds {
			forward += state
			backward += 2 * state
		}
	}
	return forward, backward
}

// BenchmarkSSD runs a layer of mamba2-130m over 512 rows: as four documents, like quotes, and as one.
func BenchmarkSSD(b *testing.B) {
	for _, lengths := range [][]int{{128, 128, 128, 128}, {512}} {
		for _, chunk := range []int{32, 64, 128, 256} {
			rng := rand.New(rand.NewSource(1))
			s := benchSSD(rng, lengths...)
			s.Chunk = chunk
			z := s.sizes()
			state := z.heads * z.p * z.n
			y, dy, saved := randomMat[float32](rng, z.rows, z.heads*z.p), randomMat[float32](rng, z.rows, z.heads*z.p), Make[float32](SSDSaved(z.rows, state, chunk))
			g := SSDGrad[float32]{X: randomMat[float32](rng, z.rows, z.heads*z.p), B: randomMat[float32](rng, z.rows, z.n), C: randomMat[float32](rng, z.rows, z.n), DT: randomMat[float32](rng, z.rows, z.heads)}
			g.Fresh.X, g.Fresh.B, g.Fresh.C, g.Fresh.DT = true, true, true, true
			r := s.chunks(nil)
			forward, backward := r.flops()
			name := fmt.Sprintf("%dx%d/chunk%d", len(lengths), lengths[0], chunk)
			b.Run(name+"/forward", func(b *testing.B) {
				for b.Loop() {
					s.Forward(y, saved, nil)
				}
				reportFLOPs(b, Float32, forward)
			})
			b.Run(name+"/backward", func(b *testing.B) {
				for b.Loop() {
					s.Backward(g, dy, saved, nil)
				}
				reportFLOPs(b, Float32, backward)
			})
		}
	}
}

// BenchmarkSSDStep measures one row of a layer of mamba2-130m as a share of the memory bandwidth, which is measured
// right after. States are read and written.
func BenchmarkSSDStep(b *testing.B) {
	for _, batch := range []int{1, 4} {
		rng := rand.New(rand.NewSource(2))
		s := benchSSD(rng, batch)
		z := s.sizes()
		size := z.heads * z.p * z.n
		const layers = 24 // alternated, so that the states come from memory
		h, y := Make[float32](layers*batch*size), randomMat[float32](rng, batch, z.heads*z.p)
		b.Run(fmt.Sprintf("batch%d", batch), func(b *testing.B) {
			at := 0
			for b.Loop() {
				s.Step(y, h[at*batch*size:][:batch*size])
				at = (at + 1) % layers
			}
			rate := 2 * 4 * float64(batch*size) * float64(b.N) / b.Elapsed().Seconds()
			b.StopTimer()
			b.ReportMetric(rate/1e9, "GB/s")
			b.ReportMetric(100*rate/PeakBandwidth(256<<20, 200*time.Millisecond), "%bandwidth")
		})
	}
}
