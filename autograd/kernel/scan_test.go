package kernel

import (
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
		w := random[float64](rng, rows*d)
		loss := func() float64 {
			y := make([]float64, rows*d)
			s.Forward(Dense(y, rows, d), nil, nil)
			return dot(y, w)
		}
		like := func(m Mat[float64]) Mat[float64] { return Dense(make([]float64, m.Rows*m.Cols), m.Rows, m.Cols) }
		g := ScanGrad[float64]{like(s.U), like(s.DT), like(s.B), like(s.C), like(s.Z), make([]float64, d*n), make([]float64, d)}
		saved := make([]float64, ScanSaved(rows, d, n))
		s.Forward(like(s.U), saved, nil)
		s.Backward(g, Dense(w, rows, d), saved)
		checkGrad(t, "u", s.U.Data, g.U.Data, loss)
		checkGrad(t, "dt", s.DT.Data, g.DT.Data, loss)
		checkGrad(t, "B", s.B.Data, g.B.Data, loss)
		checkGrad(t, "C", s.C.Data, g.C.Data, loss)
		checkGrad(t, "z", s.Z.Data, g.Z.Data, loss)
		checkGrad(t, "A_log", s.ALog, g.ALog, loss)
		checkGrad(t, "D", s.D, g.D, loss)
	}
}

// Documents laid end to end give what they give alone, and a document cut in two and continued from its state gives what
// it gives whole.
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
	near(t, "row by row", got, want, 0)
}
