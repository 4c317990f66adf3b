package autograd

import (
	"fmt"

	"mambatrain/autograd/kernel"
)

// GatedRMSNorm returns w ∘ v / √(mean(v²) + eps) with v = y∘silu(z), row by row. The channels are split into equal
// groups, each with its own mean. y is (rows, d), w is (d), and the first d columns of z (rows, d or more) are the
// gate. Dao & Gu 2024.
func GatedRMSNorm(y, z, w Var, groups int, eps float64) Var {
	return Apply(gatedRMSNorm[float32]{groups, eps}, gatedRMSNorm[float64]{groups, eps}, y, z, w)
}

type gatedRMSNorm[T kernel.Float] struct {
	groups int
	eps    float64
}

// Inputs of gatedRMSNorm.
const (
	gatedY = iota
	gatedZ
	gatedW
)

func (gatedRMSNorm[T]) Name() string { return "gated_rmsnorm" }

func (o gatedRMSNorm[T]) Shape(in [][]int) ([]int, error) {
	y, z, w := in[gatedY], in[gatedZ], in[gatedW]
	if len(y) != 2 || len(z) != 2 || len(w) != 1 || z[1] < y[1] || w[0] != y[1] || o.groups < 1 || y[1]%o.groups != 0 {
		return nil, fmt.Errorf("y is %v, z is %v, w is %v, in %d groups: want (rows, d), (rows, d or more), and (d), where groups divide d", y, z, w, o.groups)
	}
	return y, nil
}

func (o gatedRMSNorm[T]) kernel(c *Call[T]) *kernel.GatedNorm[T] {
	w := c.In[gatedW]
	return &kernel.GatedNorm[T]{Y: c.In[gatedY].Mat(), Z: c.In[gatedZ].Columns(0, w.Shape[0]), W: w.Data, Groups: o.groups, Eps: o.eps}
}

func (o gatedRMSNorm[T]) Forward(c *Call[T]) { o.kernel(c).Forward(c.Out.Mat()) }

func (gatedRMSNorm[T]) Overwrites(i int) bool { return i == gatedY || i == gatedZ }

// In each group, with ρ = 1/√(mean(v²) + eps) and q = w∘do: dv = ρ·q − ρ³·v·mean(q∘v), dw = Σ over rows of do∘v·ρ,
// dy = dv∘silu(z), and dz = dv∘y∘silu′(z).
func (o gatedRMSNorm[T]) Backward(c *Call[T]) {
	d := c.In[gatedW].Shape[0]
	g := kernel.GatedNormGrad[T]{Y: c.DIn[gatedY].Mat(), W: c.DIn[gatedW].Data}
	g.Fresh.Y, g.Fresh.Z = c.Mode(gatedY) == kernel.Set, c.Mode(gatedZ) == kernel.Set
	if z := c.DIn[gatedZ]; !z.Absent() {
		g.Z = z.Columns(0, d)
		if g.Fresh.Z {
			kernel.ClearMat(z.Columns(d, width(z.Shape)))
		}
	}
	o.kernel(c).Backward(g, c.DOut.Mat())
}
