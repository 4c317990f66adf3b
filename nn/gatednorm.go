package nn

import (
	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
)

// GatedRMSNorm is w · v / √(mean(v²) + eps) with v = y·silu(z). The features are split into Groups equal ranges, each
// with its own mean. Dao & Gu 2024.
type GatedRMSNorm struct {
	Weight *ag.Param // (d)
	Groups int
	Eps    float64
}

// Forward records the layer for y (rows, d) and the gate in the first d columns of z.
func (n *GatedRMSNorm) Forward(y, z ag.Var) ag.Var {
	return ag.GatedRMSNorm(y, z, y.Graph().Param(n.Weight), n.Groups, n.Eps)
}

// Apply writes the norm of y gated by z to o, each (rows, d). o may be y.
func (n *GatedRMSNorm) Apply(o, y, z kernel.Mat[float32]) {
	g := kernel.GatedNorm[float32]{Y: y, Z: z, W: n.Weight.Float32s(), Groups: n.Groups, Eps: n.Eps}
	g.Forward(o)
}
