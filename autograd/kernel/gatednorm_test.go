package kernel

import (
	"math"
	"math/rand"
	"testing"
)

// gatedEps is large enough for central differences of a group of zeros, where the root is that of eps alone.
const gatedEps = 1e-2

func randomGatedNorm(rng *rand.Rand, rows, d, groups int) *GatedNorm[float64] {
	n := &GatedNorm[float64]{
		Y: randomMat[float64](rng, rows, d), Z: randomMat[float64](rng, rows, 2*d).Slice(0, rows, d, 2*d),
		W: random[float64](rng, d), Groups: groups, Eps: gatedEps,
	}
	clear(n.Y.Row(0)) // a row of zeros
	return n
}

func TestGatedNormGrad(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	for _, groups := range []int{1, 2, 3} {
		const rows, d = 4, 6
		n := randomGatedNorm(rng, rows, d, groups)
		do := randomMat[float64](rng, rows, d)
		loss := func() float64 {
			o := make([]float64, rows*d)
			n.Forward(Dense(o, rows, d))
			return dot(o, do.Data)
		}
		g := GatedNormGrad[float64]{Y: Dense(make([]float64, rows*d), rows, d), Z: Dense(make([]float64, rows*d), rows, d), W: make([]float64, d)}
		n.Backward(g, do)
		checkMatGrad(t, "y", n.Y, g.Y.Data, loss)
		checkMatGrad(t, "z", n.Z, g.Z.Data, loss)
		checkGrad(t, "w", n.W, g.W, loss)
	}
}

// The float32 norm agrees with the float64 loop for groups of whole vectors and others, for gradients added and
// overwritten, and gives the same bits for any number of threads.
func TestGatedNormFloat32(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(2))
		for _, size := range [][2]int{{16, 1}, {48, 3}, {33, 1}, {10, 2}, {256, 8}, {1, 1}} {
			for _, rows := range []int{1, 9, 130} {
				checkGatedNorm(t, rng, rows, size[0], size[1])
			}
		}
	})
}

func checkGatedNorm(t *testing.T, rng *rand.Rand, rows, d, groups int) {
	t.Helper()
	n := randomGatedNorm(rng, rows, d, groups)
	f := &GatedNorm[float32]{Y: mat32(n.Y), Z: mat32(n.Z), W: narrow(n.W), Groups: groups, Eps: gatedEps}
	do := randomMat[float64](rng, rows, d)
	o, oIntact := guarded(rows, d, 3)
	wantO := mat64(o)
	n.Forward(wantO)
	f.Forward(o)
	nearMat(t, "o", o, wantO, opTol)
	want := GatedNormGrad[float64]{Y: Dense(make([]float64, rows*d), rows, d), Z: Dense(make([]float64, rows*d), rows, d), W: make([]float64, d)}
	n.Backward(want, do)
	y, yIntact := guarded(rows, d, 3)
	z, zIntact := guarded(rows, d, 5)
	g := GatedNormGrad[float32]{Y: y, Z: z, W: make([]float32, d)}
	g.Fresh.Y, g.Fresh.Z = true, true
	f.Backward(g, mat32(do))
	nearMat(t, "dy", y, want.Y, opTol)
	nearMat(t, "dz", z, want.Z, opTol)
	near(t, "dw", g.W, want.W, opTol)
	g.Fresh.Y, g.Fresh.Z, g.W = false, false, nil // frozen weight
	f.Backward(g, mat32(do))
	scaleRows(want.Y, want.Y, twos(rows))
	scaleRows(want.Z, want.Z, twos(rows))
	nearMat(t, "dy twice", y, want.Y, opTol)
	nearMat(t, "dz twice", z, want.Z, opTol)
	if !oIntact() || !yIntact() || !zIntact() {
		t.Fatalf("%d channels in %d groups: wrote outside a result", d, groups)
	}
	sameBits(t, "gated norm", func() []float32 {
		g := GatedNormGrad[float32]{W: make([]float32, d)}
		f.Backward(g, mat32(do))
		return g.W
	})
}

func twos(n int) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = 2
	}
	return x
}

// Normalizing the column ranges of a matrix, in place too, gives the same as RMSNorm with a weight of ones. A range of
// zeros remains zero.
func TestNormalize(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(3))
		for _, m := range []int{1, 7, 16, 48} {
			const rows = 37
			all := randomMat[float32](rng, rows, m+5)
			clear(all.Row(3))
			x := all.Slice(0, rows, 3, 3+m)
			y, intact := guarded(rows, m, 2)
			ones, want := make([]float32, m), randomMat[float32](rng, rows, m)
			fill(ones, 1)
			RMSNorm(want, x, ones, 1e-6)
			Normalize(y, x, 1e-6)
			nearMat(t, "y", y, mat64(want), 1e-6)
			outside := all.Row(5)[2]
			Normalize(x, x, 1e-6)
			nearMat(t, "in place", x, mat64(want), 1e-6)
			if !intact() || all.Row(5)[2] != outside {
				t.Fatal("wrote outside the columns")
			}
			for _, v := range y.Row(3) {
				if v != 0 {
					t.Fatalf("a row of zeros became %g", v)
				}
			}
		}
	})
}

func TestNormalizeGrad(t *testing.T) {
	rng := rand.New(rand.NewSource(4))
	const rows, m = 5, 7
	x, dy := randomMat[float64](rng, rows, m), randomMat[float64](rng, rows, m)
	clear(x.Row(2)) // where the root is that of eps alone
	loss := func() float64 {
		y := make([]float64, rows*m)
		Normalize(Dense(y, rows, m), x, gatedEps)
		return dot(y, dy.Data)
	}
	dx := Dense(make([]float64, rows*m), rows, m)
	fill(dx.Data, 3)
	NormalizeGrad(Set, dx, dy, x, gatedEps)
	checkGrad(t, "x", x.Data, dx.Data, loss)
}

// The float32 gradient agrees with the float64 one when added, when overwritten, and when it replaces the incoming
// gradient.
func TestNormalizeGradFloat32(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(5))
		for _, m := range []int{1, 5, 16, 33, 160} {
			const rows = 70
			x, dy := randomMat[float64](rng, rows, m), randomMat[float64](rng, rows, m)
			clear(x.Row(2))
			want := Dense(make([]float64, rows*m), rows, m)
			NormalizeGrad(Set, want, dy, x, 1e-3)
			dx, intact := guarded(rows, m, 3)
			for i := range rows {
				for j := range m {
					dx.Row(i)[j] = float32(math.NaN())
				}
			}
			NormalizeGrad(Set, dx, mat32(dy), mat32(x), 1e-3)
			nearMat(t, "dx", dx, want, opTol)
			over := mat32(dy)
			NormalizeGrad(Set, over, over, mat32(x), 1e-3)
			nearMat(t, "dx over dy", over, want, opTol)
			NormalizeGrad(Add, dx, mat32(dy), mat32(x), 1e-3)
			scaleRows(want, want, twos(rows))
			nearMat(t, "dx twice", dx, want, opTol)
			if !intact() {
				t.Fatal("wrote outside dx")
			}
		}
	})
}
