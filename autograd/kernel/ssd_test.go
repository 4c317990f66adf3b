package kernel

import (
	"math"
	"math/rand"
	"testing"
)

// ssdShape is the size of an SSD in tests.
type ssdShape struct{ heads, groups, p, n int }

// noLimit leaves Δ unlimited.
var noLimit = [2]float64{0, math.Inf(1)}

// randomSSD returns an SSD whose time steps are roughly between 0.1 and 2. Its inputs are column ranges of wider
// matrices.
func randomSSD(rng *rand.Rand, z ssdShape, first []int) *SSD[float64] {
	rows := len(first)
	xbc := randomMat[float64](rng, rows, z.heads*z.p+2*z.groups*z.n)
	dt := randomMat[float64](rng, rows, z.heads+3)
	e, gn := z.heads*z.p, z.groups*z.n
	s := &SSD[float64]{
		X: xbc.Slice(0, rows, 0, e), B: xbc.Slice(0, rows, e, e+gn), C: xbc.Slice(0, rows, e+gn, e+2*gn),
		DT: dt.Slice(0, rows, 3, 3+z.heads), DTBias: random[float64](rng, z.heads),
		ALog: random[float64](rng, z.heads), D: random[float64](rng, z.heads), Groups: z.groups, Limit: noLimit, First: first,
	}
	if first[0] < 0 {
		s.H0 = random[float64](rng, z.heads*z.p*z.n)
	}
	return s
}

// ssdGrads returns zeroed destinations for all gradients of s.
func ssdGrads[T Float](s *SSD[T]) SSDGrad[T] {
	z := s.sizes()
	like := func(m Mat[T]) Mat[T] { return Dense(make([]T, m.Rows*m.Cols), m.Rows, m.Cols) }
	g := SSDGrad[T]{X: like(s.X), B: like(s.B), C: like(s.C), DT: like(s.DT)}
	g.DTBias, g.ALog, g.D = make([]T, z.heads), make([]T, z.heads), make([]T, z.heads)
	if s.H0 != nil {
		g.H0 = make([]T, len(s.H0))
	}
	return g
}

// ssdResults runs s forward and backward and returns everything it computes, by name.
func ssdResults[T Float](s *SSD[T], dy Mat[T], dhOut []T) map[string][]T {
	z := s.sizes()
	state := z.heads * z.p * z.n
	y, hOut := Dense(make([]T, z.rows*z.heads*z.p), z.rows, z.heads*z.p), make([]T, state)
	saved := make([]T, SSDSaved(z.rows, state, s.Chunk))
	s.Forward(y, saved, hOut)
	g := ssdGrads(s)
	s.Backward(g, dy, saved, dhOut)
	return map[string][]T{
		"y": y.Data, "final state": hOut, "dx": g.X.Data, "dB": g.B.Data, "dC": g.C.Data, "ddt": g.DT.Data,
		"ddt_bias": g.DTBias, "dA_log": g.ALog, "dD": g.D, "dH0": g.H0,
	}
}

// The gradients of the plain recurrence equal central differences, with groups, limits, documents, and initial and
// final states.
func TestSSDGrad(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	for _, first := range [][]int{documents(0, 7), documents(3, 2, 5), documents(0, 1, 1, 5), documents(4, 6)} {
		for _, z := range []ssdShape{{2, 1, 3, 2}, {4, 2, 2, 3}, {3, 3, 1, 2}} {
			s := randomSSD(rng, z, first)
			if z.groups == 2 {
				s.Limit = [2]float64{0.4, 1.1}
			}
			checkSSDGrad(t, rng, s)
		}
	}
}

func checkSSDGrad(t *testing.T, rng *rand.Rand, s *SSD[float64]) {
	t.Helper()
	z := s.sizes()
	width := z.heads * z.p
	dy, dh := randomMat[float64](rng, z.rows, width), random[float64](rng, width*z.n)
	loss := func() float64 {
		y, h := make([]float64, z.rows*width), make([]float64, width*z.n)
		s.Forward(Dense(y, z.rows, width), nil, h)
		return dot(y, dy.Data) + dot(h, dh)
	}
	got := ssdResults(s, dy, dh)
	for name, m := range map[string]Mat[float64]{"dx": s.X, "dB": s.B, "dC": s.C, "ddt": s.DT} {
		checkMatGrad(t, name, m, got[name], loss)
	}
	checkGrad(t, "dt_bias", s.DTBias, got["ddt_bias"], loss)
	checkGrad(t, "A_log", s.ALog, got["dA_log"], loss)
	checkGrad(t, "D", s.D, got["dD"], loss)
	if s.H0 != nil {
		checkGrad(t, "H0", s.H0, got["dH0"], loss)
	}
}

