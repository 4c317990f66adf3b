package kernel

import (
	"math"
	"math/rand"
	"testing"
)

func randomScan(rng *rand.Rand, rows, d, n int, first []int) *Scan[float64] {
	s := &Scan[float64]{
		U: randomMat[float64](rng, rows, d), DT: randomMat[float64](rng, rows, d),
		B: randomMat[float64](rng, rows, n), C: randomMat[float64](rng, rows, n),
		Z: randomMat[float64](rng, rows, d), ALog: random[float64](rng, d*n), D: random[float64](rng, d),
		First: first,
	}
	if first != nil && first[0] < 0 {
		s.H0 = random[float64](rng, d*n)
	}
	return s
}

func TestScanGrad(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	for _, first := range [][]int{documents(0, 7), documents(3, 2, 5), documents(0, 1, 1, 5)} {
		const d, n = 3, 4
		rows := len(first)
		s := randomScan(rng, rows, d, n, first)
		w, dhOut := random[float64](rng, rows*d), random[float64](rng, d*n)
		loss := func() float64 {
			y, h := make([]float64, rows*d), make([]float64, d*n)
			s.Forward(Dense(y, rows, d), nil, h)
			return dot(y, w) + dot(h, dhOut)
		}
		like := func(m Mat[float64]) Mat[float64] { return Dense(make([]float64, m.Rows*m.Cols), m.Rows, m.Cols) }
		g := ScanGrad[float64]{U: like(s.U), DT: like(s.DT), B: like(s.B), C: like(s.C), Z: like(s.Z), ALog: make([]float64, d*n), D: make([]float64, d), H0: make([]float64, d*n)}
		saved := make([]float64, ScanSaved(rows, d, n))
		s.Forward(like(s.U), saved, nil)
		s.Backward(g, Dense(w, rows, d), saved, dhOut)
		checkGrad(t, "u", s.U.Data, g.U.Data, loss)
		checkGrad(t, "dt", s.DT.Data, g.DT.Data, loss)
		checkGrad(t, "B", s.B.Data, g.B.Data, loss)
		checkGrad(t, "C", s.C.Data, g.C.Data, loss)
		checkGrad(t, "z", s.Z.Data, g.Z.Data, loss)
		checkGrad(t, "A_log", s.ALog, g.ALog, loss)
		checkGrad(t, "D", s.D, g.D, loss)
		if s.H0 == nil {
			s.H0 = make([]float64, d*n) // nothing reads it
		}
		checkGrad(t, "H0", s.H0, g.H0, loss)
	}
}

// Documents laid end to end give the same results as each alone, and a document cut in two and continued from its
// state gives the same results as the whole.
func TestScanDocuments(t *testing.T) {
	rng := rand.New(rand.NewSource(2))
	const d, n = 5, 4
	first := documents(0, 70, 1, 3, 90)
	rows := len(first)
	s := randomScan(rng, rows, d, n, first)
	y := make([]float64, rows*d)
	s.Forward(Dense(y, rows, d), nil, nil)
	part := func(lo, hi, before int, h0, hOut []float64) []float64 {
		p := Scan[float64]{
			U: s.U.Slice(lo, hi, 0, d), DT: s.DT.Slice(lo, hi, 0, d), B: s.B.Slice(lo, hi, 0, n),
			C: s.C.Slice(lo, hi, 0, n), Z: s.Z.Slice(lo, hi, 0, d), ALog: s.ALog, D: s.D,
			First: documents(before, hi-lo), H0: h0,
		}
		out := make([]float64, (hi-lo)*d)
		p.Forward(Dense(out, hi-lo, d), nil, hOut)
		return out
	}
	near(t, "first document", part(0, 70, 0, nil, nil), y[:70*d], 0)
	near(t, "third document", part(71, 74, 0, nil, nil), y[71*d:74*d], 0)
	h := make([]float64, d*n)
	near(t, "head", part(74, 100, 0, nil, h), y[74*d:100*d], 0)
	near(t, "tail", part(100, 164, 26, h, h), y[100*d:], 0)
}

func TestScanStep(t *testing.T) {
	rng := rand.New(rand.NewSource(3))
	const rows, d, n = 6, 5, 4
	s := randomScan(rng, rows, d, n, nil)
	want := make([]float64, rows*d)
	s.Forward(Dense(want, rows, d), nil, nil)
	h := make([]float64, d*n)
	got := make([]float64, rows*d)
	for i := range rows {
		one := Scan[float64]{U: s.U.Slice(i, i+1, 0, d), DT: s.DT.Slice(i, i+1, 0, d), B: s.B.Slice(i, i+1, 0, n),
			C: s.C.Slice(i, i+1, 0, n), Z: s.Z.Slice(i, i+1, 0, d), ALog: s.ALog, D: s.D}
		one.Step(Dense(got[i*d:(i+1)*d], 1, d), h)
	}
	near(t, "row by row", got, want, 1e-13) // the compiler may fuse operations differently
}

