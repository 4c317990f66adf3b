package autograd

import (
	"fmt"
	"slices"

	"mambatrain/autograd/kernel"
)

// ScanInput are the inputs of [SelectiveScan], with d channels and n states. X is the unmodified output of x_proj.
type ScanInput struct {
	U    Var // (rows, d): the convolution's output
	DT   Var // (rows, d): Δ before softplus
	X    Var // (rows, 2n or more): its last 2n columns are B and C
	Z    Var // (rows, d or more): its last d columns gate the output; absent for no gate
	ALog Var // (d, n): A = −exp(ALog)
	D    Var // (d)
	// Start (d, n) is the initial state of each document; absent for zeros.
	Start Var
}

// SelectiveScan computes for each document, starting from h = Start,
//
//	Δ(t) = softplus(DT(t))
//	h(t) = exp(Δ(t)·A)∘h(t−1) + Δ(t)·u(t)·B(t)
//	y(t) = (C(t)·h(t) + D∘u(t)) ∘ silu(z(t))
//
// and returns y (rows, d). Gu & Dao 2023, algorithm 2, with B discretized by Euler's rule as in the authors'
// selective_scan_ref.
func SelectiveScan(in ScanInput) Var {
	in.U.Graph().startsFrom(in.Start)
	return Apply(selectiveScan[float32]{}, selectiveScan[float64]{}, in.U, in.DT, in.X, in.Z, in.ALog, in.D, in.Start, in.U.Graph().first())
}

type selectiveScan[T kernel.Float] struct{}

// Inputs of selectiveScan.
const (
	scanU = iota
	scanDT
	scanX
	scanZ
	scanALog
	scanD
	scanStart
	scanFirst
)

func (selectiveScan[T]) Name() string { return "selective_scan" }

func (selectiveScan[T]) Shape(in [][]int) ([]int, error) {
	u, dt, x, z, a, dd := in[scanU], in[scanDT], in[scanX], in[scanZ], in[scanALog], in[scanD]
	if len(u) != 2 || len(dt) != 2 || len(x) != 2 || len(a) != 2 || len(dd) != 1 ||
		dt[1] != u[1] || a[0] != u[1] || dd[0] != u[1] || x[1] < 2*a[1] || z != nil && (len(z) != 2 || z[1] < u[1]) {
		return nil, fmt.Errorf("u is %v, dt is %v, x is %v, z is %v, A_log is %v, D is %v: want (rows, d) twice, (rows, 2n or more), (rows, d or more), (d, n), and (d)", u, dt, x, z, a, dd)
	}
	if s := in[scanStart]; s != nil && !slices.Equal(s, a) {
		return nil, fmt.Errorf("the start state is %v, want %v", s, a)
	}
	return u, nil
}

// StateSize returns the size of the hidden states at the start of each chunk, from which Backward recomputes the
// others.
func (selectiveScan[T]) StateSize(in [][]int) int {
	return kernel.ScanSaved(in[scanU][0], in[scanALog][0], in[scanALog][1])
}

// CarrySize returns the size of the hidden state after the last row.
func (selectiveScan[T]) CarrySize(in [][]int) int { return in[scanALog][0] * in[scanALog][1] }

func (selectiveScan[T]) DeviceSizes(in [][]int) kernel.DeviceSizes {
	return kernel.DeviceSizes{Rows: in[scanU][0], Channels: in[scanALog][0], ScanStates: in[scanALog][1]}
}

func (selectiveScan[T]) kernel(c *Call[T]) *kernel.Scan[T] {
	x, z, a := c.In[scanX], c.In[scanZ], c.In[scanALog]
	s := &kernel.Scan[T]{U: c.In[scanU].Mat(), DT: c.In[scanDT].Mat(), ALog: a.Data, D: c.In[scanD].Data, First: c.In[scanFirst].Ints, H0: c.CarryIn}
	s.B, s.C = lastColumns(x, 2*a.Shape[1], a.Shape[1]), lastColumns(x, a.Shape[1], 0)
	if !z.Absent() {
		s.Z = lastColumns(z, a.Shape[0], 0)
	}
	return s
}

func (o selectiveScan[T]) Forward(c *Call[T]) {
	var saved []T
	if c.Training {
		saved = c.State
	}
	c.start(scanStart)
	o.kernel(c).Forward(c.Out.Mat(), saved, c.CarryOut)
}

func (selectiveScan[T]) Overwrites(i int) bool { return i == scanU || i == scanDT || i == scanZ }

// With g the gradient before the gate and λ(t) = ∂L/∂h(t), from the last row of each document to its first:
//
//	λ(t) = g(t)·C(t) + exp(Δ(t+1)·A)∘λ(t+1)
//	dC = Σ_d g·h   dB = Σ_d λ·Δ·u   dD = Σ_t g·u
//	du = g·D + Σ_n λ·Δ·B
//	dΔ = Σ_n λ∘(A∘exp(ΔA)∘h(t−1) + B·u)   dDT = dΔ·σ(DT)
//	dA = Σ_t λ·Δ·exp(ΔA)∘h(t−1)   dALog = dA∘A
//
// and dz = dy∘(C·h + D∘u)·silu'(z). In a graph that runs in segments, λ starts from the gradient of the carried-out
// state, and a carried-in state h(−1), or Start, has the gradient exp(Δ(0)·A)∘λ(0).
func (o selectiveScan[T]) Backward(c *Call[T]) {
	d, n := c.In[scanALog].Shape[0], c.In[scanALog].Shape[1]
	g := kernel.ScanGrad[T]{U: c.DIn[scanU].Mat(), DT: c.DIn[scanDT].Mat(), ALog: c.DIn[scanALog].Data, D: c.DIn[scanD].Data, H0: c.DCarryIn}
	g.Fresh.U, g.Fresh.DT, g.Fresh.Z = c.Mode(scanU) == kernel.Set, c.Mode(scanDT) == kernel.Set, c.Mode(scanZ) == kernel.Set
	if x := c.DIn[scanX]; !x.Absent() {
		g.B, g.C = lastColumns(x, 2*n, n), lastColumns(x, n, 0)
	}
	if z := c.DIn[scanZ]; !z.Absent() {
		g.Z = lastColumns(z, d, 0)
		if g.Fresh.Z {
			kernel.ClearMat(z.Columns(0, width(z.Shape)-d))
		}
	}
	o.kernel(c).Backward(g, c.DOut.Mat(), c.State, c.DCarryOut)
	c.startGrad(scanStart)
}

// lastColumns returns a view of columns [w−from, w−to) of a, which has w columns.
func lastColumns[T kernel.Float](a Array[T], from, to int) kernel.Mat[T] {
	w := width(a.Shape)
	return a.Columns(w-from, w-to)
}
