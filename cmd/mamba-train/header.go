package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"mambatrain/autograd/kernel"
	"mambatrain/data"
	"mambatrain/mamba"
	"mambatrain/trainer"
)

// printHeader says what the run is before its first step.
func (j *job) printHeader(o trainer.Overview) {
	c, s := j.config, j.train.Stats()
	j.line("model", "%s: %s", c.Model, describeModel(j.model.Config))
	share := float64(o.Trainable) / float64(max(1, o.Parameters))
	j.line("trains", "%s of %s parameters (%s)%s", count(o.Trainable), count(o.Parameters), percent(share), j.describeAdapter())
	j.line("data", "%s", j.describeData(s))
	j.line("steps", "%s: %d epochs of %d, %s each%s", count(o.Steps), o.Epochs, o.StepsPerEpoch, j.describeBatch(o), j.describeStart(o))
	m := o.Memory
	j.line("memory", "about %v: %s", byteSize(m.Total()+ownMemory), parts(m))
	j.line("compute", "%s kernels, %d threads, up to %s rows at once", kernel.ISA(), kernel.Threads(), count(j.rows))
	if t := j.estimateTime(o); t > 0 {
		j.line("time", "about %s", duration(t))
	}
	j.line("output", "%s", c.OutputDir)
	if len(o.Decayed) > 0 {
		j.app.detail("%-9s %s", "decayed", strings.Join(o.Decayed, ", "))
	}
	j.describeMatches()
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
	return strings.ReplaceAll(text, "batchs", "batches")
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

// Figures of the time estimate: how long the peak is measured, and the share of it that a step is known to reach.
const (
	peakTime    = 60 * time.Millisecond
	usualShare  = 0.65
	slowestRate = 1e6
)

// estimateTime is the work of all steps over what the machine can do.
func (j *job) estimateTime(o trainer.Overview) time.Duration {
	s := j.train.Stats()
	perDocument := float64(s.Tokens) / float64(max(1, s.Documents))
	rows := perDocument * float64(j.config.Train.PerDeviceTrainBatchSize*o.BatchesPerStep)
	if j.config.Data.Packing {
		rows = float64(s.Tokens) / float64(max(1, o.StepsPerEpoch))
	}
	const unit = 1000 // rows; work is proportional to them
	w := workOf(j.model, unit, unit)
	if j.config.GradientCheckpointing {
		w.backward += w.forward
	}
	rate := kernel.PeakFLOPS(j.format(), peakTime) * usualShare
	if rate < slowestRate {
		return 0
	}
	steps := float64(o.Steps - o.StartStep)
	return time.Duration(w.total() / unit * rows * steps / rate * float64(time.Second))
}

func (j *job) format() kernel.Format {
	if j.config.Precision == "bf16" {
		return kernel.BFloat16
	}
	return kernel.Float32
}

// dryRun prints the header and the first batches, and stops there.
func (j *job) dryRun(ctx context.Context) error {
	m, err := j.estimate(j.rows)
	if err != nil {
		return err
	}

	t, err := trainer.New(j.config.Train, trainer.Task{
		Params: j.params(), Rows: j.rows, Train: trainer.FromLoader(j.loader), Eval: j.evals, LoRAPlusRatio: 1,
	})
	if err != nil {
		return err
	}
	o := t.Overview()
	o.Memory = m
	j.printHeader(o)
	for i := range min(2, j.loader.Total()) {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := j.loader.At(0, i)
		j.line("batch", "%d: %s, %s, %s counted", i, counted(b.Documents(), "document"), counted(len(b.Tokens), "row"), counted(b.Counted(), "label"))
		if j.tokenizer != nil && j.app.verbose {
			for d, from := range b.Starts {
				to := len(b.Tokens)
				if d+1 < len(b.Starts) {
					to = b.Starts[d+1]
				}
				j.app.detail("  row %d: %q", b.Rows[d], j.tokenizer.Decode(b.Tokens[from:to]))
			}
		}
	}
	return j.app.result(dryResult{
		Steps: o.Steps, Parameters: o.Parameters, Trainable: o.Trainable, Tokens: j.train.Stats().Tokens,
		Memory: m.Total() + ownMemory, Seconds: j.estimateTime(o).Seconds(), MaxTokens: j.rows,
	}, "")
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
