package mamba_test

import (
	"context"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	ag "mambatrain/autograd"
	"mambatrain/data/tokenizer"
	"mambatrain/mamba"
)

const dir = "testdata/golden/base/model"

// Load a model and its tokenizer, and continue a text.
func Example() {
	const dir = "../configs/quickstart/base"
	m, err := mamba.Load(dir, mamba.LoadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	tok, err := tokenizer.Load(dir)
	if err != nil {
		log.Fatal(err)
	}
	o := m.DefaultGenerate() // greedy; set o.DoSample to sample
	o.MaxNewTokens = 5
	out, err := m.Generate(context.Background(), [][]int{tok.Encode("To be, or not to")}, o)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%q %s\n", tok.DecodeText(out[0].IDs), out[0].FinishReason)
	// Output: " me and tell." eos
}

// Prompts and results are token ids.
func ExampleModel_Generate() {
	m, err := mamba.Load(dir, mamba.LoadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	o := m.DefaultGenerate()
	o.MaxNewTokens, o.EOS = 6, nil
	out, err := m.Generate(context.Background(), [][]int{{288, 5, 29, 4, 97, 163, 263}}, o)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(out[0].IDs, out[0].FinishReason)
	// Output: [211 235 235 209 174 198] length
}

// To train a model, run its loss forward and backward and update its parameters from their gradients.
func ExampleModel_Loss() {
	c := mamba.Default()
	c.VocabSize, c.HiddenSize, c.NumHiddenLayers, c.IntermediateSize, c.TimeStepRank = 16, 8, 1, 16, 1
	m, err := mamba.New(c, mamba.InitMambaSSM, rand.New(rand.NewPCG(1, 2)), mamba.LoadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range m.Params() {
		if err := p.Train(); err != nil {
			log.Fatal(err)
		}
	}
	g := ag.NewGraph(ag.Options{Rows: 32})
	program, err := g.Compile(m.Loss(g))
	if err != nil {
		log.Fatal(err)
	}
	tokens := []int{3, 1, 4, 1, 5, 9, 2, 6, 2, 7, 1, 8}
	batch := ag.Batch{Tokens: tokens, Labels: tokens, Starts: []int{0, 8}} // two documents
	for step := range 301 {
		loss, err := program.Step(context.Background(), ag.Step{Batch: batch, Scale: 1 / float64(batch.Counted())})
		if err != nil {
			log.Fatal(err)
		}
		if step%300 == 0 {
			fmt.Printf("step %d: %.1f nats per token\n", step, loss.Sum/float64(loss.Tokens))
		}
		for _, p := range m.Params() {
			grad := p.GradFloat32s()
			for i := range grad {
				p.Float32s()[i] -= 0.2 * grad[i]
			}
			p.ZeroGrad()
		}
	}
	// Output:
	// step 0: 2.8 nats per token
	// step 300: 0.0 nats per token
}

// Sequences of different lengths, padded on either side, form one batch. Each gets the same result as on its own.
func ExampleModel_Run() {
	m, err := mamba.Load(dir, mamba.LoadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	out, err := m.Run(context.Background(), mamba.Input{
		IDs:  [][]int{{7, 8, 9}, {0, 7, 8}},
		Mask: [][]int{{1, 1, 1}, {0, 1, 1}},
	}, mamba.Want{Logits: mamba.AllPositions})
	if err != nil {
		log.Fatal(err)
	}
	for row, place := range out.Places {
		fmt.Printf("sequence %d, position %d: %.2f\n", place.Sequence, place.Position, out.Logits.Row(row)[:2])
	}
	// Output:
	// sequence 0, position 0: [-3.55 -2.31]
	// sequence 0, position 1: [-3.80 -0.97]
	// sequence 0, position 2: [-0.32 -1.24]
	// sequence 1, position 1: [-3.55 -2.31]
	// sequence 1, position 2: [-3.80 -0.97]
}

// A state represents a text. It can be copied to try several continuations, and saved to be continued later.
func ExampleState() {
	m, err := mamba.Load(dir, mamba.LoadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	ctx, d, s := context.Background(), m.NewDecoder(0), m.NewState(1)
	if err := d.Feed(ctx, s, [][]int{{288, 5, 29, 4, 97, 163}}); err != nil {
		log.Fatal(err)
	}
	tmp, err := os.MkdirTemp("", "state")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	path := filepath.Join(tmp, "prompt.safetensors")
	if err := s.Save(path); err != nil {
		log.Fatal(err)
	}
	restored, err := m.LoadState(path)
	if err != nil {
		log.Fatal(err)
	}
	both := restored.Select(0, 0)
	logits, err := d.Next(ctx, both, [][]int{{263}, {17}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(both.Fed, "most likely next:", largest(logits.Row(0)))
	// Output: [7 7] most likely next: 211
}

// States of several texts can be combined into one batch.
func ExampleState_Set() {
	m, err := mamba.Load(dir, mamba.LoadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	ctx, d, one := context.Background(), m.NewDecoder(0), m.NewState(1)
	if err := d.Feed(ctx, one, [][]int{{288, 5, 29}}); err != nil {
		log.Fatal(err)
	}
	longer := one.Clone()
	if err := d.Feed(ctx, longer, [][]int{{4, 97}}); err != nil {
		log.Fatal(err)
	}
	both := m.NewState(2)
	both.Set(0, one, 0)
	both.Set(1, longer, 0)
	fmt.Println(both.Sequences(), "sequences:", both.Tokens)
	// Output: 2 sequences: [[288 5 29] [288 5 29 4 97]]
}

// Compute the hidden states and logits of a batch with a graph of the model without its loss.
func ExampleModel_Forward() {
	m, err := mamba.Load(dir, mamba.LoadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	g := ag.NewGraph(ag.Options{Rows: 8})
	hidden := m.Forward(g) // after each block, then after the final norm
	logits := m.Logits(hidden[len(hidden)-1])
	program, err := g.Compile(logits)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := program.Eval(context.Background(), ag.Batch{Tokens: []int{7, 8, 9}, Starts: []int{0}}); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.2f\n", program.Float32s(logits)[:2])
	// Output: [-3.55 -2.31]
}

// Add rows for new tokens to the table and the head.
func ExampleModel_Resize() {
	m, err := mamba.Load(dir, mamba.LoadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	if err := m.Resize(m.Config.VocabSize + 2); err != nil {
		log.Fatal(err)
	}
	fmt.Println(m.Config.VocabSize, m.Head.Out())
	// Output: 302 302
}

func largest(x []float32) int { return slices.Index(x, slices.Max(x)) }

// Score processes documents of any length in constant memory.
func ExampleModel_Score() {
	m, err := mamba.Load(dir, mamba.LoadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	docs := []mamba.Document{
		{Tokens: []int{288, 5, 29, 4}},
		{Tokens: []int{288, 5, 29, 4}, Labels: []int{-100, -100, -100, 4}}, // only the last token counts
	}
	for s, err := range m.Score(context.Background(), slices.Values(docs), mamba.ScoreOptions{}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d tokens, %.2f nats\n", s.Tokens, s.NLL)
	}
	// Output:
	// 3 tokens, 26.66 nats
	// 1 tokens, 8.76 nats
}
