package nn

import (
	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
)

// RMSNorm is w · x / √(mean(x²) + eps), over the features of each row. Zhang & Sennrich 2019.
type RMSNorm struct {
	Weight *ag.Param // (m)
	Eps    float64
}

// Forward records the layer for x (rows, m).
func (n *RMSNorm) Forward(x ag.Var) ag.Var {
	return ag.RMSNorm(x, x.Graph().Param(n.Weight), n.Eps)
}

// Apply writes the norm of x to y, both (rows, m).
func (n *RMSNorm) Apply(y, x kernel.Mat[float32]) {
	kernel.RMSNorm(y, x, n.Weight.Float32s(), n.Eps)
}
