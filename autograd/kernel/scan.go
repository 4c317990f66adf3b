package kernel

// Scan is the selective scan of Mamba with the elementwise operations around it, over documents laid end to end:
//
//	Δ = softplus(dt),  A = −exp(A_log)
//	h(t) = exp(Δ∘A)∘h(t−1) + Δ∘B∘u
//	y(t) = (C·h(t) + D∘u) ∘ silu(z)
//
// Gu & Dao 2023, algorithm 2; B is discretized by Euler's rule, as in the authors' selective_scan_ref. U, DT, and Z are
// (rows, d), B and C (rows, n), ALog (d, n), D (d). A zero Z means no gate, a nil D no skip.
//
// The state starts at zero where First[t] == t. A negative First[t] continues a document of the previous batch: it
// starts from H0 (d, n), or from zero if H0 is nil. A nil First means one document starting at row 0.
type Scan[T Float] struct {
	U, DT, B, C Mat[T]
	Z           Mat[T]
	ALog, D     []T
	First       []int
	H0          []T
}

// ScanGrad contains the destinations to which Scan.Backward adds gradients. A gradient whose destination is zero or nil is
// not computed. H0 is only for a Scan with H0.
type ScanGrad[T Float] struct {
	U, DT, B, C, Z Mat[T]
	ALog, D, H0    []T
	// Fresh marks those of the largest gradients that are overwritten instead, which saves clearing and reading them.
	Fresh struct{ U, DT, Z bool }
}

// scanChunk is the number of rows between two saved states. Backward recomputes the states of one chunk at a time.
const scanChunk = 64

// scanBlock is the number of channels that share one partial sum of dB and dC. It is fixed so that the order of
// summation is fixed.
const scanBlock = 64

// ScanSaved returns the number of elements of saved: the states at every 64th row, (⌈rows/64⌉, d, n).
func ScanSaved(rows, d, n int) int { return (rows + scanChunk - 1) / scanChunk * d * n }

func (s *Scan[T]) sizes() (rows, d, n int) { return s.U.Rows, s.U.Cols, s.B.Cols }

func (s *Scan[T]) check() {
	rows, d, n := s.sizes()
	s.DT.check("scan dt", rows, d)
	s.B.check("scan B", rows, n)
	s.C.check("scan C", rows, n)
	if !s.Z.Absent() {
		s.Z.check("scan z", rows, d)
	}
}

// Forward writes y (rows, d). saved (ScanSaved elements, nil in inference) receives what Backward needs; hOut (d, n), if not
// nil, receives the state after the last row, and may be H0.
func (s *Scan[T]) Forward(y Mat[T], saved []T, hOut []T) {
	rows, d, n := s.sizes()
	s.check()
	y.check("scan y", rows, d)
	if dev := on(y); dev != nil {
		dev.Scan(any(s).(*Scan[float32]), f32Mat(y), f32s(saved), f32s(hOut))
		return
	}
	if v, ok := s.vector(); ok {
		scanForwardVector(v, f32Mat(y), f32s(saved), f32s(hOut))
		return
	}
	For(d, scanBlock, func(lo, hi int) {
		h := make([]T, n)
		for c := lo; c < hi; c++ {
			clear(h)
			if s.H0 != nil {
				copy(h, s.H0[c*n:])
			}
			s.forwardRef(c, h, y, saved)
			if hOut != nil {
				copy(hOut[c*n:(c+1)*n], h)
			}
		}
	})
}

// vector returns this scan as float32 and reports whether it has a vector form.
func (s *Scan[T]) vector() (*Scan[float32], bool) {
	rows, d, n := s.sizes()
	v, ok := any(s).(*Scan[float32])
	return v, ok && active.scan.lanes > 0 && n%8 == 0 && rows > 0 && d > 0
}

// Backward adds the gradients of Forward at dy (rows, d) to g, using the states that Forward saved. dhOut (d, n) is
// the gradient of the state after the last row, or nil.
func (s *Scan[T]) Backward(g ScanGrad[T], dy Mat[T], saved, dhOut []T) {
	rows, d, n := s.sizes()
	s.check()
	dy.check("scan dy", rows, d)
	if dev := on(dy); dev != nil {
		dev.ScanGrad(any(s).(*Scan[float32]), g.as32(), f32Mat(dy), f32s(saved), f32s(dhOut))
		return
	}
	if v, ok := s.vector(); ok {
		scanBackwardVector(v, g.as32(), f32Mat(dy), f32s(saved), f32s(dhOut))
		return
	}
	g.clearFresh()
	blocks := (d + scanBlock - 1) / scanBlock
	part := make([]T, blocks*rows*2*n) // per block of channels, row by row: dB, dC
	For(d, scanBlock, func(lo, hi int) {
		for c := lo; c < hi; c++ {
			s.backwardRef(c, g, dy, saved, dhOut, Dense(part[lo/scanBlock*rows*2*n:][:rows*2*n], rows, 2*n))
		}
	})
	sumParts(g.B, part, blocks, rows, 2*n, 0)
	sumParts(g.C, part, blocks, rows, 2*n, n)
}

func (g *ScanGrad[T]) clearFresh() {
	if g.Fresh.U {
		ClearMat(g.U)
	}
	if g.Fresh.DT {
		ClearMat(g.DT)
	}
	if g.Fresh.Z {
		ClearMat(g.Z)
	}
}

func (g *ScanGrad[T]) as32() ScanGrad[float32] {
	return ScanGrad[float32]{
		U: f32Mat(g.U), DT: f32Mat(g.DT), B: f32Mat(g.B), C: f32Mat(g.C), Z: f32Mat(g.Z),
		ALog: f32s(g.ALog), D: f32s(g.D), H0: f32s(g.H0), Fresh: g.Fresh,
	}
}

// sumParts adds the blocks of part (blocks, rows, width), starting at column from, to dst, in ascending order.
func sumParts[T Float](dst Mat[T], part []T, blocks, rows, width, from int) {
	if dst.Absent() {
		return
	}
	For(rows, rowGrain, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			row := dst.Row(t)
			for b := range blocks {
				addRef(row, part[(b*rows+t)*width+from:][:len(row)])
			}
		}
	})
}

// stepBlock is the number of channels of a step per task.
const stepBlock = 256

// Step advances a batch of independent sequences by one row each: row i of U, DT, B, C, and Z belongs to sequence i,
// whose state h[i] of h (batch, d, n) is updated in place. y is (batch, d). First and H0 are not read.
func (s *Scan[T]) Step(y Mat[T], h []T) {
	batch, d, n := s.sizes()
	s.check()
	y.check("scan y", batch, d)
	For(d, stepBlock, func(lo, hi int) {
		for i := range batch {
			s.stepRow(y.Row(i)[lo:hi], h[(i*d+lo)*n:(i*d+hi)*n], i, lo, hi)
		}
	})
}

// stepRow advances channels [lo, hi) of sequence i.
func (s *Scan[T]) stepRow(y, h []T, i, lo, hi int) {
	n := s.B.Cols
	if v, ok := any(s).(*Scan[float32]); ok && active.vec.step16 != nil && n == 16 && (hi-lo)%vectorStep == 0 {
		stepRowVector(v, f32s(y), f32s(h), i, lo, hi)
		return
	}
	s.stepRef(y, h, i, lo)
}