// The float32 step agrees with the float64 loop, for state sizes with and without a vector form.
func TestScanStepFloat32(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(7))
		for _, n := range []int{8, 16} {
			for _, d := range []int{1, 16, 33, 256, 272} {
				const batch = 3
				s := randomScan(rng, batch, d, n, nil)
				f := &Scan[float32]{mat32(s.U), mat32(s.DT), mat32(s.B), mat32(s.C), mat32(s.Z), narrow(s.ALog), narrow(s.D), nil, nil}
				h := random[float64](rng, batch*d*n)
				h32 := narrow(h)
				y, intact := guarded(batch, d, 3)
				want := mat64(y)
				s.Step(want, h)
				f.Step(y, h32)
				nearMat(t, "y", y, want, scanTol)
				near(t, "h", h32, h, scanTol)
				if !intact() {
					t.Fatal("wrote outside y")
				}
			}
		}
	})
}

func narrow(x []float64) []float32 {
	if x == nil {
		return nil
	}
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}

func mat32(m Mat[float64]) Mat[float32] {
	return Mat[float32]{narrow(m.Data), m.Rows, m.Cols, m.Stride}
}

// scanTol bounds the error of float32 against float64 relative to each result's rms, over at most 200 rows.
const scanTol = 2e-4

// The float32 scan agrees with the float64 loop for every width around the groups of 16 channels, for state sizes that
// do and do not fill registers, and for documents that start, end, and continue anywhere.
func TestScanFloat32(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(4))
		for _, d := range []int{1, 15, 16, 33, 65, 80} {
			for _, n := range []int{4, 8, 16, 24} {
				for _, first := range [][]int{nil, documents(7, 64), documents(0, 1, 1, 62, 1, 65, 3), documents(2, 130)} {
					checkScan(t, rng, d, n, first)
				}
			}
		}
	})
}

func checkScan(t *testing.T, rng *rand.Rand, d, n int, first []int) {
	t.Helper()
	rows := len(first)
	if first == nil {
		rows = 70
	}
	s := randomScan(rng, rows, d, n, first)
	f := &Scan[float32]{mat32(s.U), mat32(s.DT), mat32(s.B), mat32(s.C), mat32(s.Z), narrow(s.ALog), narrow(s.D), s.First, nil}
	if s.H0 != nil {
		f.H0 = narrow(s.H0)
	}
	if rng.Intn(4) == 0 {
		s.Z, f.Z = Mat[float64]{}, Mat[float32]{}
	}
	y, yIntact := guarded(rows, d, 3)
	wantY, wantH, wantSaved := mat64(y), make([]float64, d*n), make([]float64, ScanSaved(rows, d, n))
	h, saved := make([]float32, d*n), make([]float32, ScanSaved(rows, d, n))
	s.Forward(wantY, wantSaved, wantH)
	f.Forward(y, saved, h)
	nearMat(t, "y", y, wantY, scanTol)
	near(t, "h", h, wantH, scanTol)
	dy := randomMat[float64](rng, rows, d)
	g, want := scanGrads(s)
	g.Fresh.U, want.Fresh.U = spoil(rng, g.U), spoil(rng, want.U)
	g.Fresh.DT, want.Fresh.DT = spoil(rng, g.DT), spoil(rng, want.DT)
	g.Fresh.Z, want.Fresh.Z = spoil(rng, g.Z), spoil(rng, want.Z)
	if rng.Intn(2) == 0 { // as for a frozen model
		g.ALog, g.D, want.ALog, want.D = nil, nil, nil, nil
	}
	var dhOut []float64
	if rng.Intn(2) == 0 {
		dhOut = random[float64](rng, d*n)
	}
	s.Backward(want, dy, wantSaved, dhOut)
	f.Backward(g.ScanGrad, mat32(dy), saved, narrow(dhOut))
	nearMat(t, "du", g.U, want.U, scanTol)
	nearMat(t, "ddt", g.DT, want.DT, scanTol)
	nearMat(t, "dB", g.B, want.B, scanTol)
	nearMat(t, "dC", g.C, want.C, scanTol)
	if !s.Z.Absent() {
		nearMat(t, "dz", g.Z, want.Z, scanTol)
	}
	near(t, "dA_log", g.ALog, want.ALog, scanTol)
	near(t, "dD", g.D, want.D, scanTol)
	near(t, "dH0", g.H0, want.H0, scanTol)
	for _, intact := range append(g.intact, yIntact) {
		if !intact() {
			t.Fatalf("d %d n %d: wrote outside a result", d, n)
		}
	}
}