// checkMatGrad is like checkGrad, for a view; grad is dense.
func checkMatGrad(t *testing.T, name string, m Mat[float64], grad []float64, loss func() float64) {
	t.Helper()
	for i := range m.Rows {
		checkGrad(t, name, m.Row(i), grad[i*m.Cols:][:m.Cols], loss)
	}
}

// chunkTol bounds the error of the chunked form against the recurrence in float64, relative to each result's rms: sums
// of several hundred terms, each rounded to 1e-16.
const chunkTol = 1e-12

// In float64, chunks of one row, a few rows, 64 rows, and the whole document equal the recurrence, forward and backward.
func TestSSDChunks(t *testing.T) {
	rng := rand.New(rand.NewSource(2))
	for _, first := range [][]int{documents(0, 130), documents(5, 70, 1, 2, 64), documents(0, 1, 65, 3), documents(9, 4)} {
		for _, z := range []ssdShape{{2, 1, 5, 3}, {4, 2, 3, 4}, {9, 3, 2, 5}, {10, 2, 2, 2}} {
			s := randomSSD(rng, z, first)
			if z.groups == 3 {
				s.Limit = [2]float64{0.4, 1.1}
			}
			width := z.heads * z.p
			dy, dh := randomMat[float64](rng, len(first), width), random[float64](rng, width*z.n)
			for _, dhOut := range [][]float64{dh, nil} {
				want := ssdResults(s, dy, dhOut)
				for _, chunk := range []int{1, 3, 16, 64, 1000} {
					c := *s
					c.Chunk = chunk
					for name, got := range ssdResults(&c, dy, dhOut) {
						near(t, name, got, want[name], chunkTol)
					}
				}
			}
		}
	}
}

// Packed documents give the same results as each alone, and a document cut in two and continued from its state the
// same as the whole.
func TestSSDDocuments(t *testing.T) {
	rng := rand.New(rand.NewSource(3))
	z := ssdShape{4, 2, 3, 4}
	e, gn := z.heads*z.p, z.groups*z.n
	first := documents(0, 70, 1, 3, 90)
	rows := len(first)
	s := randomSSD(rng, z, first)
	for _, chunk := range []int{0, 64} {
		s.Chunk = chunk
		y := make([]float64, rows*e)
		s.Forward(Dense(y, rows, e), nil, nil)
		part := func(lo, hi, before int, h0, hOut []float64) []float64 {
			p := *s
			p.X, p.B, p.C = s.X.Slice(lo, hi, 0, e), s.B.Slice(lo, hi, 0, gn), s.C.Slice(lo, hi, 0, gn)
			p.DT, p.First, p.H0 = s.DT.Slice(lo, hi, 0, z.heads), documents(before, hi-lo), h0
			out := make([]float64, (hi-lo)*e)
			p.Forward(Dense(out, hi-lo, e), nil, hOut)
			return out
		}
		near(t, "first document", part(0, 70, 0, nil, nil), y[:70*e], 0)
		near(t, "third document", part(71, 74, 0, nil, nil), y[71*e:74*e], 0)
		h := make([]float64, e*z.n)
		near(t, "head", part(74, 100, 0, nil, h), y[74*e:100*e], chunkTol)
		near(t, "tail", part(100, 164, 26, h, h), y[100*e:], chunkTol)
	}
}

