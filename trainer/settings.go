package trainer

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
)

// Settings mirror the train block of the configuration. Names and meanings are those of transformers'
// TrainingArguments wherever they exist there.
type Settings struct {
	NumTrainEpochs            float64        `yaml:"num_train_epochs"`
	MaxSteps                  int            `yaml:"max_steps"` // above 0 it overrides the epochs
	PerDeviceTrainBatchSize   int            `yaml:"per_device_train_batch_size"`
	PerDeviceEvalBatchSize    int            `yaml:"per_device_eval_batch_size"`
	GradientAccumulationSteps int            `yaml:"gradient_accumulation_steps"`
	LearningRate              float64        `yaml:"learning_rate"`
	LRSchedulerType           string         `yaml:"lr_scheduler_type"`
	LRSchedulerKwargs         map[string]any `yaml:"lr_scheduler_kwargs"`
	WarmupSteps               float64        `yaml:"warmup_steps"` // below 1 a share of all steps
	WeightDecay               float64        `yaml:"weight_decay"`
	DecayRule                 string         `yaml:"decay_rule"`
	Optim                     string         `yaml:"optim"`
	AdamBeta1                 float64        `yaml:"adam_beta1"`
	AdamBeta2                 float64        `yaml:"adam_beta2"`
	AdamEpsilon               float64        `yaml:"adam_epsilon"`
	Momentum                  float64        `yaml:"momentum"`
	Nesterov                  bool           `yaml:"nesterov"`
	MaxGradNorm               float64        `yaml:"max_grad_norm"` // 0 turns clipping off
	LabelSmoothingFactor      float64        `yaml:"label_smoothing_factor"`
	NeftuneNoiseAlpha         float64        `yaml:"neftune_noise_alpha"`
	LoggingSteps              int            `yaml:"logging_steps"`
	LoggingDir                string         `yaml:"logging_dir"`
	EvalSteps                 int            `yaml:"eval_steps"`       // 0: at the end of each epoch
	SaveSteps                 int            `yaml:"save_steps"`       // 0: no checkpoints
	SaveTotalLimit            int            `yaml:"save_total_limit"` // 0: keep all
	LoadBestModelAtEnd        bool           `yaml:"load_best_model_at_end"`
	MetricForBestModel        string         `yaml:"metric_for_best_model"`
	EarlyStoppingPatience     int            `yaml:"early_stopping_patience"` // evaluations; 0 turns it off
	OnNonfinite               string         `yaml:"on_nonfinite"`
	SamplePrompts             []string       `yaml:"sample_prompts"`
	Trainable                 []string       `yaml:"trainable"`
}

// Defaults returns the settings of an empty train block.
func Defaults() Settings {
	return Settings{
		NumTrainEpochs:            3,
		MaxSteps:                  -1,
		PerDeviceTrainBatchSize:   8,
		PerDeviceEvalBatchSize:    8,
		GradientAccumulationSteps: 1,
		LearningRate:              5e-5,
		LRSchedulerType:           "linear",
		LRSchedulerKwargs:         map[string]any{},
		DecayRule:                 "mamba",
		Optim:                     "adamw",
		AdamBeta1:                 0.9,
		AdamBeta2:                 0.999,
		AdamEpsilon:               1e-8,
		MaxGradNorm:               1,
		LoggingSteps:              10,
		SaveSteps:                 500,
		SaveTotalLimit:            3,
		MetricForBestModel:        "eval_loss",
		OnNonfinite:               "stop",
		SamplePrompts:             []string{},
		Trainable:                 []string{},
	}
}

// maxCount is the most that a number of steps, epochs or documents may be: more than any run needs, and little enough for
// products of two to stay exact.
const maxCount = 1_000_000_000

// Fault is one wrong setting.
type Fault struct {
	Key     string // below train, such as learning_rate or lr_scheduler_kwargs.power
	Problem string // such as "must be positive, got -0.1"
}

func (f Fault) Error() string { return "train." + f.Key + ": " + f.Problem }

// Validate returns every fault of the settings, joined, or nil.
func (s Settings) Validate() error { return (&checker{s.Faults()}).err() }

