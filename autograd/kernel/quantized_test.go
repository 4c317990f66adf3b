package kernel

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"mambatrain/internal/quant"
)

// quantizedTypes are the types that can be written, and one that can only be read.
var quantizedTypes = []quant.Type{
	quant.Q8_0, quant.Q4_K, quant.Q5_K, quant.Q6_K, quant.Q4_0, quant.Q5_0, quant.Q4_1, quant.Q5_1, quant.F16, quant.BF16, quant.F32, quant.IQ4_NL,
}

// quantized returns a random weight of the given type.
func quantized(rng *rand.Rand, of quant.Type, out, in int) *Packed {
	var data []byte
	if of == quant.IQ4_NL { // IQ4_NL has the same layout as Q4_0
		data = quant.Q4_0.Encode(random[float32](rng, out*in))
	} else {
		data = of.Encode(random[float32](rng, out*in))
	}
	p, err := PackQuantized(of, data, out, in)
	if err != nil {
		panic(err)
	}
	return p
}

// widths returns widths around the boundaries of strips and of blocks of k.
func widths(of quant.Type) []int {
	switch of.Block() {
	case 1:
		return []int{1, 7, 16, 31, 32, 48, 65, 400}
	case 32:
		return []int{32, 64, 96, 160, 416, 800}
	}
	return []int{256, 512, 768, 1280}
}

// A quantized weight multiplies as its dequantized elements do, in every mode, for products of several rows and of
// one.
func TestQuantized(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(11))
		for _, of := range quantizedTypes {
			for _, in := range widths(of) {
				for _, m := range []int{1, 2 + rng.Intn(fewRows-1), fewRows + 1 + rng.Intn(30)} {
					checkQuantized(t, rng, of, m, outerSizes[rng.Intn(len(outerSizes))], in)
				}
			}
		}
	})
}

func checkQuantized(t *testing.T, rng *rand.Rand, of quant.Type, m, out, in int) {
	t.Helper()
	p := quantized(rng, of, out, in)
	w := p.unpacked()
	mode := Mode(rng.Intn(2))
	label := fmt.Sprintf("%v mode %d rows %d out %d in %d ", of, mode, m, out, in)
	x := gapped(rng, m, in, 2)
	y, intact := guarded(m, out, 1)
	for i := range m {
		clear(y.Row(i))
	}
	want := mat64(y)
	p.Forward(mode, y, x)
	MatMulNT(mode, want, 1, mat64(x), mat64(w))
	nearMat(t, label+"forward", y, want, gemmTol)

	bias := randomMat[float32](rng, 1, out).Data
	p.Forward(Set, y, x)
	AddRow(y, bias)
	want = mat64(y)
	p.ForwardBias(y, x, bias)
	nearMat(t, label+"forward with bias", y, want, 0)
	if !intact() {
		t.Fatalf("%s: wrote outside y", label)
	}

	dy := gapped(rng, m, out, 2)
	dx, intact := guarded(m, in, 1)
	for i := range m {
		clear(dx.Row(i))
	}
	want = mat64(dx)
	p.Backward(mode, dx, dy)
	MatMulNN(mode, want, 1, mat64(dy), mat64(w))
	nearMat(t, label+"backward", dx, want, gemmTol)
	if !intact() {
		t.Fatalf("%s: wrote outside dx", label)
	}
}

func TestQuantizedLoRA(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(12))
		for _, of := range []quant.Type{quant.Q8_0, quant.Q4_K, quant.F16} {
			for _, m := range []int{1, fewRows + 1, 48} {
				checkLoRA(t, rng, quantized(rng, of, 80, 512), m, 8)
			}
		}
	})
}

// Gathered rows equal what package quant reads, bit for bit.
func TestQuantizedGather(t *testing.T) {
	rng := rand.New(rand.NewSource(13))
	for _, of := range quantizedTypes {
		p := quantized(rng, of, 9, 512)
		_, data, ok := p.Quantized()
		if !ok || p.Bytes() != len(data) {
			t.Fatalf("%v: %d bytes of %d, %v", of, p.Bytes(), len(data), ok)
		}
		want := make([]float32, 9*512)
		of.Dequantize(want, data)
		for i, v := range p.unpacked().Data {
			if v != want[i] {
				t.Fatalf("%v: element %d is %g, want %g", of, i, v, want[i])
			}
		}
	}
}

