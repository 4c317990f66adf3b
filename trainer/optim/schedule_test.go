package optim

import (
	"math"
	"strings"
	"testing"
)

func TestSchedulerArgumentsAreChecked(t *testing.T) {
	for _, c := range []struct {
		kind string
		args map[string]any
		want string
	}{
		{"linear", map[string]any{"power": 2}, "lr_scheduler_kwargs.power: is not an argument"},
		{"polynomial", map[string]any{"power": "two"}, "lr_scheduler_kwargs.power: must be a number"},
		{"polynomial", map[string]any{"lr_end": 1.0}, "lr_end 1 must be below learning_rate 5e-05"},
		{"cosine_with_min_lr", nil, "requires min_lr or min_lr_rate"},
		{"warmup_stable_decay", nil, "num_decay_steps: is required"},
		{"warmup_stable_decay", map[string]any{"num_decay_steps": 4, "decay_type": "cubic"}, "decay_type must be"},
		{"inverse_sqrt", map[string]any{"timescale": -100}, "lr_scheduler_kwargs.timescale: must not be negative, got -100"},
		{"polynomial", map[string]any{"power": -3}, "lr_scheduler_kwargs.power: must not be negative, got -3"},
		{"polynomial", map[string]any{"lr_end": -1e-9}, "lr_scheduler_kwargs.lr_end: must not be negative"},
		{"cosine", map[string]any{"num_cycles": 1e308}, "lr_scheduler_kwargs.num_cycles: must be at most 1e+09"},
		{"cosine_with_min_lr", map[string]any{"min_lr": 1e-4}, "min_lr 0.0001 must not be above learning_rate 5e-05"},
		{"cosine_with_min_lr", map[string]any{"min_lr_rate": 1.5}, "lr_scheduler_kwargs.min_lr_rate: must be at most 1, got 1.5"},
		{"warmup_stable_decay", map[string]any{"num_decay_steps": -5}, "lr_scheduler_kwargs.num_decay_steps: must not be negative, got -5"},
		{"warmup_stable_decay", map[string]any{"num_decay_steps": 1.5}, "lr_scheduler_kwargs.num_decay_steps: must be a whole number, got 1.5"},
		{"warmup_stable_decay", map[string]any{"num_decay_steps": 1, "num_stable_steps": 1e30}, "lr_scheduler_kwargs.num_stable_steps: must be at most 1e+09"},
		{"warmup_stable_decay", map[string]any{"num_decay_steps": 1, "min_lr_ratio": 2}, "lr_scheduler_kwargs.min_lr_ratio: must be at most 1, got 2"},
	} {
		s := Default()
		s.LRSchedulerType, s.LRSchedulerKwargs = c.kind, c.args
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %v: got %v, want %q", c.kind, c.args, err, c.want)
		}
	}
}

func TestEverySchedulerNumberHasRange(t *testing.T) {
	for kind, k := range schedules {
		for name := range k.arg {
			if _, ok := argumentRanges[name]; !ok {
				t.Errorf("%s: %s has no range", kind, name)
			}
		}
	}
}

// TestAcceptedSchedulesReturnValidRates tries extreme arguments: every accepted schedule returns rates between 0 and the peak.
func TestAcceptedSchedulesReturnValidRates(t *testing.T) {
	extremes := []float64{-1e30, -3, -1e-9, 0, 1e-300, 0.5, 1, 1.5, 100, 1e9, 1e30, math.MaxFloat64}
	try := func(s Config) {
		if s.Validate() != nil {
			return
		}
		const steps = 300
		schedule, err := NewSchedule(s, steps)
		if err != nil {
			t.Fatal(err)
		}
		for step := range steps {
			if f := schedule(step); !(f >= 0 && f <= 1+1e-12) {
				t.Errorf("%s %v, warm-up %v: factor %v in step %d", s.LRSchedulerType, s.LRSchedulerKwargs, s.WarmupSteps, f, step)
				return
			}
		}
	}
	for _, kind := range scheduleNames() {
		for _, v := range extremes {
			s := Default()
			s.LRSchedulerType, s.WarmupSteps = kind, v
			for name := range schedules[kind].arg {
				for _, x := range extremes {
					s.LRSchedulerKwargs = map[string]any{name: x}
					for _, need := range schedules[kind].need {
						if name != need {
							s.LRSchedulerKwargs[need] = 7
						}
					}
					try(s)
				}
			}
			s.LRSchedulerKwargs = nil
			try(s)
		}
	}
}
