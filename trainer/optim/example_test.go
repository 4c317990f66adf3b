package optim_test

import (
	"context"
	"fmt"
	"log"
	"math/rand/v2"

	ag "mambatrain/autograd"
	"mambatrain/data/tokenizer"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/trainer/optim"
)

// This example trains a LoRA adapter with a hand-written training loop.
func Example() {
	const dir = "../../configs/quickstart/base"
	ctx := context.Background()
	model, err := mamba.Load(dir, mamba.LoadOptions{})
	check(err)
	tok, err := tokenizer.Load(dir)
	check(err)
	adapter, err := lora.Inject(model, lora.Default(), rand.New(rand.NewPCG(42, 0)))
	check(err)
	check(adapter.Train())

	g := ag.NewGraph(ag.Options{Rows: 256}) // compiled once, for any batch of up to 256 tokens
	program, err := g.Compile(model.Loss(g))
	check(err)
	settings := optim.Default()
	optimizer, err := optim.New(settings, optim.Groups(adapter.Params(), settings, 1))
	check(err)

	batch := ag.Batch{}
	for _, text := range []string{"A friend is a second sky.", "The sea keeps no diary."} { // documents, end to end
		batch.Starts = append(batch.Starts, len(batch.Tokens))
		batch.Tokens = append(batch.Tokens, tok.Encode(text)...)
	}
	batch.Labels = batch.Tokens
	first, last := 0.0, 0.0
	for step := range 20 {
		loss, err := program.Step(ctx, ag.Step{Batch: batch, Scale: 1 / float64(batch.Counted())})
		check(err)
		check(optimizer.Step(2e-3, 1))
		for _, p := range adapter.Params() {
			p.ZeroGrad()
		}
		if last = loss.Sum / float64(loss.Tokens); step == 0 { // nats per token
			first = last
		}
	}
	fmt.Println("the loss fell by a fifth:", last < 0.8*first)
	// Output: the loss fell by a fifth: true
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