// Faults lists everything that is wrong with the settings, in the order of the configuration.
func (s Settings) Faults() []Fault {
	c := &checker{}
	if s.MaxSteps <= 0 {
		c.need(s.NumTrainEpochs > 0, "num_train_epochs", "must be positive, got %v", s.NumTrainEpochs)
		c.atMost("num_train_epochs", s.NumTrainEpochs)
	}
	c.need(s.MaxSteps == -1 || s.MaxSteps > 0, "max_steps", "must be positive, or -1 for none, got %d", s.MaxSteps)
	c.atMost("max_steps", float64(s.MaxSteps))
	c.count("per_device_train_batch_size", s.PerDeviceTrainBatchSize)
	c.count("per_device_eval_batch_size", s.PerDeviceEvalBatchSize)
	c.count("gradient_accumulation_steps", s.GradientAccumulationSteps)
	c.need(s.LearningRate > 0 && !math.IsInf(s.LearningRate, 0), "learning_rate", "must be positive, got %v", s.LearningRate)
	c.warmup(s.WarmupSteps)
	c.oneOf("lr_scheduler_type", s.LRSchedulerType, ScheduleNames())
	c.add(scheduleFaults(s)...)
	c.notNegative("weight_decay", s.WeightDecay)
	c.oneOf("decay_rule", s.DecayRule, []string{"mamba", "hf"})
	c.oneOf("optim", s.Optim, OptimizerNames())
	c.fraction("adam_beta1", s.AdamBeta1)
	c.fraction("adam_beta2", s.AdamBeta2)
	c.need(s.AdamEpsilon > 0, "adam_epsilon", "must be positive, got %v", s.AdamEpsilon)
	c.fraction("momentum", s.Momentum)
	c.need(s.Momentum == 0 || s.Optim == "sgd", "momentum", "belongs to optim: sgd, got optim: %s", s.Optim)
	c.need(!s.Nesterov || s.Momentum > 0, "nesterov", "needs a momentum above 0, got %v", s.Momentum)
	c.notNegative("max_grad_norm", s.MaxGradNorm)
	c.fraction("label_smoothing_factor", s.LabelSmoothingFactor)
	c.notNegative("neftune_noise_alpha", s.NeftuneNoiseAlpha)
	c.atLeast("logging_steps", s.LoggingSteps, 0)
	c.atLeast("eval_steps", s.EvalSteps, 0)
	c.atLeast("save_steps", s.SaveSteps, 0)
	c.atLeast("save_total_limit", s.SaveTotalLimit, 0)
	c.need(s.MetricForBestModel != "", "metric_for_best_model", "must name a metric such as eval_loss, got \"\"")
	c.atLeast("early_stopping_patience", s.EarlyStoppingPatience, 0)
	c.oneOf("on_nonfinite", s.OnNonfinite, []string{"stop", "skip"})
	for i, p := range s.Trainable {
		_, err := regexp.Compile(p)
		c.need(err == nil, fmt.Sprintf("trainable[%d]", i), "is not a regular expression: %v", err)
	}
	return c.faults
}

// checker collects faults.
type checker struct{ faults []Fault }

func (c *checker) add(f ...Fault) { c.faults = append(c.faults, f...) }

// err returns the faults, joined, or nil.
func (c *checker) err() error {
	var errs []error
	for _, f := range c.faults {
		errs = append(errs, f)
	}
	return errors.Join(errs...)
}

func (c *checker) need(ok bool, key, format string, args ...any) {
	if !ok {
		c.add(Fault{key, fmt.Sprintf(format, args...)})
	}
}

func (c *checker) atLeast(key string, v, least int) {
	c.need(v >= least, key, "must be at least %d, got %d", least, v)
}

func (c *checker) count(key string, v int) {
	c.atLeast(key, v, 1)
	c.atMost(key, float64(v))
}

func (c *checker) atMost(key string, v float64) {
	c.need(!(v > maxCount), key, "must be at most %d, got %v", maxCount, v)
}

func (c *checker) notNegative(key string, v float64) {
	c.need(v >= 0 && !math.IsInf(v, 0), key, "must not be negative, got %v", v)
}

func (c *checker) fraction(key string, v float64) {
	c.need(v >= 0 && v < 1, key, "must be at least 0 and below 1, got %v", v)
}

func (c *checker) oneOf(key, v string, known []string) {
	c.need(slices.Contains(known, v), key, "must be one of %s, got %q", strings.Join(known, ", "), v)
}

func (c *checker) warmup(v float64) {
	c.notNegative("warmup_steps", v)
	c.atMost("warmup_steps", v)
	c.need(!(v >= 1) || v == math.Trunc(v), "warmup_steps", "must be a whole number of steps, or a share below 1, got %v", v)
}
