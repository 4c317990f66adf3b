package kernel

import "unsafe"

// Scan is the selective scan of Mamba with everything around it that is elementwise, over documents laid end to end:
//
//	Δ = softplus(dt),  A = −exp(A_log)
//	h(t) = exp(Δ∘A)∘h(t−1) + Δ∘B∘u
//	y(t) = (C·h(t) + D∘u) ∘ silu(z)
//
// Gu & Dao 2023, algorithm 2; B by Euler's rule, as in the authors' selective_scan_ref. U, DT and Z are (rows, d), B and C
// (rows, n), ALog (d, n), D (d). A zero Z means no gate, a nil D no skip.
//
// The state starts from zeros where First[t] == t. A negative First[t] continues a document of the batch before: it starts
// from H0 (d, n), nil for zeros. A nil First means one document that starts at row 0.
type Scan[T Float] struct {
	U, DT, B, C Mat[T]
	Z           Mat[T]
	ALog, D     []T
	First       []int
	H0          []T
}

// ScanGrad names where Scan.Backward adds each gradient; zero and nil are not wanted.
type ScanGrad[T Float] struct {
	U, DT, B, C, Z Mat[T]
	ALog, D        []T
	// Fresh says which of the largest hold nothing yet: they are overwritten, which spares clearing and reading them.
	Fresh struct{ U, DT, Z bool }
}

// scanChunk is how many rows lie between two saved states: backward recomputes the states of one chunk at a time.
const scanChunk = 64

// scanBlock is how many channels share one partial sum of dB and dC; it is fixed so that the order of summation is.
const scanBlock = 64

// ScanSaved returns how many elements Forward wants in saved: the states at every 64th row, (⌈rows/64⌉, d, n).
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

// Forward writes y (rows, d). saved (ScanSaved elements, nil in inference) keeps what Backward needs; hOut (d, n), if not
// nil, receives the state after the last row, and may be H0.
func (s *Scan[T]) Forward(y Mat[T], saved []T, hOut []T) {
	rows, d, n := s.sizes()
	s.check()
	y.check("scan y", rows, d)
	if s.vector() {
		s.forwardVec(*(*Mat[float32])(unsafe.Pointer(&y)), f32s(saved), f32s(hOut))
		return
	}
	For(d, scanBlock, func(lo, hi int) {
		h := make([]T, n)
		for c := lo; c < hi; c++ {
			s.start(h, c)
			s.channel(h, c, y, saved)
			if hOut != nil {
				copy(hOut[c*n:(c+1)*n], h)
			}
		}
	})
}

// vector reports whether scan_vector.go's form is there and fits.
func (s *Scan[T]) vector() bool {
	rows, d, n := s.sizes()
	return is32[T]() && active.scan > 0 && n%8 == 0 && rows > 0 && d > 0
}

// start sets h to the state of channel c before row 0.
func (s *Scan[T]) start(h []T, c int) {
	if s.H0 != nil {
		copy(h, s.H0[c*len(h):])
	} else {
		clear(h)
	}
}

// channel runs one channel over all rows.
func (s *Scan[T]) channel(h []T, c int, y Mat[T], saved []T) {
	rows, d, n := s.sizes()
	a := make([]T, n)
	for j := range a {
		a[j] = -exp(s.ALog[c*n+j])
	}
	for t := range rows {
		if t%scanChunk == 0 && saved != nil {
			copy(saved[(t/scanChunk*d+c)*n:], h)
		}
		if firstRow(s.First, t) == t {
			clear(h)
		}
		u := s.U.Data[t*s.U.Stride+c]
		v := s.step(h, a, t, c) + s.skip(c)*u
		if !s.Z.Absent() {
			v *= silu(s.Z.Data[t*s.Z.Stride+c])
		}
		y.Data[t*y.Stride+c] = v
	}
}

func (s *Scan[T]) skip(c int) T {
	if s.D == nil {
		return 0
	}
	return s.D[c]
}

// step advances the state of channel c by row t and returns C·h.
func (s *Scan[T]) step(h, a []T, t, c int) T {
	delta := softplus(s.DT.Data[t*s.DT.Stride+c])
	du := delta * s.U.Data[t*s.U.Stride+c]
	b, cc := s.B.Row(t)[:len(h)], s.C.Row(t)[:len(h)]
	a = a[:len(h)]
	var y T
	for j := range h {
		h[j] = exp(delta*a[j])*h[j] + du*b[j]
		y += h[j] * cc[j]
	}
	return y
}

// Backward adds to g the gradients of Forward at dy (rows, d), from the states Forward saved. No gradient flows into H0.
func (s *Scan[T]) Backward(g ScanGrad[T], dy Mat[T], saved []T) {
	rows, d, n := s.sizes()
	s.check()
	dy.check("scan dy", rows, d)
	if s.vector() {
		s.backwardVec(*(*ScanGrad[float32])(unsafe.Pointer(&g)), *(*Mat[float32])(unsafe.Pointer(&dy)), f32s(saved))
		return
	}
	for m, fresh := range map[*Mat[T]]bool{&g.U: g.Fresh.U, &g.DT: g.Fresh.DT, &g.Z: g.Fresh.Z} {
		if fresh {
			ClearMat(*m)
		}
	}
	blocks := (d + scanBlock - 1) / scanBlock
	part := make([]T, blocks*rows*2*n) // per block of channels, row by row: dB, dC
	For(d, scanBlock, func(lo, hi int) {
		own := part[lo/scanBlock*rows*2*n:][:rows*2*n]
		for c := lo; c < hi; c++ {
			s.channelBackward(g, dy, saved, own, c)
		}
	})
	sumParts(g.B, part, blocks, rows, 2*n, 0)
	sumParts(g.C, part, blocks, rows, 2*n, n)
}

