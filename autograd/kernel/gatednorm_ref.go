package kernel

// The plain loops of the gated norm, for one group of channels of one row. Dao & Gu 2024.
//
//	v = y·silu(z)    o = w∘v·s    s = 1/√(mean(v²) + eps)
//
// and backward, with q = w∘do,
//
//	dv = s·q − s³·v·mean(q∘v)    dw = do∘v·s
//	dy = dv·silu(z)    dz = dv∘y·silu′(z)

// gatedNormRef writes o.
func gatedNormRef[T Float](o, y, z, w []T, eps float64) {
	for j, v := range y {
		o[j] = v * silu(z[j])
	}
	s := inverseRMSRef(o, eps)
	for j := range o {
		o[j] *= w[j] * s
	}
}

// ref computes the gradients.
func (g *gatedNormGrad[T]) ref() {
	v := make([]T, len(g.y))
	for j := range v {
		v[j] = g.y[j] * silu(g.z[j])
	}
	s := inverseRMSRef(v, g.eps)
	var sum float64
	for j := range v {
		sum += float64(g.w[j] * g.do[j] * v[j])
	}
	k := s * s * s * T(sum/float64(len(v)))
	for j := range v {
		dv := s*g.w[j]*g.do[j] - k*v[j]
		if g.dw != nil {
			g.dw[j] += g.do[j] * v[j] * s
		}
		g.dy[j] = dv * silu(g.z[j])
		g.dz[j] = dv * g.y[j] * siluGrad(g.z[j])
	}
}
