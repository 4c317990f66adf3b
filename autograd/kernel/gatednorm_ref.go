package kernel

// The gated norm of one group of channels of one row, plainly.

// groupRef writes o = w∘v·ρ with v = y·silu(z) and ρ = 1/√(mean(v²) + eps).
func (n *GatedNorm[T]) groupRef(o, y, z, w []T) {
	for j, v := range y {
		o[j] = v * silu(z[j])
	}
	s := T(inverseRMS(o, n.Eps))
	for j := range o {
		o[j] = w[j] * o[j] * s
	}
}

// groupBackwardRef is groupRef's gradient: with q = w∘do,
//
//	dv = ρ·q − ρ³·v·mean(q∘v)    dw = do∘v·ρ
//	dy = dv·silu(z)    dz = dv∘y·silu′(z)
//
// It overwrites dy and dz and adds to dw, each of which may be nil.
func (n *GatedNorm[T]) groupBackwardRef(dy, dz, dw, do, y, z, w []T) {
	v := make([]T, len(y))
	for j := range v {
		v[j] = y[j] * silu(z[j])
	}
	s := T(inverseRMS(v, n.Eps))
	var c float64
	for j := range v {
		c += float64(w[j] * do[j] * v[j])
	}
	k := s * s * s * T(c/float64(len(v)))
	for j := range v {
		dv := s*w[j]*do[j] - k*v[j]
		if dw != nil {
			dw[j] += do[j] * v[j] * s
		}
		if dy != nil {
			dy[j] = dv * silu(z[j])
		}
		if dz != nil {
			dz[j] = dv * y[j] * siluGrad(z[j])
		}
	}
}
