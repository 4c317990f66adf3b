package autograd

import (
	"fmt"
	"slices"

	"mambatrain/autograd/kernel"
)

// Add returns a + b for two arrays of the same shape, such as a residual stream and a block's output.
func Add(a, b Var) Var { return Apply(add[float32]{}, add[float64]{}, a, b) }

type add[T kernel.Float] struct{}

// Inputs of add.
const (
	addA = iota
	addB
)

func (add[T]) Name() string { return "add" }

func (add[T]) Shape(in [][]int) ([]int, error) {
	a, b := in[addA], in[addB]
	if len(a) != 2 || !slices.Equal(a, b) {
		return nil, fmt.Errorf("a is %v, b is %v: want two arrays of the same shape (rows, width)", a, b)
	}
	return a, nil
}

func (add[T]) Saves([]bool) []bool { return []bool{addA: false, addB: false} }

func (add[T]) Forward(c *Call[T]) {
	kernel.CopyMat(c.Out.Mat(), c.In[addA].Mat())
	kernel.AddMat(c.Out.Mat(), c.In[addB].Mat())
}

func (add[T]) Overwrites(int) bool { return true }

// da = db = dy.
func (add[T]) Backward(c *Call[T]) {
	pass(c, addA)
	pass(c, addB)
}

// pass adds the gradient of the output, unchanged, to the gradient of input i.
func pass[T kernel.Float](c *Call[T], i int) {
	d := c.DIn[i]
	switch {
	case d.Absent():
	case c.Mode(i) == kernel.Set:
		kernel.CopyMat(d.Mat(), c.DOut.Mat())
	default:
		kernel.AddMat(d.Mat(), c.DOut.Mat())
	}
}
