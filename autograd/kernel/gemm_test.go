package kernel

import (
	"fmt"
	"math/rand"
	"slices"
	"testing"

	"mambatrain/internal/float16"
)

// gemmTol bounds the error of a float32 product of k terms against float64, relative to the result's rms. Rounding
// grows like √k·2⁻²⁴, far below it; a missing or duplicated term is far above it.
const gemmTol = 2e-4

// bf16Tol is gemmTol for activations rounded to bfloat16, 8 bits.
const bf16Tol = 3e-2

// Sizes around every block boundary of the tiles: heights 2, 6, 14, widths 16 and 32, transposes of 16 and 32.
var (
	rowSizes   = []int{1, 2, 3, 5, 6, 7, 13, 14, 15, 16, 17, 27, 28, 29, 43, 100}
	outerSizes = []int{1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 47, 48, 64, 80, 97}
	innerSizes = []int{1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 65, 255, 256, 257, 300}
)

// someShapes calls f with every row size, combined with random other sizes.
func someShapes(rng *rand.Rand, f func(m, n, k int)) {
	for _, m := range rowSizes {
		for range 6 {
			f(m, outerSizes[rng.Intn(len(outerSizes))], innerSizes[rng.Intn(len(innerSizes))])
		}
	}
}

func gapped(rng *rand.Rand, rows, cols, gap int) Mat[float32] {
	return Mat[float32]{random[float32](rng, rows*(cols+gap)), rows, cols, cols + gap}
}

func TestMatMul(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(1))
		someShapes(rng, func(m, n, k int) {
			for mode := Set; mode <= Add; mode++ {
				gap := rng.Intn(3)
				checkMatMul(t, "NT", mode, m, n, k, gapped(rng, m, k, gap), gapped(rng, n, k, gap), MatMulNT[float32], MatMulNT[float64])
				checkMatMul(t, "NN", mode, m, n, k, gapped(rng, m, k, gap), gapped(rng, k, n, gap), MatMulNN[float32], MatMulNN[float64])
				checkMatMul(t, "TN", mode, m, n, k, gapped(rng, k, m, gap), gapped(rng, k, n, gap), MatMulTN[float32], MatMulTN[float64])
			}
		})
	})
}

type matmul[T Float] func(mode Mode, c Mat[T], alpha T, a, b Mat[T])

func checkMatMul(t *testing.T, name string, mode Mode, m, n, k int, a, b Mat[float32], fast matmul[float32], plain matmul[float64]) {
	t.Helper()
	c, intact := guarded(m, n, 3)
	for i := range m {
		for j := range n {
			c.Row(i)[j] = float32(i - j)
		}
	}
	want := mat64(c)
	fast(mode, c, 0.5, a, b)
	plain(mode, want, 0.5, mat64(a), mat64(b))
	label := fmt.Sprintf("%s mode %d m %d n %d k %d", name, mode, m, n, k)
	nearMat(t, label, c, want, gemmTol)
	if !intact() {
		t.Fatalf("%s: wrote outside the result", label)
	}
}

// Tiles of every height and width compute the same bits of a row as a tile of height 1, and write nothing else.
func TestTile(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(8))
		for height := 1; height <= active.height; height++ {
			for w, tile := range active.tile[height] {
				if tile == nil {
					continue
				}
				columns := max(w*vectorStep, narrowTile)
				for k := 1; k <= 18; k++ {
					a, b := gapped(rng, k, height, 0), gapped(rng, k, columns, panel)
					checkTile(t, fmt.Sprintf("%d × %d, %d steps", height, columns, k), tile, a, b)
				}
			}
		}
	})
}

