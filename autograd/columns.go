package autograd

import (
	"fmt"

	"mambatrain/autograd/kernel"
)

// Columns returns a copy of columns [from, to) of x (rows, width).
func Columns(x Var, from, to int) Var {
	return Apply(columns[float32]{from, to}, columns[float64]{from, to}, x)
}

type columns[T kernel.Float] struct{ from, to int }

// columnsX is the input of columns.
const columnsX = 0

func (columns[T]) Name() string { return "columns" }

func (o columns[T]) Shape(in [][]int) ([]int, error) {
	x := in[columnsX]
	if len(x) != 2 || o.from < 0 || o.to > x[1] || o.from >= o.to {
		return nil, fmt.Errorf("x is %v: no columns %d to %d", x, o.from, o.to)
	}
	return []int{x[0], o.to - o.from}, nil
}

func (columns[T]) Saves([]bool) []bool { return []bool{columnsX: false} }

func (o columns[T]) Forward(c *Call[T]) {
	kernel.CopyMat(c.Out.Mat(), c.In[columnsX].Columns(o.from, o.to))
}

// dx is dy in these columns and zero elsewhere.
func (o columns[T]) Backward(c *Call[T]) {
	kernel.AddMat(c.DIn[columnsX].Columns(o.from, o.to), c.DOut.Mat())
}
