package trainer

import (
	"context"
	"math"
	"strings"
	"testing"
)

func TestDefaultsAreValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestAllFaultsAreReportedAtOnce(t *testing.T) {
	s := Default()
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
		"learning_rate: must be positive, got -0.1",
		`lr_scheduler_type: must be one of linear, cosine, constant, constant_with_warmup, polynomial, inverse_sqrt, cosine_with_min_lr, cosine_with_restarts, warmup_stable_decay, got "cosin"`,
		"warmup_steps: must be a whole number of steps or a fraction below 1, got 1.5",
		`optim: must be one of adamw, sgd, lion, adafactor, got "adam"`,
		"nesterov: requires a momentum above 0, got 0",
		"on_nonfinite: ",
		"gradient_accumulation_steps: must be at least 1, got 0",
		"trainable[1]: is not a regular expression",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in\n%v", want, err)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 8 {
		t.Errorf("%d lines, want 8:\n%v", n, err)
	}
}

func TestInvalidLearningRateStopsRun(t *testing.T) {
	r := newRun()
	tr, err := New(r.Config, r.task)
	if err != nil {
		t.Fatal(err)
	}
	tr.schedule = func(step int) float64 { return math.NaN() }
	_, err = tr.Run(context.Background())
	if err == nil || !strings.Contains(err.Error(), "step 1: lr_scheduler_type cosine gives a learning rate of NaN") {
		t.Errorf("got %v", err)
	}
	if !kernelFinite(r.model.table) {
		t.Error("it changed the weights")
	}
}
