package autograd

import (
	"fmt"

	"mambatrain/autograd/kernel"
)

// LowRank is the trainable change that LoRA (Hu et al. 2021) adds to the frozen weight of a [Linear], an [Embedding], or
// a [CrossEntropy] head: W + Scale·B·A, or W + Scale·(B·A)ᵀ for a table. The zero LowRank means no change.
//
// LoRA and DoRA are implemented in these places:
//
//   - lora.go, this file: the branch of a projection, forward and backward. embedding.go has the branch of a table.
//   - dora.go: the magnitude, and the norms of the adapted weight.
//   - kernel.Packed.ForwardLoRA and BackwardLoRA: projection and branch as one product.
//   - nn/lora.go: the parameters of a layer's adapter, and the layer's output without a graph.
//   - package lora: which layers get an adapter, its initial values, files, and merging.
type LowRank struct {
	A Var // (r, in), or (r, v) for a table
	B Var // (out, r), or (m, r) for a table
	// Scale is lora_alpha/r, or lora_alpha/√r.
	Scale float64
	// Dropout is the fraction of the branch's inputs that a training run drops.
	Dropout float64
	// From and To limit the branch to outputs [From, To); B then has To−From rows. Zero for both means all outputs.
	From, To int
	// Magnitude turns the branch into DoRA (Liu et al. 2024): the adapted weight is rescaled so that its rows, or its
	// columns for a table, have these norms. It has one number per output of the branch and is absent for plain LoRA.
	Magnitude Var
}

// group is the range of outputs that a branch changes; the zero group means all of them.
type group struct{ from, to int }

func (lr LowRank) group() group { return group{lr.From, lr.To} }

func (g group) all() bool { return g.to == 0 }

// bounds returns the group as a range, given the total number of outputs.
func (g group) bounds(out int) (from, to int) {
	if g.all() {
		return 0, out
	}
	return g.from, g.to
}

// branchConstants are the constants of a projection's branch.
type branchConstants[T kernel.Float] struct {
	scale   T
	dropout float64
	outputs group
}

func newBranchConstants[T kernel.Float](lr LowRank) branchConstants[T] {
	return branchConstants[T]{T(lr.Scale), lr.Dropout, lr.group()}
}

// check returns an error if the shapes of A and B do not match the weight's. They are nil if there is no branch.
func (o branchConstants[T]) check(w, a, b []int) error {
	if from, to := o.outputs.bounds(w[0]); a != nil && (len(a) != 2 || len(b) != 2 || a[1] != w[1] || b[0] != to-from || to > w[0] || a[0] != b[1]) {
		return fmt.Errorf("w is %v, A is %v, B is %v: want (out, in), (r, in), and (out, r)", w, a, b)
	}
	if (a == nil) != (b == nil) {
		return fmt.Errorf("only one of A and B is given: A is %v, B is %v", a, b)
	}
	if a != nil && !(o.dropout >= 0 && o.dropout < 1) {
		return fmt.Errorf("dropout must be at least 0 and below 1, got %v", o.dropout)
	}
	return nil
}

// drops reports whether this run drops inputs of the branch.
func (o branchConstants[T]) drops(c *Call[T]) bool { return o.dropout > 0 && c.Training }

// branch is a projection's branch in one call, Scale·drop(x)·Aᵀ·Bᵀ. The zero branch adds nothing.
type branch[T kernel.Float] struct {
	branchConstants[T]
	a, b   kernel.Mat[T]
	da, db kernel.Mat[T] // absent if not needed
	z      kernel.Mat[T] // (rows, r): drop(x)·Aᵀ, needed by backward
	dz     kernel.Mat[T] // (rows, r), scratch
	spare  kernel.Mat[T] // (rows, in), scratch for dropout
	rows   []int         // for each row, its row in the batch; nil if they are the same
}

// forward adds the branch to y, which has all outputs of the projection.
func (l branch[T]) forward(c *Call[T], y, x kernel.Mat[T]) {
	if l.a.Absent() {
		return
	}
	kernel.MatMulNT(kernel.Set, l.z, 1, l.input(c, x), l.a)
	kernel.MatMulNT(kernel.Add, l.columns(y), l.scale, l.z, l.b)
}

// backward adds the gradients of A and B, and the branch's part of dx, which may be absent:
//
//	dz = Scale·dy·B   dA = dzᵀ·drop(x)   dB = Scale·dyᵀ·z   dx = drop(dz·A)
func (l branch[T]) backward(c *Call[T], dx, dy, x kernel.Mat[T]) {
	if l.a.Absent() {
		return
	}
	dy = l.columns(dy)
	if !l.db.Absent() {
		kernel.MatMulTN(kernel.Add, l.db, l.scale, dy, l.z)
	}
	if dx.Absent() && l.da.Absent() {
		return
	}
	kernel.MatMulNN(kernel.Set, l.dz, l.scale, dy, l.b)
	if !l.da.Absent() {
		kernel.MatMulTN(kernel.Add, l.da, 1, l.dz, l.input(c, x))
	}
	switch {
	case dx.Absent():
	case l.drops(c):
		kernel.MatMulNN(kernel.Set, l.spare, 1, l.dz, l.a)
		drop(c, l.spare, l.spare, l.dropout, l.rows)
		kernel.AddMat(dx, l.spare)
	default:
		kernel.MatMulNN(kernel.Add, dx, 1, l.dz, l.a)
	}
}

// input returns drop(x): x itself, or a copy if this run uses dropout.
func (l branch[T]) input(c *Call[T], x kernel.Mat[T]) kernel.Mat[T] {
	if !l.drops(c) {
		return x
	}
	drop(c, l.spare, x, l.dropout, l.rows)
	return l.spare
}

// columns returns the columns of a projection's output that the branch changes.
func (l branch[T]) columns(y kernel.Mat[T]) kernel.Mat[T] {
	from, to := l.outputs.bounds(y.Cols)
	return y.Slice(0, y.Rows, from, to)
}

// fused returns the packed weight w if the kernels can compute the projection and the branch as one product: the weight
// is frozen, and the branch has no dropout and changes all outputs. Otherwise it returns nil.
func (l branch[T]) fused(c *Call[T], w Array[T]) *kernel.Packed {
	if l.a.Absent() || !l.outputs.all() || l.drops(c) {
		return nil
	}
	return packed[T](w)
}

// kernel returns the branch in the form that the kernels take, and where they add its gradients.
func (l branch[T]) kernel() (kernel.LoRA, kernel.LoRAGrad) {
	return kernel.LoRA{A: f32(l.a), B: f32(l.b), Scale: float32(l.scale)}, kernel.LoRAGrad{A: f32(l.da), B: f32(l.db)}
}