// checkTile compares c = aᵀ·b and c += aᵀ·b with tiles of one row.
func checkTile(t *testing.T, label string, tile tileFunc, a, b Mat[float32]) {
	t.Helper()
	height, columns := a.Cols, b.Cols
	c, intact := guarded(height, columns, 3)
	want := Dense(make([]float32, panel), 1, panel)
	for add := range 2 {
		for i := range height {
			row := c.Row(i)
			for j := range row {
				row[j] = float32(i - j)
			}
		}
		before := slices.Clone(c.Data)
		tile(a.Rows, &a.Data[0], &b.Data[0], b.Stride, &c.Data[0], c.Stride, add, &b.Data[0], 0)
		if !intact() {
			t.Fatalf("%s: wrote outside the result", label)
		}
		for i := range height {
			copy(want.Data, before[i*c.Stride:][:columns])
			var ai []float32
			for l := range a.Rows {
				ai = append(ai, a.Row(l)[i])
			}
			active.tile[1][2](a.Rows, &ai[0], &b.Data[0], b.Stride, &want.Data[0], panel, add, &b.Data[0], 0)
			if !slices.Equal(c.Row(i), want.Data[:columns]) {
				t.Fatalf("%s, add %d: row %d is %v, a tile of one row computes %v", label, add, i, c.Row(i), want.Data[:columns])
			}
		}
	}
}

// The plain loops themselves, against the definition.
func TestMatMulPlain(t *testing.T) {
	rng := rand.New(rand.NewSource(2))
	const m, n, k = 5, 7, 6
	a, b := randomMat[float64](rng, m, k), randomMat[float64](rng, k, n)
	want := make([]float64, m*n)
	for i := range m {
		for j := range n {
			for l := range k {
				want[i*n+j] += 2 * a.Row(i)[l] * b.Row(l)[j]
			}
		}
	}
	transpose := func(x Mat[float64]) Mat[float64] {
		y := Dense(make([]float64, x.Rows*x.Cols), x.Cols, x.Rows)
		for i := range x.Rows {
			for j, v := range x.Row(i) {
				y.Row(j)[i] = v
			}
		}
		return y
	}
	c := Dense(make([]float64, m*n), m, n)
	MatMulNN(Set, c, 2, a, b)
	near(t, "NN", c.Data, want, 1e-14)
	MatMulNT(Set, c, 2, a, transpose(b))
	near(t, "NT", c.Data, want, 1e-14)
	MatMulTN(Set, c, 2, transpose(a), b)
	near(t, "TN", c.Data, want, 1e-14)
}

// packings returns w packed in both formats, keyed by format name.
func packings(w Mat[float32]) map[string]*Packed {
	h := make([]uint16, w.Rows*w.Cols)
	for i := range w.Rows {
		for j, v := range w.Row(i) {
			h[i*w.Cols+j] = float16.BF16(v)
		}
	}
	return map[string]*Packed{"float32": Pack(w), "bf16": PackBF16(h, w.Rows, w.Cols)}
}

// unpacked returns the weight (out, in) that p was packed from, rounded to bfloat16 if p is.
func (p *Packed) unpacked() Mat[float32] {
	ids := make([]int, p.Out)
	for o := range ids {
		ids[o] = o
	}
	w := Dense(make([]float32, p.Out*p.In), p.Out, p.In)
	p.Gather(w, ids)
	return w
}

func (p *Packed) tolerance() float64 {
	if p.multipliesBF16() {
		return bf16Tol
	}
	return gemmTol
}

func TestPacked(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(3))
		someShapes(rng, func(m, out, in int) {
			for format, p := range packings(gapped(rng, out, in, 1)) {
				w := p.unpacked()
				mode := Mode(rng.Intn(2))
				label := fmt.Sprintf("%s mode %d rows %d out %d in %d ", format, mode, m, out, in)

				x := gapped(rng, m, in, 2)
				y, intact := guarded(m, out, 1)
				for i := range m {
					clear(y.Row(i))
				}
				want := mat64(y)
				p.Forward(mode, y, x)
				MatMulNT(mode, want, 1, mat64(x), mat64(w))
				nearMat(t, label+"forward", y, want, p.tolerance())
				if !intact() {
					t.Fatalf("%s: wrote outside y", label)
				}

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
				nearMat(t, label+"backward", dx, want, p.tolerance())
				if !intact() {
					t.Fatalf("%s: wrote outside dx", label)
				}
			}
		})
	})
}

