package main

import (
	"slices"
	"strings"

	faults "mambatrain/internal/fault"
	"mambatrain/mamba"
)

// report names a key and what is wrong with its value.
type report func(path, format string, args ...any)

// check reports every value that makes no sense, by itself or beside the others.
func (c *Config) check(wrong report) {
	c.checkTop(wrong)
	c.Data.check(wrong)
	var l faults.List
	l.Include("data", c.Data.Validate())
	l.Include("train", c.Train.Validate())
	l.Include("train", c.Train.ValidateEvaluation(c.Data.evalNames()))
	if c.LoRA != nil {
		l.Include("lora", c.LoRA.Validate())
	}
	for _, f := range l {
		wrong(f.Path, "%s", f.Problem)
	}
	if c.Distributed != nil {
		c.Distributed.check(wrong)
	}
}

func (c *Config) checkTop(wrong report) {
	for _, k := range []struct{ path, value string }{{"model", c.Model}, {"output_dir", c.OutputDir}} {
		if k.value == "" {
			wrong(k.path, "must be given")
		}
	}
	atLeast(wrong, "seed", c.Seed, 0)
	atLeast(wrong, "threads", c.Threads, 0)
	atLeast(wrong, "max_tokens", c.MaxTokens, 0)
	oneOf(wrong, "precision", c.Precision, "float32", "bf16")
	oneOf(wrong, "init", c.Init, string(mamba.InitMambaSSM), string(mamba.InitHF))
	if c.Precision == "bf16" && c.LoRA == nil && c.Adapter == "" && len(c.Train.Trainable) == 0 {
		wrong("precision", "bf16 is for frozen weights, and full training freezes none: add a lora section or use float32")
	}
	if c.LoRA != nil && len(c.Train.Trainable) > 0 {
		wrong("train.trainable", "belongs to full training; beside lora use lora.modules_to_save or lora.target_parameters")
	}
}

// evalNames are the names of the sets to evaluate on.
func (d DataConfig) evalNames() (names []string) {
	for _, set := range d.Eval {
		names = append(names, set.Name)
	}
	if d.EvalFraction > 0 {
		names = append(names, "")
	}
	return names
}

func (d DataConfig) check(wrong report) {
	if len(d.Train) == 0 {
		wrong("data.train", "must be given")
	}
	if !(d.EvalFraction >= 0 && d.EvalFraction < 1) {
		wrong("data.eval_fraction", "must be at least 0 and below 1, got %v", d.EvalFraction)
	}
	if d.EvalFraction > 0 && len(d.Eval) > 0 {
		wrong("data.eval_fraction", "splits off evaluation data where data.eval names none; leave one of the two out")
	}
}

func (d *DistributedConfig) check(wrong report) {
	if d.Timeout <= 0 {
		wrong("distributed.timeout", "must be positive, got %v", d.Timeout)
	}
	oneOf(wrong, "distributed.reduce", d.Reduce, "ordered", "native")
	atLeast(wrong, "distributed.shards", d.Shards, 0)
	atLeast(wrong, "distributed.bucket_mb", d.BucketMB, 1)
}

func atLeast(wrong report, path string, v, least int) {
	if v < least {
		wrong(path, "must be at least %d, got %d", least, v)
	}
}

func oneOf(wrong report, path, v string, known ...string) {
	if !slices.Contains(known, v) {
		wrong(path, "must be one of %s, got %q%s", strings.Join(known, ", "), v, didYouMean(v, known))
	}
}
