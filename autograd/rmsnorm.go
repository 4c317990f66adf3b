package autograd

import (
	"fmt"

	"mambatrain/autograd/kernel"
)

// RMSNorm returns y = w ∘ x / √(mean(x²) + eps), row by row, for x (rows, m) and w (m). Zhang & Sennrich 2019.
func RMSNorm(x, w Var, eps float64) Var {
	return Apply(rmsNorm[float32]{eps}, rmsNorm[float64]{eps}, x, w)
}

type rmsNorm[T kernel.Float] struct{ eps float64 }

// Inputs of rmsNorm.
const (
	rmsNormX = iota
	rmsNormW
)

func (rmsNorm[T]) Name() string { return "rmsnorm" }

func (rmsNorm[T]) Shape(in [][]int) ([]int, error) {
	x, w := in[rmsNormX], in[rmsNormW]
	if len(x) != 2 || len(w) != 1 || x[1] != w[0] {
		return nil, fmt.Errorf("x is %v, w is %v: want (rows, m) and (m)", x, w)
	}
	return x, nil
}

func (o rmsNorm[T]) Forward(c *Call[T]) {
	kernel.RMSNorm(c.Out.Mat(), c.In[rmsNormX].Mat(), c.In[rmsNormW].Data, o.eps)
}

// With ρ = 1/√(mean(x²) + eps): dw = Σ over rows of dy ∘ x·ρ, and dx = ρ·w∘dy − ρ³·x·mean(w∘dy∘x).
func (o rmsNorm[T]) Backward(c *Call[T]) {
	kernel.RMSNormGrad(c.DIn[rmsNormX].Mat(), c.DIn[rmsNormW].Data, c.DOut.Mat(), c.In[rmsNormX].Mat(), c.In[rmsNormW].Data, o.eps)
}