// A bias added within the product gives the same result as AddRow, at widths that do not fill a tile and with several
// blocks of k.
func TestForwardBias_equalsAddRow(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(5))
		const rows, out, in = 17, 47, 2100
		for format, p := range packings(randomMat[float32](rng, out, in)) {
			x, bias := randomMat[float32](rng, rows, in), randomMat[float32](rng, 1, out).Data
			want, got := Dense(make([]float32, rows*out), rows, out), Dense(make([]float32, rows*out), rows, out)
			p.Forward(Set, want, x)
			AddRow(want, bias)
			p.ForwardBias(got, x, bias)
			nearMat(t, format, got, mat64(want), 0)
		}
	})
}

// TestPacked_rowsAlone checks that a row's result does not depend on the height of its tile, whatever instructions the
// tile multiplies with.
func TestPacked_rowsAlone(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(17))
		for rows := 2; rows <= active.height; rows++ {
			out, in := 17+rng.Intn(60), 1+rng.Intn(90)
			for format, p := range packings(randomMat[float32](rng, out, in)) {
				x := randomMat[float32](rng, rows, in)
				together, alone := Dense(make([]float32, rows*out), rows, out), Dense(make([]float32, rows*out), rows, out)
				p.Forward(Set, together, x)
				for i := range rows {
					p.Forward(Set, alone.Slice(i, i+1, 0, out), x.Slice(i, i+1, 0, in))
				}
				if !slices.Equal(together.Data, alone.Data) {
					t.Errorf("%s: %d rows, %d out, %d in: rows computed together differ from the same rows alone", format, rows, out, in)
				}
			}
		}
	})
}

func TestPackedRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewSource(4))
	for _, out := range outerSizes {
		for _, in := range []int{1, 2, 31, 48, 65} {
			w := gapped(rng, out, in, 2)
			for format, p := range packings(w) {
				got := p.unpacked()
				ids := []int{out - 1, 0, out / 2}
				rows := Dense(make([]float32, len(ids)*in), len(ids), in)
				p.Gather(rows, ids)
				for i := range out {
					for j, v := range w.Row(i) {
						if format == "bf16" {
							v = float16.FromBF16(float16.BF16(v))
						}
						if got.Row(i)[j] != v {
							t.Fatalf("%s (%d, %d) of %d × %d: %g, want %g", format, i, j, out, in, got.Row(i)[j], v)
						}
					}
				}
				for r, id := range ids {
					near(t, "gather", rows.Row(r), to64(got.Row(id)), 0)
				}
			}
		}
	}
}

func TestLoRA(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(5))
		for _, rank := range []int{1, 4, 8, 16, 33, 64} {
			for _, m := range []int{1, 13, 48, 101} {
				for _, p := range packings(randomMat[float32](rng, 80, 97)) {
					checkLoRA(t, rng, p, m, rank)
				}
			}
		}
	})
}

