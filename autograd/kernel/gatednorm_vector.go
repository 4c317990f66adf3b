package kernel

import "math"

// gatedNormVector is the vector form of gatedNormRef.
func gatedNormVector(o, y, z, w []float32, eps float64) {
	apply3(active.vec.gate, o, y, z)
	rmsNormVector(o, o, w, eps)
}

// gatedNormGradVector is gatedNormGrad.ref for groups of whole vectors. room is two rows of scratch.
func gatedNormGradVector(g *gatedNormGrad[float32], room [2][]float32) {
	n, v, s := len(g.y), &room[0][0], &room[1][0]
	squares, products := gatedSums(n, v, s, &g.y[0], &g.z[0], &g.w[0], &g.do[0])
	r := float32(1 / math.Sqrt(squares/float64(n)+g.eps))
	gatedGrad(n, &g.dy[0], &g.dz[0], v, s, &g.y[0], &g.z[0], &g.w[0], &g.do[0], r, r*r*r*float32(products/float64(n)))
	if g.dw != nil {
		active.vec.mulAddScaled(n, &g.dw[0], &g.do[0], v, r)
	}
}