// A document in two parts, the first of which receives the gradient of the state from the second, has the gradients of
// the whole.
func TestSSDSegments(t *testing.T) {
	rng := rand.New(rand.NewSource(4))
	z := ssdShape{2, 1, 3, 4}
	e, rows, cut := z.heads*z.p, 100, 37
	s := randomSSD(rng, z, documents(0, rows))
	dy := randomMat[float64](rng, rows, e)
	for _, chunk := range []int{0, 16} {
		s.Chunk = chunk
		want := ssdResults(s, dy, nil)
		part := func(lo, hi int) SSD[float64] {
			p := *s
			p.X, p.B, p.C = s.X.Slice(lo, hi, 0, e), s.B.Slice(lo, hi, 0, z.n), s.C.Slice(lo, hi, 0, z.n)
			p.DT, p.First = s.DT.Slice(lo, hi, 0, z.heads), documents(lo, hi-lo)
			return p
		}
		head, tail := part(0, cut), part(cut, rows)
		h := make([]float64, e*z.n)
		head.Forward(Dense(make([]float64, cut*e), cut, e), nil, h)
		tail.H0 = h
		second := ssdResults(&tail, dy.Slice(cut, rows, 0, e), nil)
		firstPart := ssdResults(&head, dy.Slice(0, cut, 0, e), second["dH0"])
		for _, name := range []string{"dx", "dB", "dC", "ddt"} {
			near(t, name, append(firstPart[name], second[name]...), want[name], chunkTol)
		}
		for _, name := range []string{"ddt_bias", "dA_log", "dD"} {
			near(t, name, sumOf(firstPart[name], second[name]), want[name], chunkTol)
		}
	}
}

func sumOf(a, b []float64) []float64 {
	sum := make([]float64, len(a))
	for i, v := range a {
		sum[i] = v + b[i]
	}
	return sum
}

// ssd32 returns s in float32.
func ssd32(s *SSD[float64]) *SSD[float32] {
	f := &SSD[float32]{
		X: mat32(s.X), B: mat32(s.B), C: mat32(s.C), DT: mat32(s.DT), DTBias: narrow(s.DTBias), ALog: narrow(s.ALog),
		Groups: s.Groups, Limit: s.Limit, First: s.First, Chunk: s.Chunk,
	}
	if s.D != nil {
		f.D = narrow(s.D)
	}
	if s.H0 != nil {
		f.H0 = narrow(s.H0)
	}
	return f
}

// ssdTol bounds the error of float32 against float64 relative to each result's rms, over at most 200 rows.
const ssdTol = 2e-4

// The float32 form agrees with the float64 recurrence on every kernel set, for sizes that do and do not fill vectors
// and tiles, for several chunk lengths, and for documents that start, end, and continue anywhere. It writes nothing out
// of bounds.
func TestSSDFloat32(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(5))
		for _, z := range []ssdShape{{2, 1, 64, 16}, {5, 1, 16, 32}, {6, 2, 5, 16}, {3, 3, 32, 7}, {1, 1, 1, 1}, {2, 2, 17, 33}} {
			for _, first := range [][]int{documents(0, 70), documents(7, 64), documents(0, 1, 1, 62, 1, 65, 3), documents(2, 130)} {
				for _, chunk := range []int{0, 7, 32, 500} {
					checkSSD32(t, rng, z, first, chunk)
				}
			}
		}
	})
}

func checkSSD32(t *testing.T, rng *rand.Rand, z ssdShape, first []int, chunk int) {
	t.Helper()
	s := randomSSD(rng, z, first)
	if rng.Intn(2) == 0 {
		s.Limit = [2]float64{0.3, 1.2}
	}
	if rng.Intn(4) == 0 {
		s.D = nil
	}
	f := ssd32(s)
	f.Chunk = chunk
	rows, e, gn := len(first), z.heads*z.p, z.groups*z.n
	dy, dh := randomMat[float64](rng, rows, e), random[float64](rng, e*z.n)
	var dh32 []float32
	if rng.Intn(2) == 0 {
		dh = nil
	} else {
		dh32 = narrow(dh)
	}
	want := ssdResults(s, dy, dh)

	saved, h := make([]float32, SSDSaved(rows, e*z.n, chunk)), make([]float32, e*z.n)
	y, intact := guarded(rows, e, 5)
	f.Forward(y, saved, h)
	g := ssdGrads(f)
	g.Fresh.X, g.Fresh.B, g.Fresh.C, g.Fresh.DT = true, true, true, true
	planes := []func() bool{intact}
	plane := func(cols int) Mat[float32] {
		m, intact := guarded(rows, cols, 5)
		planes = append(planes, intact)
		for i := range rows {
			for j := range m.Row(i) {
				m.Row(i)[j] = float32(math.NaN())
			}
		}
		return m
	}
	g.X, g.B, g.C, g.DT = plane(e), plane(gn), plane(gn), plane(z.heads)
	f.Backward(g, mat32(dy), saved, dh32)

	view := func(name string, cols int) Mat[float64] { return Dense(want[name], rows, cols) }
	nearMat(t, "y", y, view("y", e), ssdTol)
	near(t, "final state", h, want["final state"], ssdTol)
	nearMat(t, "dx", g.X, view("dx", e), ssdTol)
	nearMat(t, "dB", g.B, view("dB", gn), ssdTol)
	nearMat(t, "dC", g.C, view("dC", gn), ssdTol)
	nearMat(t, "ddt", g.DT, view("ddt", z.heads), ssdTol)
	near(t, "ddt_bias", g.DTBias, want["ddt_bias"], ssdTol)
	near(t, "dA_log", g.ALog, want["dA_log"], ssdTol)
	near(t, "dD", g.D, want["dD"], ssdTol)
	near(t, "dH0", g.H0, want["dH0"], ssdTol)
	for _, intact := range planes {
		if !intact() {
			t.Fatalf("%+v: wrote outside a result", z)
		}
	}
}

