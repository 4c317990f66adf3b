package trainer

import (
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
	} {
		s := Defaults()
		s.LRSchedulerType, s.LRSchedulerKwargs = c.kind, c.args
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %v: got %v, want %q", c.kind, c.args, err, c.want)
		}
	}
}
