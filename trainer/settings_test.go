package trainer

import (
	"context"
	"math"
	"strings"
	"testing"
)

func TestDefaultsAreValid(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestAllFaultsAreReportedAtOnce(t *testing.T) {
	s := Defaults()
	s.LearningRate = -0.1
	s.LRSchedulerType = "cosin"
	s.WarmupSteps = 1.5
	s.Optim = "adam"
	s.Nesterov = true
	s.OnNonfinite = "hope"
	s.GradientAccumulationSteps = 0
	s.Trainable = []string{"ok", "("}
	err := s.Validate()
	if err == nil {
		t.Fatal("no fault was found")
	}
	for _, want := range []string{
		"train.learning_rate: must be positive, got -0.1",
		`train.lr_scheduler_type: must be one of linear, cosine, constant, constant_with_warmup, polynomial, inverse_sqrt, cosine_with_min_lr, cosine_with_restarts, warmup_stable_decay, got "cosin"`,
		"train.warmup_steps: must be a whole number of steps, or a share below 1, got 1.5",
		`train.optim: must be one of adamw, sgd, lion, adafactor, got "adam"`,
		"train.nesterov: needs a momentum above 0, got 0",
		"train.on_nonfinite: ",
		"train.gradient_accumulation_steps: must be at least 1, got 0",
		"train.trainable[1]: is not a regular expression",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in\n%v", want, err)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 8 {
		t.Errorf("%d lines, want 8:\n%v", n, err)
	}
}

func TestSchedulerArgumentsAreChecked(t *testing.T) {
	for _, c := range []struct {
		kind string
		args map[string]any
		want string
	}{
		{"linear", map[string]any{"power": 2}, "lr_scheduler_kwargs.power: is not an argument"},
		{"polynomial", map[string]any{"power": "two"}, "lr_scheduler_kwargs.power: is not a word"},
		{"polynomial", map[string]any{"lr_end": 1.0}, "lr_end 1 must be below learning_rate 5e-05"},
		{"cosine_with_min_lr", nil, "needs one of min_lr and min_lr_rate"},
		{"warmup_stable_decay", nil, "num_decay_steps: is needed"},
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
		s := Defaults()
		s.LRSchedulerType, s.LRSchedulerKwargs = c.kind, c.args
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %v: got %v, want %q", c.kind, c.args, err, c.want)
		}
	}
}

func TestEveryNumberOfASchedulerHasARange(t *testing.T) {
	for kind, k := range schedules {
		for name := range k.arg {
			if _, ok := argumentRanges[name]; !ok {
				t.Errorf("%s: %s has no range", kind, name)
			}
		}
	}
}

// TestAcceptedSchedulesGiveRates tries extreme arguments: what the settings accept gives rates from 0 to the peak.
func TestAcceptedSchedulesGiveRates(t *testing.T) {
	extremes := []float64{-1e30, -3, -1e-9, 0, 1e-300, 0.5, 1, 1.5, 100, 1e9, 1e30, math.MaxFloat64}
	try := func(s Settings) {
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
	for _, kind := range ScheduleNames() {
		for _, v := range extremes {
			s := Defaults()
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

func TestARateThatIsNoneStopsTheRun(t *testing.T) {
	r := newRun()
	tr, err := New(r.Settings, r.task)
	if err != nil {
		t.Fatal(err)
	}
	tr.schedule = func(step int) float64 { return math.NaN() }
	_, err = tr.Run(context.Background())
	if err == nil || !strings.Contains(err.Error(), "step 1: lr_scheduler_type cosine gives a learning rate of NaN") {
		t.Errorf("got %v", err)
	}
	if !kernelFinite(r.model.table) {
		t.Error("it reached the weights")
	}
}
