package recipe

import (
	"fmt"

	"mambatrain/internal/fault"
	"mambatrain/mamba"
	"mambatrain/trainer/mpi"
)

// Validate returns a [fault.List] of every value that is invalid, by itself or in combination with others, or nil.
func (c *Config) Validate() error {
	var l fault.List
	c.checkTop(&l)
	c.Data.check(&l)
	l.Include("train", c.Train.Validate())
	l.Include("train", c.Train.ValidateEvaluation(c.Data.EvalNames()))
	if c.LoRA != nil {
		l.Include("lora", c.LoRA.Validate())
	}
	if c.Distributed != nil {
		c.Distributed.check(&l)
	}
	return l.Err()
}

func (c *Config) checkTop(l *fault.List) {
	for _, k := range []struct{ path, value string }{{"model", c.Model}, {"output_dir", c.OutputDir}} {
		if k.value == "" {
			l.Add(k.path, "is required")
		}
	}
	l.AtLeast("seed", c.Seed, 0)
	l.AtLeast("threads", c.Threads, 0)
	l.AtLeast("max_tokens", c.MaxTokens, 0)
	if c.MaxTokens > 0 && c.Train.SegmentTokens > 0 {
		l.Add("max_tokens", "cannot be combined with train.segment_tokens, which also sets how many rows are computed at once; omit one of them")
	}
	l.Require(c.Device != "", "device", "must be cpu, auto, vulkan, or part of a device's name, got \"\"")
	l.OneOf("precision", c.Precision, mamba.Precisions()...)
	l.OneOf("init", c.Init, string(mamba.InitMambaSSM), string(mamba.InitHF))
	if precision := mamba.Precision(c.Precision); precision != mamba.Stored && precision != mamba.Float32 && c.trainsAll() {
		l.Add("precision", "%s is for frozen weights, but full training freezes none: add a lora section or use float32", c.Precision)
	}
	if c.LoRA != nil && len(c.Train.Trainable) > 0 {
		l.Add("train.trainable", "is for full training; with lora, use lora.modules_to_save or lora.target_parameters")
	}
}

// trainsAll reports whether all weights of the model are trained.
func (c *Config) trainsAll() bool {
	return c.LoRA == nil && c.Adapter == "" && len(c.Train.Trainable) == 0
}

// checkPrecision returns a fault for training the weights of a GGUF file in quantized blocks. Weights chosen by
// train.trainable are checked when they are selected.
func (c *Config) checkPrecision(sizes mamba.Config) error {
	precision := mamba.Precision(c.Precision)
	if !c.trainsAll() || sizes.Trains(precision) {
		return nil
	}
	return fault.Fault{Path: "precision", Problem: fmt.Sprintf("the weights of %s are quantized (%s) and cannot be trained, but full training trains all weights: add a lora section, or set precision: float32", c.Model, sizes.Blocks(precision))}
}

// EvalNames returns the names of the evaluation sets.
func (d DataConfig) EvalNames() (names []string) {
	for _, set := range d.Eval {
		names = append(names, set.Name)
	}
	if d.EvalFraction > 0 {
		names = append(names, "")
	}
	return names
}

func (d DataConfig) check(l *fault.List) {
	if len(d.Train) == 0 {
		l.Add("data.train", "is required")
	}
	l.Fraction("data.eval_fraction", d.EvalFraction)
	if d.EvalFraction > 0 && len(d.Eval) > 0 {
		l.Add("data.eval_fraction", "cannot be combined with data.eval: omit one of them")
	}
	l.Include("data", d.Config.Validate())
}

func (d *DistributedConfig) check(l *fault.List) {
	if d.Timeout <= 0 {
		l.Add("distributed.timeout", "must be positive, got %v", d.Timeout)
	}
	l.OneOf("distributed.reduce", d.Reduce, "ordered", "native")
	l.AtLeast("distributed.shards", d.Shards, 0)
	l.AtLeast("distributed.bucket_mb", d.BucketMB, 1)
	l.AtMost("distributed.bucket_mb", float64(d.BucketMB), mpi.MaxCallBytes>>20)
}
