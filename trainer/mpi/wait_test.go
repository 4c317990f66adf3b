package mpi

import (
	"context"
	"errors"
	"sync"
	"testing"

	ag "mambatrain/autograd"
	"mambatrain/trainer"
	"mambatrain/trainer/checkpoint"
)

// constantLoss is a model whose loss does not depend on its parameters.
type constantLoss struct{}

func (constantLoss) Step(context.Context, ag.Step) (ag.Loss, error) {
	return ag.Loss{Sum: 1, Tokens: 1}, nil
}
func (constantLoss) Eval(context.Context, ag.Batch) (ag.Loss, error) {
	return ag.Loss{Sum: 1, Tokens: 1}, nil
}

// pairs is a source of two micro-batches of two tokens.
type pairs struct{}

func (pairs) Batches(int) (int, error) { return 2, nil }

func (pairs) Batch(context.Context, int, int) (trainer.MicroBatch, error) {
	return trainer.MicroBatch{Batch: ag.Batch{Tokens: []int{0, 1}, Labels: []int{0, 1}, Starts: []int{0}}}, nil
}

// After SIGTERM, ranks wait no longer than a few seconds for each other's reductions, but as long as necessary for a
// checkpoint or the samples of rank 0.
func TestShortenTimeouts_whileRankZeroWrites(t *testing.T) {
	for _, divided := range []bool{false, true} {
		r := newExitRecorder()
		comms := InProcess(2, r.config())
		out, err := checkpoint.Open(checkpoint.Disk{}, t.TempDir(), checkpoint.Fresh)
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		late := 0
		beLate := func() {
			late++
			waitFor(t, "rank 1 waits for rank 0", func() bool {
				g := comms[1].lib.(*member).group
				g.mu.Lock()
				defer g.mu.Unlock()
				return g.arrived == 1
			})
			for range shortTimeout/watchTick + 5 {
				if !tick(comms[1].watch.ticker) {
					return
				}
			}
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		errs := make([]error, len(comms))
		var wg sync.WaitGroup
		for i, c := range comms {
			c.ShortenTimeouts()
			wg.Go(func() {
				w := ag.Zeros("w.weight", 4)
				if errs[i] = w.Train(); errs[i] != nil {
					return
				}
				settings := trainer.Default()
				settings.MaxSteps, settings.SaveSteps, settings.EvalSteps = 9, 1, 1
				settings.SamplePrompts = []trainer.SamplePrompt{{Text: "A"}}
				task := trainer.Task{
					Params: []*ag.Param{w}, Program: constantLoss{}, Rows: 2, Train: pairs{}, Eval: []trainer.EvalSet{{Source: pairs{}}},
					Storage: trainer.Storage{Save: func(string) error { beLate(); return nil }},
					Sample:  func(context.Context, trainer.SamplePrompt) (string, error) { beLate(); return "", nil },
					Ranks:   trainer.Ranks{Comm: c, ShardOptimizer: divided},
					Observer: func(e trainer.Event) {
						if s, ok := e.(trainer.StepEvent); ok && s.Step == 2 {
							stop()
						}
					},
				}
				if i == 0 {
					task.Storage.Output = out
				}
				tr, err := trainer.New(settings, task)
				if err == nil {
					_, err = tr.Run(ctx)
				}
				errs[i] = err
			})
		}
		wg.Wait()
		for i, err := range errs {
			var stopped *trainer.StopError
			if !errors.As(err, &stopped) || stopped.Err != nil || stopped.Step != 2 {
				t.Errorf("divided %v: rank %d: got %v, want an interruption after step 2", divided, i, err)
			}
		}
		if len(r.ended) > 0 {
			t.Errorf("divided %v: ended: %s", divided, r.text())
		}
		if late != 4 || !out.Has(2) { // two samples, two checkpoints
			t.Errorf("divided %v: rank 0 was late %d times, checkpoint of step 2: %v", divided, late, out.Has(2))
		}
	}
}
