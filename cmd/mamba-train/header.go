package main

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"mambatrain/autograd/kernel"
	"mambatrain/data"
	"mambatrain/mamba"
	"mambatrain/trainer"
)

// printHeader says what the run is before its first step, and returns how long it will take, 0 where that is not known.
func (j *job) printHeader(ctx context.Context, o trainer.Overview) time.Duration {
	c, s := j.config, j.train.Stats()
	j.line("model", "%s: %s", c.Model, describeModel(j.model.Config))
	share := float64(o.Trainable) / float64(max(1, o.Parameters))
	j.line("trains", "%s of %s parameters (%s)%s", count(o.Trainable), count(o.Parameters), percent(share), j.describeAdapter())
	j.line("data", "%s", j.describeData(s))
	j.line("steps", "%s: %s of %d, %s each%s", count(o.Steps), counted(o.Epochs, "epoch"), o.StepsPerEpoch, j.describeBatch(o), j.describeStart(o))
	m := o.Memory
	j.line("memory", "about %v: %s", byteSize(m.Total()+ownMemory), parts(m))
	j.line("compute", "%s kernels, %d threads, up to %s rows at once", kernel.ISA(), kernel.Threads(), count(j.rows))
	left := j.estimateTime(ctx, o)
	if left > 0 {
		j.line("time", "about %s", duration(left))
	}
	j.line("output", "%s", c.OutputDir)
	if len(o.Decayed) > 0 {
		j.app.detail("%-9s %s", "decayed", strings.Join(o.Decayed, ", "))
	}
	j.describeMatches()
	return left
}

func (j *job) line(label, format string, args ...any) {
	j.app.say("%-9s "+format, append([]any{label}, args...)...)
}

func describeModel(c mamba.Config) string {
	return fmt.Sprintf("Mamba, %d layers, hidden size %d, vocabulary %s", c.NumHiddenLayers, c.HiddenSize, count(c.VocabSize))
}

func (j *job) describeAdapter() string {
	switch {
	case j.adapted != nil && j.config.Adapter != "":
		return ": the adapter " + j.config.Adapter
	case j.adapted != nil:
		return fmt.Sprintf(": LoRA r %d on %v", j.adapted.Config.R, j.adapted.Config.TargetModules)
	case j.scratch:
		return ", from scratch"
	}
	return ""
}

// describeData tells what there is and what was left out.
func (j *job) describeData(s data.Stats) string {
	paths := make([]string, len(j.config.Data.Train))
	for i, in := range j.config.Data.Train {
		paths[i] = in.Path
	}
	text := fmt.Sprintf("%s: %s, %s, longest %d", strings.Join(paths, ", "), counted(s.Documents, "document"), counted(s.Tokens, "token"), s.Longest)
	for _, left := range []struct {
		n    int
		what string
	}{{s.Empty, "empty"}, {s.NoLabels, "without labels"}, {s.Truncated, "cut"}} {
		if left.n > 0 {
			text += fmt.Sprintf(", %s %s", count(left.n), left.what)
		}
	}
	for _, e := range j.evals {
		n, _ := e.Source.Batches(0)
		text += "; eval " + strings.TrimSpace(e.Name+" "+counted(n, "batch"))
	}
	return text
}

func (j *job) describeBatch(o trainer.Overview) string {
	c := j.config
	batch := counted(c.Train.PerDeviceTrainBatchSize, "document")
	if c.Data.Packing {
		batch = fmt.Sprintf("packed batches of %d × %d rows", c.Train.PerDeviceTrainBatchSize, c.Data.MaxLength)
	}
	if o.BatchesPerStep > 1 {
		batch = fmt.Sprintf("%d × %s", o.BatchesPerStep, batch)
	}
	return batch
}

func (j *job) describeStart(o trainer.Overview) string {
	if o.StartStep > 0 {
		return fmt.Sprintf("; goes on after step %d", o.StartStep)
	}
	return ""
}

// describeMatches says how many modules each target hit.
func (j *job) describeMatches() {
	if j.adapted == nil {
		return
	}
	for _, m := range j.adapted.Matches {
		j.app.detail("%-9s %s: %s matches %d", "adapts", m.Key, m.Pattern, m.Count)
	}
}

// peakTime is how long the arithmetic peak is measured.
const peakTime = 60 * time.Millisecond

// perRow is the floating-point work of one input token.
func (j *job) perRow() float64 {
	const rows = 1000 // work is proportional to them
	return workOf(j.model, rows, rows).total() / rows
}

// estimateTime is the time of the remaining steps without evaluations, by the first rows of the next one.
func (j *job) estimateTime(ctx context.Context, o trainer.Overview) time.Duration {
	rows, took, err := j.trainer.Rehearse(ctx)
	if err != nil || rows == 0 {
		return 0 // the step itself will tell what is wrong
	}
	epochs := float64(o.Steps-o.StartStep) / float64(max(1, o.StepsPerEpoch))
	all := epochs * float64(j.train.Stats().Tokens) / float64(rows*o.Ranks) * float64(took)
	return time.Duration(min(all, math.MaxInt64/2))
}

func (j *job) format() kernel.Format {
	if j.config.Precision == "bf16" {
		return kernel.BFloat16
	}
	return kernel.Float32
}

// dryRun prints the header and the first batches, and stops there.
func (j *job) dryRun(ctx context.Context) error {
	if err := j.compile(); err != nil {
		return err
	}
	task, err := j.task()
	if err != nil {
		return err
	}
	if j.trainer, err = trainer.New(withoutOutput(j.config.Train), task); err != nil {
		return err
	}
	o := j.trainer.Overview()
	left := j.printHeader(ctx, o)
	for i := range min(2, j.loader.Total()) {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := j.loader.At(0, i)
		j.line("batch", "%d: %s, %s, %s counted", i, counted(b.Documents(), "document"), counted(len(b.Tokens), "row"), counted(b.Counted(), "label"))
		if j.tokenizer != nil && j.app.verbose {
			for d, row := range b.Rows {
				j.app.detail("  row %d: %q", row, j.tokenizer.Decode(b.Document(d).Tokens))
			}
		}
	}
	return j.app.result(dryResult{
		Steps: o.Steps, Parameters: o.Parameters, Trainable: o.Trainable, Tokens: j.train.Stats().Tokens,
		Memory: o.Memory.Total() + ownMemory, Seconds: left.Seconds(), MaxTokens: j.rows,
	}, "")
}

// withoutOutput returns settings for a run that has nowhere to keep its best model. Early stopping, which needs the same
// data and the same metric, stands in, so that both are checked.
func withoutOutput(s trainer.Config) trainer.Config {
	if s.LoadBestModelAtEnd {
		s.LoadBestModelAtEnd, s.EarlyStoppingPatience = false, max(1, s.EarlyStoppingPatience)
	}
	return s
}

// dryResult is what train --dry-run --json prints.
type dryResult struct {
	Steps      int     `json:"steps"`
	Parameters int     `json:"parameters"`
	Trainable  int     `json:"trainable"`
	Tokens     int     `json:"tokens"`
	MaxTokens  int     `json:"max_tokens"`
	Memory     int64   `json:"memory_bytes"`
	Seconds    float64 `json:"seconds"`
}
