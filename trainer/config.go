package trainer

import (
	"fmt"
	"regexp"

	"mambatrain/internal/fault"
	"mambatrain/trainer/optim"
)

// Config mirrors the train section of the configuration. Names and meanings follow transformers' TrainingArguments
// where it has an equivalent.
type Config struct {
	NumTrainEpochs            float64 `yaml:"num_train_epochs"`
	MaxSteps                  int     `yaml:"max_steps"` // if positive, overrides num_train_epochs
	PerDeviceTrainBatchSize   int     `yaml:"per_device_train_batch_size"`
	PerDeviceEvalBatchSize    int     `yaml:"per_device_eval_batch_size"`
	GradientAccumulationSteps int     `yaml:"gradient_accumulation_steps"`
	SegmentTokens             int     `yaml:"segment_tokens"` // 0: documents are not segmented
	SegmentStore              string  `yaml:"segment_store"`

	optim.Config `yaml:",inline"`

	MaxGradNorm           float64        `yaml:"max_grad_norm"` // 0 turns clipping off
	LabelSmoothingFactor  float64        `yaml:"label_smoothing_factor"`
	NeftuneNoiseAlpha     float64        `yaml:"neftune_noise_alpha"`
	LoggingSteps          int            `yaml:"logging_steps"`
	LoggingDir            string         `yaml:"logging_dir" path:"true"`
	EvalSteps             int            `yaml:"eval_steps"`       // 0: at the end of each epoch
	SaveSteps             int            `yaml:"save_steps"`       // 0: no checkpoints
	SaveTotalLimit        int            `yaml:"save_total_limit"` // 0: keep all
	LoadBestModelAtEnd    bool           `yaml:"load_best_model_at_end"`
	MetricForBestModel    string         `yaml:"metric_for_best_model"`
	EarlyStoppingPatience int            `yaml:"early_stopping_patience"` // evaluations; 0 turns it off
	OnNonfinite           string         `yaml:"on_nonfinite"`
	SamplePrompts         []SamplePrompt `yaml:"sample_prompts"`
	Trainable             []string       `yaml:"trainable"`
}

// Default returns the settings for an empty train section.
func Default() Config {
	return Config{
		Config:                    optim.Default(),
		NumTrainEpochs:            3,
		MaxSteps:                  -1,
		PerDeviceTrainBatchSize:   8,
		PerDeviceEvalBatchSize:    8,
		GradientAccumulationSteps: 1,
		SegmentStore:              "memory",
		MaxGradNorm:               1,
		LoggingSteps:              10,
		SaveSteps:                 500,
		SaveTotalLimit:            3,
		MetricForBestModel:        "eval_loss",
		OnNonfinite:               "stop",
		SamplePrompts:             []SamplePrompt{},
		Trainable:                 []string{},
	}
}

// Validate returns all faults in the settings as a [fault.List], in configuration order, or nil.
func (c Config) Validate() error {
	var l fault.List
	if c.MaxSteps <= 0 {
		l.Positive("num_train_epochs", c.NumTrainEpochs)
		l.AtMost("num_train_epochs", c.NumTrainEpochs, optim.MaxSteps)
	}
	l.Require(c.MaxSteps == -1 || c.MaxSteps > 0, "max_steps", "must be positive, or -1 for none, got %d", c.MaxSteps)
	l.AtMost("max_steps", float64(c.MaxSteps), optim.MaxSteps)
	count(&l, "per_device_train_batch_size", c.PerDeviceTrainBatchSize)
	count(&l, "per_device_eval_batch_size", c.PerDeviceEvalBatchSize)
	count(&l, "gradient_accumulation_steps", c.GradientAccumulationSteps)
	l.AtLeast("segment_tokens", c.SegmentTokens, 0)
	l.AtMost("segment_tokens", float64(c.SegmentTokens), optim.MaxSteps)
	l.OneOf("segment_store", c.SegmentStore, "memory", "disk")
	l.Require(c.SegmentStore != "disk" || c.SegmentTokens > 0, "segment_store", "disk has no effect without segment_tokens")
	l.Include("", c.Config.Validate())
	l.NotNegative("max_grad_norm", c.MaxGradNorm)
	l.Fraction("label_smoothing_factor", c.LabelSmoothingFactor)
	l.NotNegative("neftune_noise_alpha", c.NeftuneNoiseAlpha)
	l.AtLeast("logging_steps", c.LoggingSteps, 0)
	l.AtLeast("eval_steps", c.EvalSteps, 0)
	l.AtLeast("save_steps", c.SaveSteps, 0)
	l.AtLeast("save_total_limit", c.SaveTotalLimit, 0)
	l.Require(c.MetricForBestModel != "", "metric_for_best_model", "must name a metric such as eval_loss, got \"\"")
	l.AtLeast("early_stopping_patience", c.EarlyStoppingPatience, 0)
	l.OneOf("on_nonfinite", c.OnNonfinite, "stop", "skip")
	for i, p := range c.Trainable {
		_, err := regexp.Compile(p)
		l.Require(err == nil, fmt.Sprintf("trainable[%d]", i), "is not a regular expression: %v", err)
	}
	return l.Err()
}

func count(l *fault.List, path string, v int) {
	l.AtLeast(path, v, 1)
	l.AtMost(path, float64(v), optim.MaxSteps)
}
