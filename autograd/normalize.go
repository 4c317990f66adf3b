package autograd

import (
	"fmt"

	"mambatrain/autograd/kernel"
)

// Normalize splits the columns of x (rows, Σ widths) into ranges of the given widths and divides each range by its root
// mean square, v/√(mean(v²) + eps), row by row: RMSNorm without a weight. FalconMamba applies it to dt, B, and C.
func Normalize(x Var, eps float64, widths ...int) Var {
	return Apply(normalize[float32]{eps, widths}, normalize[float64]{eps, widths}, x)
}

type normalize[T kernel.Float] struct {
	eps    float64
	widths []int
}

// The input of normalize.
const normalizeX = 0

func (normalize[T]) Name() string { return "normalize" }

func (o normalize[T]) Shape(in [][]int) ([]int, error) {
	x, sum := in[normalizeX], 0
	for _, w := range o.widths {
		if w < 1 {
			return nil, fmt.Errorf("ranges of %v columns: want at least one in each", o.widths)
		}
		sum += w
	}
	if len(x) != 2 || x[1] != sum {
		return nil, fmt.Errorf("x is %v: want (rows, %d)", x, sum)
	}
	return x, nil
}

func (o normalize[T]) Forward(c *Call[T]) {
	from := 0
	for _, w := range o.widths {
		kernel.Normalize(c.Out.Columns(from, from+w), c.In[normalizeX].Columns(from, from+w), o.eps)
		from += w
	}
}

func (normalize[T]) Overwrites(int) bool { return true }

// In each range, with ρ = 1/√(mean(x²) + eps): dx = ρ·dy − ρ³·x·mean(dy∘x).
func (o normalize[T]) Backward(c *Call[T]) {
	from := 0
	for _, w := range o.widths {
		to := from + w
		kernel.NormalizeGrad(c.Mode(normalizeX), c.DIn[normalizeX].Columns(from, to), c.DOut.Columns(from, to), c.In[normalizeX].Columns(from, to), o.eps)
		from = to
	}
}