func TestQuantizedThreads(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(14))
		for _, of := range []quant.Type{quant.Q8_0, quant.Q4_K, quant.Q6_K, quant.F16} {
			p := quantized(rng, of, 530, 256)
			for _, m := range []int{1, 37} {
				x, dy := randomMat[float32](rng, m, p.In), randomMat[float32](rng, m, p.Out)
				sameBits(t, of.String(), func() []float32 {
					y, dx := make([]float32, m*p.Out), make([]float32, m*p.In)
					p.Forward(Set, Dense(y, m, p.Out), x)
					p.Backward(Set, Dense(dx, m, p.In), dy)
					return append(y, dx...)
				})
			}
		}
	})
}

func TestPackQuantized_refuses(t *testing.T) {
	for _, c := range []struct {
		of             quant.Type
		bytes, out, in int
		want           string
	}{
		{quant.Q4_K, 144, 1, 255, "multiples of 256"},
		{quant.Q4_K, 143, 1, 256, "143 bytes, want 1 rows of 144"},
		{quant.Q8_0, 34, 2, 32, "34 bytes, want 2 rows"},
		{quant.Q8_0, 0, 0, 32, "(0, 32)"},
		{29, 100, 1, 256, "IQ1_M cannot be read"},
	} {
		if _, err := PackQuantized(c.of, make([]byte, c.bytes), c.out, c.in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v (%d, %d): error is %v, want %q", c.of, c.out, c.in, err, c.want)
		}
	}
}

// randomBlocks returns a weight of random bytes, with finite scales.
func randomBlocks(rng *rand.Rand, of quant.Type, out, in int) *blocks {
	b := &blocks{of, make([]byte, out*of.Bytes(in)), of.Bytes(in)}
	rng.Read(b.data)
	halves := []int{1}
	switch of {
	case quant.Q4_1, quant.Q5_1, quant.Q4_K, quant.Q5_K:
		halves = []int{1, 3}
	case quant.Q6_K:
		halves = []int{209}
	case quant.F32:
		halves = []int{3}
	}
	for o := 0; o < len(b.data); o += of.Bytes(of.Block()) {
		for _, h := range halves {
			b.data[o+h] &^= 0x40 // below 2
		}
	}
	return b
}

// Kernels read the same bits as the plain loops, at every position and for any number of rows, and their products
// agree with them.
func TestQuantKernels(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(15))
		for of, form := range quantForms {
			if form.values == 0 {
				continue
			}
			of := quant.Type(of)
			width := min(strip, form.values)
			for n := range 4 {
				in := (n + 1) * form.values
				b := randomBlocks(rng, of, maxDotRows+2, in)
				for i := 0; i < in; i += width {
					checkReadStrip(t, rng, b, i, width)
				}
				checkDotRows(t, rng, b, in)
			}
		}
	})
}

func checkReadStrip(t *testing.T, rng *rand.Rand, b *blocks, i, width int) {
	t.Helper()
	for rows := 1; rows <= maxDotRows; rows += 1 + rng.Intn(5) {
		y, intact := guarded(rows, width, 3)
		want := Dense(make([]float32, rows*width), rows, width)
		b.readStrip(y, 1, i)
		b.readStripRef(want, 1, i)
		for r := range rows {
			for c, w := range want.Row(r) {
				if y.Row(r)[c] != w {
					t.Fatalf("%v: element %d of row %d is %g, want %g", b.of, i+c, r, y.Row(r)[c], w)
				}
			}
		}
		if !intact() {
			t.Fatalf("%v: wrote outside y", b.of)
		}
	}
}

func checkDotRows(t *testing.T, rng *rand.Rand, b *blocks, in int) {
	t.Helper()
	x := randomMat[float32](rng, 2, in)
	prepared := b.prepare(x)
	defer prepared.close()
	for rows := 1; rows <= maxDotRows+1; rows++ {
		y, intact := guarded(1, rows, 0)
		want, w := make([]float64, rows), make([]float32, in)
		b.dotRows(y.Data, prepared, 1, 1)
		for r := range want {
			b.of.Dequantize(w, b.row(1+r))
			want[r] = dot(to64(w), to64(x.Row(1)))
		}
		near(t, fmt.Sprintf("%v, %d rows of %d", b.of, rows, in), y.Data, want, quantTol)
		if !intact() {
			t.Fatalf("%v: wrote outside y", b.of)
		}
	}
}

// quantTol bounds the error of inner products whose scales and offsets are factored out: a few times that of float32.
const quantTol = 1e-5