// sumParts adds to dst the blocks of part (blocks, rows, width), from column from on, in ascending order.
func sumParts[T Float](dst Mat[T], part []T, blocks, rows, width, from int) {
	if dst.Absent() {
		return
	}
	For(rows, rowGrain, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			row := dst.Row(t)
			for b := range blocks {
				p := part[(b*rows+t)*width+from:][:len(row)]
				for j, v := range p {
					row[j] += v
				}
			}
		}
	})
}

// channelBackward walks one channel backwards, a chunk at a time: it first recomputes the chunk's states.
func (s *Scan[T]) channelBackward(g ScanGrad[T], dy Mat[T], saved, part []T, c int) {
	rows, d, n := s.sizes()
	w := &scanWalk[T]{c: c, a: make([]T, n), da: make([]T, n), dh: make([]T, n), zero: make([]T, n)}
	for j := range w.a {
		w.a[j] = -exp(s.ALog[c*n+j])
	}
	hs := make([]T, (scanChunk+1)*n) // hs[i+1] is the state after the chunk's row i
	ys := make([]T, scanChunk)       // C·h
	for lo := (rows - 1) / scanChunk * scanChunk; lo >= 0; lo -= scanChunk {
		hi := min(rows, lo+scanChunk)
		copy(hs[:n], saved[(lo/scanChunk*d+c)*n:])
		for t := lo; t < hi; t++ {
			after := hs[(t-lo+1)*n:][:n]
			copy(after, s.before(w, hs, t, lo))
			ys[t-lo] = s.step(after, w.a, t, c)
		}
		for t := hi - 1; t >= lo; t-- {
			w.before, w.after = s.before(w, hs, t, lo), hs[(t-lo+1)*n:][:n]
			s.rowBackward(g, dy, w, part[t*2*n:][:2*n], ys[t-lo], t)
			if firstRow(s.First, t) == t {
				clear(w.dh) // what follows a reset has no say in the document before
			}
		}
	}
	if g.ALog != nil {
		for j, v := range w.da {
			g.ALog[c*n+j] += v * w.a[j]
		}
	}
	if g.D != nil {
		g.D[c] += w.dD
	}
}

// scanWalk is what one channel carries on its way back.
type scanWalk[T Float] struct {
	c                   int
	a, da, dh           []T // A, its gradient, and the gradient of the state
	before, after, zero []T // the states around the current row
	dD                  T
}

// before returns the state row t starts from.
func (s *Scan[T]) before(w *scanWalk[T], hs []T, t, lo int) []T {
	if firstRow(s.First, t) == t {
		return w.zero
	}
	return hs[(t-lo)*len(w.a):][:len(w.a)]
}

// rowBackward takes one channel back over row t; y is C·h there, part receives dB and dC.
func (s *Scan[T]) rowBackward(g ScanGrad[T], dy Mat[T], w *scanWalk[T], part []T, y T, t int) {
	c, n := w.c, len(w.a)
	u, dt, gy := s.U.Data[t*s.U.Stride+c], s.DT.Data[t*s.DT.Stride+c], dy.Data[t*dy.Stride+c]
	if !s.Z.Absent() {
		z := s.Z.Data[t*s.Z.Stride+c]
		if !g.Z.Absent() {
			g.Z.Data[t*g.Z.Stride+c] += gy * (y + s.skip(c)*u) * siluGrad(z)
		}
		gy *= silu(z)
	}
	w.dD += gy * u
	delta := softplus(dt)
	b, cc := s.B.Row(t)[:n], s.C.Row(t)[:n]
	var sumB, sumA T // Σ dh∘B and the part of dΔ that comes through exp(Δ∘A)
	for j, a := range w.a {
		dh := w.dh[j] + gy*cc[j]
		part[j] += dh * delta * u
		part[n+j] += gy * w.after[j]
		sumB += dh * b[j]
		dh *= exp(delta * a)
		q := dh * w.before[j]
		sumA += q * a
		w.da[j] += q * delta
		w.dh[j] = dh
	}
	if !g.U.Absent() {
		g.U.Data[t*g.U.Stride+c] += gy*s.skip(c) + sumB*delta
	}
	if !g.DT.Absent() {
		slope := T(1)
		if dt <= 20 {
			slope = sigmoid(dt)
		}
		g.DT.Data[t*g.DT.Stride+c] += (sumB*u + sumA) * slope
	}
}

// Step advances a batch of independent sequences by one row each: row i of U, DT, B, C and Z belongs to sequence i,
// whose state h[i] of h (batch, d, n) is advanced in place. y is (batch, d); First and H0 are not read.
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

// stepBlock is how many channels of a step one task takes.
const stepBlock = 256

// stepRow advances channels [lo, hi) of sequence i.
func (s *Scan[T]) stepRow(y, h []T, i, lo, hi int) {
	n := s.B.Cols
	if is32[T]() && active.vec.step16 != nil && n == 16 && (hi-lo)%vectorStep == 0 {
		stepRowVec((*Scan[float32])(unsafe.Pointer(s)), f32s(y), f32s(h), i, lo, hi)
		return
	}
	a := make([]T, n)
	for c := lo; c < hi; c++ {
		for j := range a {
			a[j] = -exp(s.ALog[c*n+j])
		}
		v := s.step(h[(c-lo)*n:(c-lo+1)*n], a, i, c) + s.skip(c)*s.U.Row(i)[c]
		if !s.Z.Absent() {
			v *= silu(s.Z.Row(i)[c])
		}
		y[c-lo] = v
	}
}
