package kernel

import (
	"fmt"
	"math/rand"
	"testing"
	"time"

	"mambatrain/internal/quant"
)

// BenchmarkQuantized alternates products with quantized and with float32 weights. "×float32" is the speed relative to
// float32. Weights of some sizes fit in the caches; the head does not.
func BenchmarkQuantized(b *testing.B) {
	rng := rand.New(rand.NewSource(6))
	for _, s := range []struct {
		name    string
		out, in int
		rows    []int
	}{
		{"head", 50280, 768, []int{1, 2, 4, 8, 16}}, {"cached", 256, 768, []int{1}},
		{"in_proj", 3072, 768, []int{64, 512}}, {"out_proj", 768, 1536, []int{512}},
	} {
		plain := Pack(randomMat[float32](rng, s.out, s.in))
		for _, of := range []quant.Type{quant.Q8_0, quant.Q4_K, quant.Q5_K, quant.Q6_K, quant.Q4_0, quant.Q5_0, quant.F16} {
			row := of.Encode(random[float32](rng, 16*s.in))
			data := make([]byte, 0, s.out*len(row)/16)
			for len(data) < s.out*len(row)/16 {
				data = append(data, row...)
			}
			p, err := PackQuantized(of, data[:s.out*len(row)/16], s.out, s.in)
			if err != nil {
				b.Fatal(err)
			}
			for _, rows := range s.rows {
				x, y := randomMat[float32](rng, rows, s.in), randomMat[float32](rng, rows, s.out)
				b.Run(fmt.Sprintf("%s/%v/rows%d/forward", s.name, of, rows), func(b *testing.B) {
					compare(b, p.Bytes(), func(p *Packed) { p.Forward(Set, y, x) }, p, plain)
				})
				if rows > 16 {
					b.Run(fmt.Sprintf("%s/%v/rows%d/backward", s.name, of, rows), func(b *testing.B) {
						compare(b, p.Bytes(), func(p *Packed) { p.Backward(Set, x, y) }, p, plain)
					})
				}
			}
		}
	}
}

// compare reports the rate at which f reads the bytes of p, and its speed relative to f with plain.
func compare(b *testing.B, bytes int, f func(*Packed), p, plain *Packed) {
	var fast, slow time.Duration
	for b.Loop() {
		t := time.Now()
		f(plain)
		u := time.Now()
		f(p)
		slow += u.Sub(t)
		fast += time.Since(u)
	}
	b.ReportMetric(float64(slow)/float64(fast), "×float32")
	b.ReportMetric(float64(bytes)*float64(b.N)/fast.Seconds()/1e9, "GB/s")
}
