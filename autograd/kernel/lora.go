package kernel

// Adapter is a low-rank addition to a frozen weight: W + Scale·B·A, A (r, in), B (out, r). Hu et al. 2021.
type Adapter struct {
	A, B  Mat[float32]
	Scale float32
}

// AdapterGrad names where BackwardLoRA adds the gradients of A and B; a zero Mat is not wanted.
type AdapterGrad struct{ A, B Mat[float32] }

// ForwardLoRA computes y = x·Wᵀ + Scale·(x·Aᵀ)·Bᵀ, or adds it to y, and leaves z = x·Aᵀ (rows, r) for BackwardLoRA.
func (p *Packed) ForwardLoRA(mode Mode, y, x Mat[float32], ad Adapter, z Mat[float32]) {
	MatMulNT(Set, z, 1, x, ad.A)
	p.Forward(mode, y, x)
	MatMulNT(Add, y, ad.Scale, z, ad.B)
}

// BackwardLoRA computes dx (rows, in) = dy·W + Scale·(dy·B)·A, or adds it to dx, and adds the adapter's gradients to g:
// with dz = Scale·dy·B, dA += dzᵀ·x and dB += Scale·dyᵀ·z. A zero dx is not wanted. z is what ForwardLoRA left.
func (p *Packed) BackwardLoRA(mode Mode, dx Mat[float32], g AdapterGrad, dy, x, z Mat[float32], ad Adapter) {
	rank := ad.A.Rows
	dz := Dense(make([]float32, dy.Rows*rank), dy.Rows, rank)
	MatMulNN(Set, dz, ad.Scale, dy, ad.B)
	if !dx.Absent() {
		p.Backward(mode, dx, dy)
		MatMulNN(Add, dx, 1, dz, ad.A)
	}
	if !g.A.Absent() {
		MatMulTN(Add, g.A, 1, dz, x)
	}
	if !g.B.Absent() {
		MatMulTN(Add, g.B, ad.Scale, dy, z)
	}
}
