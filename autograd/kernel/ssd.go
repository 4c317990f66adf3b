package kernel

import "fmt"

// SSD is the state space duality of Mamba-2, over documents laid end to end: a recurrence in which a whole head decays
// at a single rate.
//
//	Δ(t) = clamp(softplus(dt(t) + dt_bias), Limit),  A = −exp(A_log)
//	S(t) = exp(Δ(t)·A)·S(t−1) + Δ(t)·x(t)·B(t)ᵀ
//	y(t) = S(t)·C(t) + D·x(t)
//
// Dao & Gu 2024. With h heads of p channels and g groups of n states, X is (rows, h·p), B and C are (rows, g·n), DT is (rows, h),
// and DTBias, ALog, and D are (h). A group's B and C serve h/g neighboring heads. A nil D means no skip. The states are (h, p, n).
//
// The state starts at zero where First[t] == t. A negative First[t] continues a document of the previous batch: it
// starts from H0 (h, p, n), or from zero if H0 is nil. A nil First means one document starting at row 0.
//
// The fast form divides documents into chunks. With a_k = Δ_k·A, s_i = Σ_{k≤i} a_k within a chunk of q rows, and S the
// state before the chunk,
//
//	y_i = Σ_{j≤i} (C_i·B_j)·e^{s_i−s_j}·Δ_j·x_j + e^{s_i}·S·C_i + D·x_i
//	S'  = e^{s_q}·S + Σ_j e^{s_q−s_j}·Δ_j·x_j·B_jᵀ
//
// are products of small matrices. All heads of a group share the C_i·B_j. No exponent is positive.
type SSD[T Float] struct {
	X, B, C, DT     Mat[T]
	DTBias, ALog, D []T
	Groups          int
	Limit           [2]float64 // of Δ; {0, +Inf} for no limit
	First           []int
	H0              []T
	// Chunk is the largest number of rows in a chunk. 0 selects SSDChunk in float32 and the plain recurrence in float64.
	Chunk int
}

// SSDGrad contains the destinations to which SSD.Backward adds gradients. A zero or nil one is not needed. H0 is only
// for an SSD with H0.
type SSDGrad[T Float] struct {
	X, B, C, DT         Mat[T]
	DTBias, ALog, D, H0 []T
	// Fresh marks the matrices that have no content yet: they are overwritten.
	Fresh struct{ X, B, C, DT bool }
}

// clearFresh sets the fresh matrices to zero.
func (g *SSDGrad[T]) clearFresh() {
	for m, fresh := range map[*Mat[T]]bool{&g.X: g.Fresh.X, &g.B: g.Fresh.B, &g.C: g.Fresh.C, &g.DT: g.Fresh.DT} {
		if fresh {
			ClearMat(*m)
		}
	}
}

// SSDChunk is the default length of a chunk. Longer chunks cost more within the chunk; shorter ones mean more states
// to compute and save.
const SSDChunk = 128

// ssdSizes are the sizes of an SSD.
type ssdSizes struct{ rows, heads, p, n int }

func (s *SSD[T]) sizes() ssdSizes {
	return ssdSizes{s.X.Rows, s.DT.Cols, s.X.Cols / s.DT.Cols, s.B.Cols / s.Groups}
}

func (s *SSD[T]) check() {
	z := s.sizes()
	if z.heads%s.Groups != 0 {
		panic(fmt.Sprintf("kernel: ssd: %d heads in %d groups", z.heads, s.Groups))
	}
	s.X.check("ssd x", z.rows, z.heads*z.p)
	s.DT.check("ssd dt", z.rows, z.heads)
	s.B.check("ssd B", z.rows, s.Groups*z.n)
	s.C.check("ssd C", z.rows, s.Groups*z.n)
}

// SSDSaved returns the number of elements of saved, given states of h·p·n elements: one state for each chunk except
// the first of its document. chunk is SSD.Chunk.
func SSDSaved(rows, state, chunk int) int {
	if chunk == 0 {
		chunk = SSDChunk
	}
	return (rows - 1) / chunk * state
}

// Forward writes y (rows, h·p). saved (SSDSaved elements, nil in inference) receives what Backward needs. hOut (h, p, n), if not
// nil, receives the state after the last row; it may be H0.
func (s *SSD[T]) Forward(y Mat[T], saved, hOut []T) {
	z := s.sizes()
	s.check()
	y.check("ssd y", z.rows, z.heads*z.p)
	if d := on(y); d != nil {
		d.SSD(any(s).(*SSD[float32]), f32Mat(y), f32s(saved), f32s(hOut))
		return
	}
	if s.plain() {
		For(z.heads, 1, func(lo, hi int) {
			for h := lo; h < hi; h++ {
				s.forwardRef(y, hOut, h)
			}
		})
		return
	}
	f := ssdForward[T]{ssdChunks: s.chunks(hOut), y: y, saved: saved, hOut: hOut}
	f.run()
}

// Backward adds the gradients of Forward at dy (rows, h·p) to g, using the states that Forward saved. dhOut (h, p, n)
// is the gradient of the state after the last row, or nil.
func (s *SSD[T]) Backward(g SSDGrad[T], dy Mat[T], saved, dhOut []T) {
	z := s.sizes()
	s.check()
	dy.check("ssd dy", z.rows, z.heads*z.p)
	if d := on(dy); d != nil {
		d.SSDGrad(any(s).(*SSD[float32]), any(g).(SSDGrad[float32]), f32Mat(dy), f32s(saved), f32s(dhOut))
		return
	}
	if s.plain() {
		g.clearFresh()
		each := z.heads / s.Groups // heads per group; they add to the same dB and dC
		For(s.Groups, 1, func(lo, hi int) {
			for h := lo * each; h < hi*each; h++ {
				s.backwardRef(g, dy, dhOut, h)
			}
		})
		return
	}
	b := ssdBackward[T]{ssdChunks: s.chunks(dhOut), g: g, dy: dy, saved: saved, dhOut: dhOut}
	b.run()
}

// plain reports whether the recurrence runs row by row.
func (s *SSD[T]) plain() bool { return !is32[T]() && s.Chunk == 0 || s.X.Rows == 0 }
