package autograd_test

import (
	"context"
	"fmt"
	"log"
	"math"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
)

// Swish returns x·σ(x), elementwise, for x (rows, width). Ramachandran et al. 2017.
func Swish(x ag.Var) ag.Var { return ag.Apply(swish[float32]{}, swish[float64]{}, x) }

// swish is the operation, written once for both precisions.
type swish[T kernel.Float] struct{}

// swishX is the index of its input.
const swishX = 0

func (swish[T]) Name() string { return "swish" }

func (swish[T]) Shape(in [][]int) ([]int, error) {
	x := in[swishX]
	if len(x) != 2 {
		return nil, fmt.Errorf("x is %v, want (rows, width)", x)
	}
	return x, nil
}

func (swish[T]) Forward(c *ag.Call[T]) {
	for i, x := range c.In[swishX].Data {
		c.Out.Data[i] = x * sigmoid(x)
	}
}

// dy/dx = σ(x)·(1 + x·(1 − σ(x)))
func (swish[T]) Backward(c *ag.Call[T]) {
	if c.DIn[swishX].Absent() { // nothing that x depends on is trainable
		return
	}
	for i, x := range c.In[swishX].Data {
		s := sigmoid(x)
		c.DIn[swishX].Data[i] += c.DOut.Data[i] * s * (1 + x*(1-s))
	}
}

func sigmoid[T kernel.Float](x T) T { return T(1 / (1 + math.Exp(-float64(x)))) }

// A new operation is a type with four methods and a function that records it. One call of gradtest.Check checks its
// gradient, and a graph uses it like any other operation.
func Example_newOperation() {
	table := ag.Zeros("table", 3, 2)
	copy(table.Float32s(), []float32{-2, -1, 0, 1, 2, 3})
	if err := table.Train(); err != nil {
		log.Fatal(err)
	}
	g := ag.NewGraph(ag.Options{Rows: 4})
	x := ag.Embedding(g.Param(table), g.Tokens(), ag.LowRank{})
	y := Swish(x)
	loss := ag.CrossEntropy(y, g.Param(table), ag.LowRank{}, ag.LossOptions{})
	program, err := g.Compile(loss, y)
	if err != nil {
		log.Fatal(err)
	}
	tokens := []int{0, 2, 1}
	batch := ag.Batch{Tokens: tokens, Labels: tokens, Starts: []int{0}}
	if _, err := program.Eval(context.Background(), batch); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("swish of -2 and -1: %.3f\n", program.Float32s(y)[:2])
	l, err := program.Step(context.Background(), ag.Step{Batch: batch, Scale: 1})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("loss %.3f over %d labels\n", l.Sum, l.Tokens)
	fmt.Printf("gradient of row 0: %.3f\n", table.GradFloat32s()[:2])
	// Output:
	// swish of -2 and -1: [-0.238 -0.269]
	// loss 11.670 over 2 labels
	// gradient of row 0: [0.128 -0.409]
}