func checkLoRA(t *testing.T, rng *rand.Rand, p *Packed, m, rank int) {
	t.Helper()
	ad := LoRA{randomMat[float32](rng, rank, p.In), randomMat[float32](rng, p.Out, rank), 0.7}
	x, dy := randomMat[float32](rng, m, p.In), randomMat[float32](rng, m, p.Out)
	zeros := func(rows, cols int) Mat[float32] { return Dense(make([]float32, rows*cols), rows, cols) }
	w := p.unpacked()
	a64, b64, x64, dy64 := mat64(ad.A), mat64(ad.B), mat64(x), mat64(dy)
	scale := float64(ad.Scale)
	tol := 3 * p.tolerance()

	y, z := zeros(m, p.Out), zeros(m, rank)
	p.ForwardLoRA(Set, y, x, ad, z)
	wantZ, wantY := mat64(zeros(m, rank)), mat64(y)
	MatMulNT(Set, wantZ, 1, x64, a64)
	MatMulNT(Set, wantY, 1, x64, mat64(w))
	MatMulNT(Add, wantY, scale, wantZ, b64)
	nearMat(t, "z", z, wantZ, gemmTol)
	nearMat(t, "y", y, wantY, tol)

	g := LoRAGrad{zeros(rank, p.In), zeros(p.Out, rank)}
	dx := zeros(m, p.In)
	p.BackwardLoRA(Set, dx, g, dy, x, z, ad)
	wantDZ, wantDX := mat64(zeros(m, rank)), mat64(dx)
	MatMulNN(Set, wantDZ, scale, dy64, b64)
	MatMulNN(Set, wantDX, 1, dy64, mat64(w))
	MatMulNN(Add, wantDX, 1, wantDZ, a64)
	nearMat(t, "dx", dx, wantDX, tol)
	wantA, wantB := mat64(zeros(rank, p.In)), mat64(zeros(p.Out, rank))
	MatMulTN(Set, wantA, 1, wantDZ, x64)
	MatMulTN(Set, wantB, scale, dy64, wantZ)
	nearMat(t, "dA", g.A, wantA, gemmTol)
	nearMat(t, "dB", g.B, wantB, gemmTol)

	again := LoRAGrad{zeros(rank, p.In), zeros(p.Out, rank)}
	p.BackwardLoRA(Set, Mat[float32]{}, again, dy, x, z, ad)
	nearMat(t, "dA without dx", again.A, wantA, gemmTol)
}

func TestGEMMThreads(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(6))
		x, w := randomMat[float32](rng, 75, 300), randomMat[float32](rng, 130, 300)
		dy := randomMat[float32](rng, 75, 130)
		ad := LoRA{randomMat[float32](rng, 8, 300), randomMat[float32](rng, 130, 8), 2}
		for format, p := range packings(w) {
			sameBits(t, format, func() []float32 {
				y, z, dx := make([]float32, 75*130), make([]float32, 75*8), make([]float32, 75*300)
				g := LoRAGrad{Dense(make([]float32, 8*300), 8, 300), Dense(make([]float32, 130*8), 130, 8)}
				p.ForwardLoRA(Set, Dense(y, 75, 130), x, ad, Dense(z, 75, 8))
				p.BackwardLoRA(Set, Dense(dx, 75, 300), g, dy, x, Dense(z, 75, 8), ad)
				dw := make([]float32, 130*300)
				MatMulTN(Set, Dense(dw, 130, 300), 1, dy, x)
				return append(append(append(append(y, dx...), g.A.Data...), g.B.Data...), dw...)
			})
		}
	})
}

// Results are right across the boundary between packed slabs, both in k and in rows.
func TestGEMMLarge(t *testing.T) {
	rng := rand.New(rand.NewSource(7))
	const m, n, k = rowsPack + 3, 33, kPack + 5
	a, b := randomMat[float32](rng, m, k), randomMat[float32](rng, n, k)
	transpose := func(x Mat[float32]) Mat[float32] {
		y := Dense(make([]float32, x.Rows*x.Cols), x.Cols, x.Rows)
		for i := range x.Rows {
			for j, v := range x.Row(i) {
				y.Row(j)[i] = v
			}
		}
		return y
	}
	at, bt := transpose(a), transpose(b)
	for name, multiply := range map[string]func(c Mat[float32]){
		"NT": func(c Mat[float32]) { MatMulNT(Set, c, 1, a, b) },
		"NN": func(c Mat[float32]) { MatMulNN(Set, c, 1, a, bt) },
		"TN": func(c Mat[float32]) { MatMulTN(Set, c, 1, at, bt) },
	} {
		c := Dense(make([]float32, m*n), m, n)
		multiply(c)
		for _, i := range []int{0, rowsPack - 1, rowsPack, m - 1} {
			for j := range n {
				near(t, name, c.Row(i)[j:j+1], []float64{dot(a.Row(i), b.Row(j))}, 1e-2)
			}
		}
	}
}