// spoil fills m with NaN, which must be overwritten, half of the time, and reports whether it did.
func spoil[T Float](rng *rand.Rand, m Mat[T]) bool {
	if rng.Intn(2) == 0 {
		return false
	}
	for i := range m.Rows {
		for j := range m.Row(i) {
			m.Row(i)[j] = T(math.NaN())
		}
	}
	return true
}

type guardedGrads struct {
	ScanGrad[float32]
	intact []func() bool
}

// scanGrads returns zeroed destinations for the gradients of s. Those in float32 are guarded.
func scanGrads(s *Scan[float64]) (g guardedGrads, want ScanGrad[float64]) {
	rows, d, n := s.sizes()
	plane := func(cols int) (Mat[float32], Mat[float64]) {
		m, intact := guarded(rows, cols, 5)
		for i := range rows {
			clear(m.Row(i))
		}
		g.intact = append(g.intact, intact)
		return m, mat64(m)
	}
	g.U, want.U = plane(d)
	g.DT, want.DT = plane(d)
	g.B, want.B = plane(n)
	g.C, want.C = plane(n)
	g.Z, want.Z = plane(d)
	g.ALog, want.ALog = make([]float32, d*n), make([]float64, d*n)
	g.D, want.D = make([]float32, d), make([]float64, d)
	g.H0, want.H0 = make([]float32, d*n), make([]float64, d*n)
	return g, want
}

func TestScanThreads(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(5))
		const d, n = 460, 16 // eight blocks, which tasks process in pairs or singly; the last block is not full
		first := documents(0, 40, 100, 1)
		s := randomScan(rng, len(first), d, n, first)
		f := &Scan[float32]{mat32(s.U), mat32(s.DT), mat32(s.B), mat32(s.C), mat32(s.Z), narrow(s.ALog), narrow(s.D), s.First, nil}
		dy := randomMat[float32](rng, len(first), d)
		sameBits(t, "scan", func() []float32 {
			y, saved := make([]float32, len(first)*d), make([]float32, ScanSaved(len(first), d, n))
			f.Forward(Dense(y, len(first), d), saved, nil)
			g, _ := scanGrads(s)
			f.Backward(g.ScanGrad, dy, saved, nil)
			all := append(append(append(y, g.ALog...), g.D...), g.H0...)
			for _, m := range []Mat[float32]{g.U, g.DT, g.B, g.C, g.Z} {
				all = append(all, m.Data...)
			}
			return all
		})
	})
}

// BenchmarkScan runs a layer of mamba-130m over 1,024 rows as a training step does: gradients are written, not added.
// It reports cycles per core per 16 state updates, with the clock rate derived from the arithmetic peak.
func BenchmarkScan(b *testing.B) {
	rng := rand.New(rand.NewSource(6))
	const rows, d, n = 1024, 1536, 16
	mat := func(cols int) Mat[float32] { return randomMat[float32](rng, rows, cols) }
	f := &Scan[float32]{U: mat(d), DT: mat(d), B: mat(n), C: mat(n), ALog: random[float32](rng, d*n), D: random[float32](rng, d)}
	y, dy, saved := mat(d), mat(d), Make[float32](ScanSaved(rows, d, n))
	frozen := ScanGrad[float32]{U: mat(d), DT: mat(d), B: mat(n), C: mat(n)}
	frozen.Fresh.U, frozen.Fresh.DT, frozen.Fresh.Z = true, true, true
	run := func(name string, op func()) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				op()
			}
			seconds := b.Elapsed().Seconds() / float64(b.N)
			b.StopTimer()
			clock := PeakFLOPS(Float32, peakTime) / 32 // of all threads together
			b.ReportMetric(seconds*clock/(rows*d*n/16), "cycles/16")
		})
	}
	for _, gate := range []string{"plain", "gated"} {
		if gate == "gated" {
			f.Z, frozen.Z = mat(d), mat(d)
		}
		trained := frozen
		trained.ALog, trained.D = make([]float32, d*n), make([]float32, d)
		run(gate+"/inference", func() { f.Forward(y, nil, nil) })
		run(gate+"/forward", func() { f.Forward(y, saved, nil) })
		run(gate+"/backward", func() { f.Backward(frozen, dy, saved, nil) })
		run(gate+"/backwardA", func() { f.Backward(trained, dy, saved, nil) })
	}
}
