package optim

import (
	"math"

	"mambatrain/internal/fault"
)

// Config contains the optimizer settings. Names and meanings follow transformers' TrainingArguments where it has an
// equivalent.
type Config struct {
	LearningRate      float64        `yaml:"learning_rate"`
	LRSchedulerType   string         `yaml:"lr_scheduler_type"`
	LRSchedulerKwargs map[string]any `yaml:"lr_scheduler_kwargs"`
	WarmupSteps       float64        `yaml:"warmup_steps"` // below 1: a fraction of all steps
	WeightDecay       float64        `yaml:"weight_decay"`
	DecayRule         string         `yaml:"decay_rule"`
	Optim             string         `yaml:"optim"`
	AdamBeta1         float64        `yaml:"adam_beta1"`
	AdamBeta2         float64        `yaml:"adam_beta2"`
	AdamEpsilon       float64        `yaml:"adam_epsilon"`
	Momentum          float64        `yaml:"momentum"`
	Nesterov          bool           `yaml:"nesterov"`
}

// Default returns the settings for an empty train section.
func Default() Config {
	return Config{
		LearningRate:      5e-5,
		LRSchedulerType:   "linear",
		LRSchedulerKwargs: map[string]any{},
		DecayRule:         "mamba",
		Optim:             "adamw",
		AdamBeta1:         0.9,
		AdamBeta2:         0.999,
		AdamEpsilon:       1e-8,
	}
}

// MaxSteps is the maximum number of steps in a run: more than any run needs, and small enough that products of two such
// numbers are exact in float64.
const MaxSteps = 1_000_000_000

// Validate returns all faults in the settings as a [fault.List], or nil.
func (c Config) Validate() error {
	var l fault.List
	l.Positive("learning_rate", c.LearningRate)
	l.NotNegative("warmup_steps", c.WarmupSteps)
	l.AtMost("warmup_steps", c.WarmupSteps, MaxSteps)
	l.Require(!(c.WarmupSteps >= 1) || isInteger(c.WarmupSteps), "warmup_steps", "must be a whole number of steps or a fraction below 1, got %v", c.WarmupSteps)
	l.OneOf("lr_scheduler_type", c.LRSchedulerType, scheduleNames()...)
	l.Include("", c.validateSchedule())
	l.NotNegative("weight_decay", c.WeightDecay)
	l.OneOf("decay_rule", c.DecayRule, "mamba", "hf")
	l.OneOf("optim", c.Optim, names()...)
	l.Fraction("adam_beta1", c.AdamBeta1)
	l.Fraction("adam_beta2", c.AdamBeta2)
	l.Positive("adam_epsilon", c.AdamEpsilon)
	l.Fraction("momentum", c.Momentum)
	l.Require(c.Momentum == 0 || c.Optim == "sgd", "momentum", "is only for optim: sgd, got optim: %s", c.Optim)
	l.Require(!c.Nesterov || c.Momentum > 0, "nesterov", "requires a momentum above 0, got %v", c.Momentum)
	return l.Err()
}

func isInteger(x float64) bool { return x == math.Trunc(x) }