// Backward adds to gradients that are not fresh and computes only those that are needed.
func TestSSDAdds(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(6))
		z := ssdShape{4, 2, 16, 16}
		f := ssd32(randomSSD(rng, z, documents(3, 80, 5)))
		dy := randomMat[float32](rng, 85, z.heads*z.p)
		saved := make([]float32, SSDSaved(85, z.heads*z.p*z.n, 0))
		f.Forward(randomMat[float32](rng, 85, z.heads*z.p), saved, nil)
		once, twice := ssdGrads(f), ssdGrads(f)
		f.Backward(once, dy, saved, nil)
		f.Backward(twice, dy, saved, nil)
		f.Backward(twice, dy, saved, nil)
		f.Backward(SSDGrad[float32]{}, dy, saved, nil)
		for name, pair := range map[string][2][]float32{
			"dx": {once.X.Data, twice.X.Data}, "dB": {once.B.Data, twice.B.Data}, "ddt": {once.DT.Data, twice.DT.Data},
			"dA_log": {once.ALog, twice.ALog}, "dD": {once.D, twice.D}, "dH0": {once.H0, twice.H0}, "ddt_bias": {once.DTBias, twice.DTBias},
		} {
			want := to64(pair[0])
			for i := range want {
				want[i] *= 2
			}
			near(t, name, pair[1], want, 1e-6)
		}
	})
}

func TestSSDThreads(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(7))
		z := ssdShape{10, 2, 16, 16}
		first := documents(3, 40, 300, 1, 500)
		f := ssd32(randomSSD(rng, z, first))
		f.Chunk = 32 // segments end within documents
		dy, dh := randomMat[float32](rng, len(first), z.heads*z.p), random[float32](rng, z.heads*z.p*z.n)
		sameBits(t, "ssd", func() []float32 {
			all := []float32{}
			got := ssdResults(f, dy, dh)
			for _, name := range []string{"y", "final state", "dx", "dB", "dC", "ddt", "ddt_bias", "dA_log", "dD", "dH0"} {
				all = append(all, got[name]...)
			}
			return all
		})
	})
}

// Step for each row equals Forward, with limits too, for several sequences at once.
func TestSSDStep(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(8))
		for _, z := range []ssdShape{{4, 2, 5, 3}, {3, 1, 16, 32}, {2, 1, 64, 128}, {2, 2, 7, 16}} {
			const rows, batch = 6, 3
			s := randomSSD(rng, z, documents(0, rows))
			s.Limit = [2]float64{0.4, 1.1}
			e := z.heads * z.p
			y, h := randomMat[float64](rng, rows, e), make([]float64, e*z.n)
			s.Forward(y, nil, h)
			f := ssd32(s)
			states := make([]float32, batch*e*z.n)
			for i := range rows {
				one := *f
				one.X, one.B, one.C, one.DT = repeated(f.X, i, batch), repeated(f.B, i, batch), repeated(f.C, i, batch), repeated(f.DT, i, batch)
				got, intact := guarded(batch, e, 3)
				one.Step(got, states)
				for k := range batch {
					near(t, "y", got.Row(k), y.Row(i), ssdTol)
				}
				if !intact() {
					t.Fatal("wrote outside y")
				}
			}
			for k := range batch {
				near(t, "state", states[k*e*z.n:][:e*z.n], h, ssdTol)
			}
		}
	})
}

