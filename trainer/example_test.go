package trainer_test

import (
	"context"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"

	ag "mambatrain/autograd"
	"mambatrain/data"
	"mambatrain/data/source"
	"mambatrain/data/tokenizer"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/trainer"
)

// This example trains a LoRA adapter on custom rows: it reads them, puts adapters into a model, trains, and saves files
// that peft reads. Checkpoints, evaluation, and resuming are configured by further fields of Task and Config.
func Example() {
	const base = "../configs/quickstart/base"
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "own-rows")
	check(err)
	defer os.RemoveAll(dir)
	rows := filepath.Join(dir, "rows.jsonl")
	check(os.WriteFile(rows, []byte(`{"ask":"Who keeps the lamp?","answer":" The owl."}
{"ask":"Who keeps the door?","answer":" The cat."}
`), 0o666))

	tok, err := tokenizer.Load(base)
	check(err)
	o := data.Default()
	o.Prompt, o.Completion = "ask", "answer" // only the answers count in the loss
	set, err := data.Open(ctx, []source.Input{{Path: rows}}, tok, o)
	check(err)
	defer set.Close()
	loader, err := set.Loader(2, 42)
	check(err)

	model, err := mamba.Load(base, mamba.LoadOptions{})
	check(err)
	adapter, err := lora.Inject(model, lora.Default(), rand.New(rand.NewPCG(42, 0)))
	check(err)
	check(adapter.Train())
	const capacity = 64 // rows of the largest micro-batch
	g := ag.NewGraph(ag.Options{Rows: capacity})
	program, err := g.Compile(model.Loss(g))
	check(err)

	s := trainer.Default()
	s.MaxSteps, s.LearningRate, s.LoggingSteps = 30, 1e-2, 10
	run, err := trainer.New(s, trainer.Task{
		Params: adapter.Params(), Program: program, Rows: capacity, Train: batches{loader}, Seed: 42,
		Observer: func(e trainer.Event) {
			if e, ok := e.(trainer.LogEvent); ok && e.Row["loss"] > 0 {
				fmt.Printf("step %v, loss below 1: %v\n", e.Row["step"], e.Row["loss"] < 1)
			}
		},
	})
	check(err)
	_, err = run.Run(ctx)
	check(err)
	metrics, err := trainer.Evaluate(ctx, program, batches{loader}, capacity, nil)
	check(err)
	fmt.Printf("evaluated on %d labels, loss below 1: %v\n", metrics.Tokens, metrics.Loss < 1)
	check(adapter.Save(filepath.Join(dir, "adapter"), lora.SaveOptions{BaseModel: base}))

	how := model.DefaultGenerate()
	how.MaxNewTokens = 10
	out, err := model.Generate(ctx, [][]int{tok.Encode("Who keeps the lamp?")}, how)
	check(err)
	fmt.Printf("%q\n", tok.DecodeText(out[0].IDs))
	// Output:
	// step 10, loss below 1: true
	// step 20, loss below 1: true
	// step 30, loss below 1: true
	// evaluated on 11 labels, loss below 1: true
	// " The owl."
}

// batches adapts a loader to a BatchSource.
type batches struct{ *data.Loader }

func (s batches) Batches(int) (int, error) { return s.Total(), nil }

func (s batches) Batch(_ context.Context, epoch, index int) (trainer.MicroBatch, error) {
	b := s.At(epoch, index)
	return trainer.MicroBatch{Batch: ag.Batch{Tokens: b.Tokens, Labels: b.Labels, Starts: b.Starts}}, nil
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
