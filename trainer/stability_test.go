package trainer_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	ag "mambatrain/autograd"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/trainer"
)

// TestTrainingStaysFinite trains adapters of the small Mamba at 1, 3 and 10 times the learning rate of the model page's
// recipe, on documents up to 8,192 tokens long. The trainer stops with an error at the first loss or gradient that is
// not finite. Softplus, the state and every sum are what could overflow.
func TestTrainingStaysFinite(t *testing.T) {
	if testing.Short() {
		t.Skip("27 runs")
	}
	const recipe, steps = 2e-3, 2
	for _, length := range []int{64, 1024, 8192} {
		for _, times := range []float64{1, 3, 10} {
			for seed := range uint64(3) {
				if err := trainOn(length, recipe*times, steps, seed); err != nil {
					t.Errorf("%d tokens, %g times the rate, seed %d: %v", length, times, seed, err)
				}
			}
		}
	}
}

func trainOn(length int, rate float64, steps int, seed uint64) error {
	m, err := mamba.Load("../mamba/testdata/golden/base/model", mamba.LoadOptions{})
	if err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(seed, 1))
	a, err := lora.Inject(m, lora.Defaults(), r)
	if err != nil {
		return err
	}
	batches := make(fixed, steps)
	for i := range batches {
		b := &batches[i]
		for range length {
			b.Tokens = append(b.Tokens, r.IntN(m.Config.VocabSize))
		}
		b.Labels, b.Starts = b.Tokens, []int{0}
	}
	g := ag.NewGraph(ag.Options{Rows: length})
	prog, err := g.Compile(m.Loss(g))
	if err != nil {
		return err
	}
	s := trainer.Defaults()
	s.LearningRate, s.LRSchedulerType, s.MaxSteps = rate, "constant", steps
	tr, err := trainer.New(s, trainer.Task{Params: a.Params(), Program: prog, Rows: length, Train: batches})
	if err != nil {
		return err
	}
	if _, err := tr.Run(context.Background()); err != nil {
		return err
	}
	score, err := trainer.Evaluate(context.Background(), prog, batches, length, nil)
	if err == nil && !(score.Loss < 50) {
		err = fmt.Errorf("loss %v after training", score.Loss)
	}
	return err
}
