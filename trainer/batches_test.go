package trainer

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"mambatrain/internal/fault"
	"mambatrain/trainer/optim"
)

// countingSource is a source of epochs of equal length that counts requests for their length.
type countingSource struct {
	batches int
	asked   *int
}

func (e countingSource) Batches(int) (int, error) {
	*e.asked++
	return e.batches, nil
}

func (countingSource) Batch(context.Context, int, int) (MicroBatch, error) { return MicroBatch{}, nil }

// equalSource is a countingSource that declares its epochs equal.
type equalSource struct{ countingSource }

func (equalSource) EqualEpochs() {}

func TestEqualEpochsArePlannedLikeOthers(t *testing.T) {
	for batches := 1; batches <= 7; batches++ {
		for perStep := 1; perStep <= 9; perStep++ {
			for _, epochs := range []float64{0.01, 0.5, 1, 2.3, 4} {
				s, asked := Config{NumTrainEpochs: epochs}, 0
				want, err := newStepPlan(countingSource{batches, &asked}, s, perStep)
				if err != nil {
					t.Fatal(err)
				}
				got, err := newStepPlan(equalSource{countingSource{batches, &asked}}, s, perStep)
				if err != nil {
					t.Fatal(err)
				}
				if got.steps != want.steps {
					t.Fatalf("%v epochs of %d in steps of %d: %d steps, want %d", epochs, batches, perStep, got.steps, want.steps)
				}
				for step := range got.steps + 3 {
					g, gerr := got.at(step)
					w, werr := want.at(step)
					if g != w || gerr != nil || werr != nil {
						t.Errorf("%d in steps of %d: step %d at %+v, want %+v (%v, %v)", batches, perStep, step, g, w, gerr, werr)
					}
				}
			}
		}
	}
}

// The number of steps is that of transformers, ceil(epochs × steps per epoch), in float64.
func TestStepsInPartsOfEpochs(t *testing.T) {
	for _, c := range []struct {
		epochs        float64
		batches, want int
	}{{1.1, 10, 11}, {2.1, 10, 21}, {1.6, 5, 8}, {2.2, 5, 11}, {1.1, 30, 33}, {1.1, 50, 56}, {0.5, 3, 2}, {1e-9, 7, 1}} {
		asked := 0
		source := countingSource{c.batches, &asked}
		for _, src := range []BatchSource{source, equalSource{source}} {
			p, err := newStepPlan(src, Config{NumTrainEpochs: c.epochs}, 1)
			if err != nil || p.steps != c.want {
				t.Errorf("%v epochs of %d steps: %d steps, %v, want %d", c.epochs, c.batches, p.steps, err, c.want)
			}
		}
	}
}

func TestLongRunIsNotPlannedInAdvance(t *testing.T) {
	for what, c := range map[string]struct {
		change func(*Config)
		steps  int
	}{
		"epochs":       {func(s *Config) { s.NumTrainEpochs = optim.MaxSteps }, optim.MaxSteps},
		"steps":        {func(s *Config) { s.MaxSteps = optim.MaxSteps }, optim.MaxSteps},
		"accumulation": {func(s *Config) { s.GradientAccumulationSteps = optim.MaxSteps }, 3},
	} {
		asked := 0
		r := newRun()
		r.task.Train, r.GradientAccumulationSteps = equalSource{countingSource{5, &asked}}, 8
		c.change(&r.Config)
		tr, err := New(r.Config, r.task)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if tr.plan.steps != c.steps || asked > 1 {
			t.Errorf("%s: %d steps, want %d; asked for the length of %d epochs", what, tr.plan.steps, c.steps, asked)
		}
		if p, err := tr.plan.at(c.steps - 1); err != nil || p != (batchRange{epoch: c.steps - 1, to: 5, of: 5}) {
			t.Errorf("%s: the last step is at %+v, %v", what, p, err)
		}
	}
}

func TestRunsThatAreTooLong(t *testing.T) {
	for key, change := range map[string]func(*Config){
		"num_train_epochs":            func(s *Config) { s.NumTrainEpochs = 1e30 },
		"max_steps":                   func(s *Config) { s.MaxSteps = math.MaxInt },
		"per_device_train_batch_size": func(s *Config) { s.PerDeviceTrainBatchSize = math.MaxInt },
		"per_device_eval_batch_size":  func(s *Config) { s.PerDeviceEvalBatchSize = math.MaxInt },
		"gradient_accumulation_steps": func(s *Config) { s.GradientAccumulationSteps = math.MaxInt },
		"warmup_steps":                func(s *Config) { s.WarmupSteps = 1e30 },
	} {
		s := Default()
		change(&s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), key+": must be at most 1000000000, got ") {
			t.Errorf("%s: got %v", key, err)
		}
	}
	asked := 0
	_, err := newStepPlan(equalSource{countingSource{5, &asked}}, Config{NumTrainEpochs: optim.MaxSteps}, 4)
	var l fault.List
	if !errors.As(err, &l) || l[0].Path != "train.num_train_epochs" {
		t.Errorf("two steps in each of 1e9 epochs: %v", err)
	}
}

func TestShardsAreLimited(t *testing.T) {
	r := newRun()
	r.task.Ranks.Shards = 1 << 62
	var refused *RanksError
	if _, err := New(r.Config, r.task); !errors.As(err, &refused) || !strings.Contains(err.Error(), "distributed.shards: must be at most ") {
		t.Errorf("got %v", err)
	}
}
