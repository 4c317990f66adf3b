package kernel

// gatedNormVector is gatedNormRef.
func gatedNormVector(o, y, z, w []float32, eps float64) {
	apply3(active.vec.gate, o, y, z)
	rmsNormVector(o, o, w, eps)
}

// gatedNormGradVector is gatedNormGrad.ref for groups of whole vectors. room is two rows.
func gatedNormGradVector(g *gatedNormGrad[float32], room [2][]float32) {
	vec, n := &active.vec, len(g.y)
	v, dv := room[0][:n], room[1][:n]
	vec.gate(n, &v[0], &g.y[0], &g.z[0])
	s := inverseRMSVector(v, g.eps)
	clear(dv)
	rmsNormGradVector(dv, g.do, v, g.w, s)
	if g.dw != nil {
		vec.mulAddScaled(n, &g.dw[0], &g.do[0], &v[0], s)
	}
	vec.gate(n, &g.dy[0], &dv[0], &g.z[0])
	vec.mul(n, &v[0], &dv[0], &g.y[0])
	vec.siluGrad(n, &g.dz[0], &v[0], &g.z[0])
}
