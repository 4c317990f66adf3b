package nn_test

import (
	"context"
	"fmt"
	"log"
	"math/rand/v2"

	ag "mambatrain/autograd"
	"mambatrain/lora"
	"mambatrain/nn"
)

// Bottleneck is a custom layer: x + W₂·norm(W₁·x), where W₁ reduces the number of features and W₂ restores it.
type Bottleneck struct {
	Down, Up *nn.Linear
	Norm     *nn.RMSNorm
}

// NewBottleneck returns a layer with random weights that reduces m features to n.
func NewBottleneck(path string, m, n int, r *rand.Rand) *Bottleneck {
	b := &Bottleneck{
		Down: &nn.Linear{Weight: ag.Zeros(path+".down.weight", n, m)},
		Up:   &nn.Linear{Weight: ag.Zeros(path+".up.weight", m, n)},
		Norm: &nn.RMSNorm{Weight: ag.Zeros(path+".norm.weight", n), Eps: 1e-5},
	}
	nn.FanIn(b.Down.Weight, m, r)
	nn.FanIn(b.Up.Weight, n, r)
	nn.Constant(b.Norm.Weight, 1)
	return b
}

// Forward records the layer for x (rows, m). It does not check sizes: an error sticks to the graph.
func (b *Bottleneck) Forward(x ag.Var) ag.Var {
	return ag.Add(x, b.Up.Forward(b.Norm.Forward(b.Down.Forward(x))))
}

// Tiny is a language model with the layer between its table and its head. Params and Slots are the methods that
// adapters and optimizers need.
type Tiny struct {
	Table *nn.Embedding
	Layer *Bottleneck
}

// Params returns every parameter once.
func (t *Tiny) Params() []*ag.Param {
	return []*ag.Param{t.Table.Weight, t.Layer.Down.Weight, t.Layer.Norm.Weight, t.Layer.Up.Weight}
}

// Slots returns the layers that can have an adapter.
func (t *Tiny) Slots() []nn.Slot {
	return []nn.Slot{{Path: "layer.down", Linear: t.Layer.Down}, {Path: "layer.up", Linear: t.Layer.Up}}
}

// Loss records the model. Its head shares the weight of the table.
func (t *Tiny) Loss(g *ag.Graph) ag.Var {
	head := &nn.Linear{Weight: t.Table.Weight}
	return head.CrossEntropy(t.Layer.Forward(t.Table.Forward(g.Tokens())), ag.LossOptions{})
}

// A layer is a struct of parameters and a Forward method that records it. A model made of such layers is trained like
// any other, and its slots' paths name its adapters.
func Example_newLayer() {
	r := rand.New(rand.NewPCG(1, 2))
	m := &Tiny{Table: &nn.Embedding{Weight: ag.Zeros("table.weight", 16, 8)}, Layer: NewBottleneck("layer", 8, 4, r)}
	nn.Normal(m.Table.Weight, 1, r)

	c := lora.Default()
	c.R, c.TargetModules = 2, lora.Targets{Names: []string{"down", "up"}}
	adapted, err := lora.Inject(m, c, r)
	if err != nil {
		log.Fatal(err)
	}
	if err := adapted.Train(); err != nil {
		log.Fatal(err)
	}
	g := ag.NewGraph(ag.Options{Rows: 8})
	program, err := g.Compile(m.Loss(g))
	if err != nil {
		log.Fatal(err)
	}
	tokens := []int{3, 1, 4, 1, 5, 9, 2, 6}
	loss, err := program.Step(context.Background(), ag.Step{Batch: ag.Batch{Tokens: tokens, Labels: tokens, Starts: []int{0}}, Scale: 1})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(loss.Tokens, "labels, gradients of:")
	for _, p := range program.Params() {
		if p.Trainable() {
			fmt.Println(p.Name, p.Shape())
		}
	}
	// Output:
	// 7 labels, gradients of:
	// base_model.model.layer.down.lora_A.weight [2 8]
	// base_model.model.layer.down.lora_B.weight [4 2]
	// base_model.model.layer.up.lora_A.weight [2 4]
	// base_model.model.layer.up.lora_B.weight [8 2]
}
