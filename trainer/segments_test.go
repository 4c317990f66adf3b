package trainer_test

import (
	"context"
	"errors"
	"testing"
	"time"

	ag "mambatrain/autograd"
	"mambatrain/mamba"
	"mambatrain/trainer"
)

// A step in segments reports its progress. If asked to stop in the middle of a step, the run completes it and reports
// that it will stop afterward.
func TestProgressWithinStep(t *testing.T) {
	m, err := mamba.Load("../mamba/testdata/golden/base/model", mamba.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := trainer.SelectTrainable(m.Params(), nil); err != nil {
		t.Fatal(err)
	}
	g := ag.NewGraph(ag.Options{Rows: 7, Segments: true})
	prog, err := g.Compile(m.Loss(g))
	if err != nil {
		t.Fatal(err)
	}
	s := trainer.Default()
	s.MaxSteps, s.SegmentTokens = 3, 7
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	share, steps := 0.0, 0
	tr, err := trainer.New(s, trainer.Task{Params: m.Params(), Program: prog, Rows: 7, Train: readCurve(t, "testdata/train/full").batches, Observer: func(e trainer.Event) {
		switch e := e.(type) {
		case trainer.StepProgressEvent:
			if e.Share <= share || e.Share > 1 || e.Step != steps+1 || e.Steps != 3 || e.Stopping != (ctx.Err() != nil) {
				t.Errorf("%+v after %v of step %d", e, share, steps+1)
			}
			if share = e.Share; e.Step == 2 {
				cancel()
			}
		case trainer.StepEvent:
			if share < 1-1e-9 {
				t.Errorf("step %d ended at %v", e.Step, share)
			}
			share, steps = 0, steps+1
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	var stopped *trainer.StopError
	if _, err := tr.Run(ctx); !errors.As(err, &stopped) || stopped.Step != 2 || steps != 2 {
		t.Fatalf("error %v after %d steps, want a stop after 2", err, steps)
	}
}

// The time of a long document is estimated from its first two segments, which take less than the average.
func TestMeasureStep_segments(t *testing.T) {
	ticks := 0
	for _, c := range []struct {
		tokens, rows int
		took         time.Duration
	}{
		{14, 14, 7 * time.Second},         // 2 segments, measured in full
		{70, 14, 7800 * time.Millisecond}, // 10 segments take 39 forward passes, of which 2 segments take 7
	} {
		ids := make([]int, c.tokens)
		s := trainer.Default()
		s.MaxSteps, s.SegmentTokens = 1, 7
		p := ag.Zeros("p", 1)
		if err := p.Train(); err != nil {
			t.Fatal(err)
		}
		tr, err := trainer.New(s, trainer.Task{
			Params: []*ag.Param{p}, Program: idle{}, Rows: 7, Observer: func(trainer.Event) {},
			Train: fixed{{Batch: ag.Batch{Tokens: ids, Labels: ids, Starts: []int{0}}}},
			Now:   func() time.Time { ticks++; return time.Unix(7*int64(ticks), 0) },
		})
		if err != nil {
			t.Fatal(err)
		}
		rows, took, err := tr.MeasureStep(context.Background())
		if err != nil || rows != c.rows || took.Round(time.Millisecond) != c.took {
			t.Errorf("%d tokens: %d rows took %v, %v; want %d rows and %v", c.tokens, rows, took, err, c.rows, c.took)
		}
	}
}

// idle is a program that does nothing.
type idle struct{}

func (idle) Step(context.Context, ag.Step) (ag.Loss, error)  { return ag.Loss{}, nil }
func (idle) Eval(context.Context, ag.Batch) (ag.Loss, error) { return ag.Loss{}, nil }