// repeated returns row i of m, repeated n times.
func repeated(m Mat[float32], i, n int) Mat[float32] {
	r := Dense(make([]float32, n*m.Cols), n, m.Cols)
	for k := range n {
		copy(r.Row(k), m.Row(i))
	}
	return r
}

// Decays are precise after a row with a very large time step, and NaN is not lost.
func TestSSDExtremes(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(9))
		z := ssdShape{2, 1, 16, 16}
		s := randomSSD(rng, z, documents(0, 60))
		s.ALog[0], s.ALog[1] = 3, 5 // A = −20, −148
		for i := range 60 {
			s.DT.Row(i)[0], s.DT.Row(i)[1] = -6, -9 // Δ = 0.0025, 0.0001
		}
		s.DT.Row(9)[0], s.DT.Row(9)[1] = 30, 30
		s.DTBias = make([]float64, 2)
		dy := randomMat[float64](rng, 60, 32)
		f := ssd32(s)
		want, got := ssdResults(s, dy, nil), ssdResults(f, mat32(dy), nil)
		for name, g := range got {
			near(t, name, g, want[name], 1e-5)
		}
		f.ALog[1] = float32(math.NaN())
		got = ssdResults(f, mat32(dy), nil)
		for i := range 60 {
			if y := got["y"][i*32+31]; y == y {
				t.Fatalf("row %d of a head whose A is not a number: y is %g", i, y)
			}
		}
	})
}

// The vector code of the decays agrees with the plain loops for every length up to three blocks, leaves zeros where a
// factor needs them, and writes nothing out of bounds.
func TestDecays(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(10))
		for q := 1; q <= 50; q++ {
			checkDecays(t, rng, q)
		}
	})
}

func checkDecays(t *testing.T, rng *rand.Rand, q int) {
	t.Helper()
	s := randomSSD(rng, ssdShape{1, 1, 2, 2}, documents(0, q))
	s.Chunk = q
	f := ssd32(s)
	r, r32 := s.chunks(nil), f.chunks(nil)
	d, d32 := r.newDecays(newArena[float64](decayArrays*r.qp)), r32.newDecays(newArena[float32](decayArrays*r.qp))
	r.decays(d, r.list[0], 0)
	r32.decays(d32, r.list[0], 0)
	matrix := func() Mat[float64] { return Mat[float64]{random[float64](rng, q*r.ld), q, r.qp, r.ld} }
	want := maskGrads[float64]{matrix(), matrix(), matrix(), matrix(), make([]float64, r.qp), make([]float64, r.qp)}
	m, intact := guarded(q, r.ld, 0)
	got := maskGrads[float32]{m, mat32(want.gram), mat32(want.w), mat32(want.k), make([]float32, r.qp), make([]float32, r.qp)}
	d.mask(want.m, want.gram, 3)
	d32.mask(got.m, got.gram, 3)
	checkLower(t, "mask", got.m, want.m)
	checkZeros(t, got.m)
	d.maskGrad(want, 3)
	d32.maskGrad(got, 3)
	checkLower(t, "mask of the backward pass", got.m, want.m)
	checkZeros(t, got.m)
	checkLower(t, "w", got.w, want.w)
	for i := range q {
		for j, v := range got.w.Row(i)[i+1:] {
			if v != float32(want.w.Row(i)[i+1+j]) {
				t.Fatalf("%d rows: (%d, %d) of w has changed", q, i, i+1+j)
			}
		}
	}
	near(t, "r", got.r[:q], want.r[:q], 1e-5)
	near(t, "da", got.da[:q], want.da[:q], 1e-5)
	if !intact() {
		t.Fatalf("%d rows: wrote outside the mask", q)
	}
}

// checkLower compares lower triangles.
func checkLower(t *testing.T, name string, got Mat[float32], want Mat[float64]) {
	t.Helper()
	var g []float32
	var w []float64
	for i := range got.Rows {
		g, w = append(g, got.Row(i)[:i+1]...), append(w, want.Row(i)[:i+1]...)
	}
	near(t, name, g, w, 1e-5)
}

// checkZeros checks that the rows of a lower triangle end in zeros.
func checkZeros(t *testing.T, m Mat[float32]) {
	t.Helper()
	for i := range m.Rows {
		for _, v := range m.Data[i*m.Stride:][i+1 : min(i+1+vectorStep, lowerEnd(i))] {
			if v != 0 {
				t.Fatalf("row %d of %d has %g after the diagonal", i, m.Rows, v)
			}
		}
	}
}
