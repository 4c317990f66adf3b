package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
	"mambatrain/data"
	"mambatrain/mamba"
	"mambatrain/trainer"
)

// printHeader says what the run is before its first step.
func (j *job) printHeader(ctx context.Context, o trainer.Overview) {
	c, s := j.config, j.train.Stats()
	j.line("model", "%s: %s", c.Model, describeModel(j.model.Config))
	share := float64(o.Trainable) / float64(max(1, o.Parameters))
	j.line("trains", "%s of %s parameters (%s)%s", count(o.Trainable), count(o.Parameters), percent(share), j.describeAdapter())
	j.line("data", "%s", j.describeData(s))
	j.line("steps", "%s: %s of %d, %s each%s", count(o.Steps), counted(o.Epochs, "epoch"), o.StepsPerEpoch, j.describeBatch(o), j.describeStart(o))
	m := o.Memory
	j.line("memory", "about %v: %s", byteSize(m.Total()+ownMemory), parts(m))
	j.line("compute", "%s kernels, %d threads, up to %s rows at once", kernel.ISA(), kernel.Threads(), count(j.rows))
	if t := j.estimateTime(ctx, o); t > 0 {
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

// estimateTime times the first micro-batch forward and takes the rest of a step from the share of work that it is.
func (j *job) estimateTime(ctx context.Context, o trainer.Overview) time.Duration {
	b := j.loader.At(0, 0)
	batch := ag.Batch{Tokens: b.Tokens, Labels: b.Labels, Starts: b.Starts}
	if len(b.Tokens) > j.rows {
		n := j.rows
		batch = ag.Batch{Tokens: b.Tokens[:n], Labels: b.Labels[:n], Starts: []int{0}}
	}
	forward := time.Duration(0)
	for range 2 { // the first run warms up
		began := time.Now()
		if _, err := j.program.Eval(ctx, batch); err != nil {
			return 0
		}
		forward = time.Since(began)
	}
	w := workOf(j.model, len(batch.Tokens), len(batch.Tokens))
	if j.config.GradientCheckpointing {
		w.backward += w.forward
	}
	s := j.train.Stats()
	perEpoch := float64(s.Tokens) / float64(len(batch.Tokens)) // batches like the first one
	epochs := float64(o.Steps-o.StartStep) / float64(max(1, o.StepsPerEpoch))
	return time.Duration(float64(forward) * w.total() / w.forward * perEpoch * epochs)
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
	t, err := trainer.New(withoutOutput(j.config.Train), task)
	if err != nil {
		return err
	}
	o := t.Overview()
	j.printHeader(ctx, o)
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
		Memory: o.Memory.Total() + ownMemory, Seconds: j.estimateTime(ctx, o).Seconds(), MaxTokens: j.rows,
	}, "")
}

// withoutOutput returns settings for a run that has nowhere to keep its best model. Early stopping, which needs the same
// data and the same metric, stands in, so that both are checked.
func withoutOutput(s trainer.Settings) trainer.Settings {
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
