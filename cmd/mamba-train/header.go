package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"mambatrain/autograd/kernel"
	"mambatrain/internal/format"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/trainer"
	"mambatrain/trainer/recipe"
)

// printHeader describes the run before its first step. It returns the estimated duration, or 0 if unknown.
func (a *app) printHeader(ctx context.Context, r *recipe.Run, o trainer.Overview) time.Duration {
	c := r.Config
	a.line("model", "%s: %s", c.Model, describeModel(r.Model.Config)+describeBlocks(r.Model.Config, mamba.Precision(c.Precision)))
	share := float64(o.Trainable) / float64(max(1, o.Parameters))
	a.line("trains", "%s of %s parameters (%s)%s", format.Count(o.Trainable), format.Count(o.Parameters), format.Percent(share), describeAdapter(r))
	a.line("data", "%s", describeData(r))
	a.line("steps", "%s, %s per step%s", describeSteps(o), describeBatch(c, o), describeStart(o))
	m := recipe.Memory{Memory: o.Memory}
	a.line("memory", "about %v: %s", format.Bytes(m.Total()), m)
	on := cmp.Or(r.Device, fmt.Sprintf("%s kernels, %s", kernel.ISA(), format.Counted(kernel.Threads(), "thread")))
	a.line("compute", "%s, up to %s at once", on, format.Counted(r.Rows, "row"))
	left := r.TimeLeft(ctx, o)
	if left > 0 {
		a.line("time", "about %s", format.Duration(left))
	}
	a.line("output", "%s", c.OutputDir)
	if len(o.Decayed) > 0 {
		a.Detail("%-9s %s", "decayed", strings.Join(o.Decayed, ", "))
	}
	a.printMatches(r.Adapter)
	return left
}

func (a *app) line(label, format string, args ...any) {
	a.Say("%-9s "+format, append([]any{label}, args...)...)
}

func describeModel(c mamba.Config) string {
	return fmt.Sprintf("%s, %s, hidden size %d, vocabulary %s", c.Family(), format.Counted(c.NumHiddenLayers, "layer"), c.HiddenSize, format.Count(c.VocabSize))
}

// describeBlocks returns the block types of quantized weights, preceded by a comma, or "" for other weights.
func describeBlocks(c mamba.Config, p mamba.Precision) string {
	if blocks := c.Blocks(p); blocks != "" {
		return ", weights in " + blocks
	}
	return ""
}

func describeAdapter(r *recipe.Run) string {
	switch {
	case r.Adapter != nil && r.Config.Adapter != "":
		return ": the adapter " + r.Config.Adapter
	case r.Adapter != nil:
		return ": " + describeTargets(r.Adapter.Config)
	case r.FromScratch:
		return ", from scratch"
	}
	return ""
}

// describeTargets names everything that an adapter trains.
func describeTargets(c lora.Config) string {
	var parts []string
	if targets := c.TargetModules.String(); targets != "[]" {
		parts = append(parts, fmt.Sprintf("LoRA r %d on %s", c.R, targets))
	}
	if in := append(slices.Clone(c.TargetParameters), c.ModulesToSave...); len(in) > 0 {
		parts = append(parts, strings.Join(in, ", ")+" in full")
	}
	if c.InitialState {
		parts = append(parts, "the state that documents start from")
	}
	return strings.Join(parts, "; ")
}

// describeSteps relates the number of steps to epochs.
func describeSteps(o trainer.Overview) string {
	if o.Steps < o.StepsPerEpoch {
		return fmt.Sprintf("%s of %s in an epoch", format.Count(o.Steps), format.Count(o.StepsPerEpoch))
	}
	return fmt.Sprintf("%s: %s of %s", format.Count(o.Steps), format.Counted(o.Epochs, "epoch"), format.Counted(o.StepsPerEpoch, "step"))
}

// describeData describes the data and what was left out of it.
func describeData(r *recipe.Run) string {
	s := r.Data.Stats()
	paths := make([]string, len(r.Config.Data.Train))
	for i, in := range r.Config.Data.Train {
		paths[i] = in.Path
	}
	text := fmt.Sprintf("%s: %s, %s, longest %s", strings.Join(paths, ", "), format.Counted(s.Documents, "document"), format.Counted(s.Tokens, "token"), format.Count(s.Longest))
	for _, left := range []struct {
		n    int
		what string
	}{{s.Empty, "empty"}, {s.NoLabels, "without labels"}, {s.Truncated, "cut"}, {s.ShareGPT, "converted from ShareGPT"}} {
		if left.n > 0 {
			text += fmt.Sprintf(", %s %s", format.Count(left.n), left.what)
		}
	}
	for _, e := range r.Eval {
		n, _ := e.Source.Batches(0)
		text += "; eval " + strings.TrimSpace(e.Name+" "+format.Counted(n, "batch"))
	}
	return text
}

func describeBatch(c recipe.Config, o trainer.Overview) string {
	batch := format.Counted(c.Train.PerDeviceTrainBatchSize, "document")
	if c.Data.Packing {
		batch = fmt.Sprintf("packed batches of %d × %d rows", c.Train.PerDeviceTrainBatchSize, c.Data.MaxLength)
	}
	if o.BatchesPerStep > 1 {
		batch = fmt.Sprintf("%d × %s", o.BatchesPerStep, batch)
	}
	return batch
}

func describeStart(o trainer.Overview) string {
	if o.StartStep > 0 {
		return fmt.Sprintf("; resuming after step %d", o.StartStep)
	}
	return ""
}

// printMatches lists the number of modules that each target matches, if --verbose is set.
func (a *app) printMatches(adapter *lora.Adapter) {
	if adapter == nil {
		return
	}
	for _, m := range adapter.Matches {
		a.Detail("%-9s %s: %s matches %d modules", "adapts", m.Key, m.Pattern, m.Count)
	}
}

// formatOf returns the number format that matrix products read at a precision.
func formatOf(precision mamba.Precision) kernel.Format {
	if precision == mamba.BF16 {
		return kernel.BFloat16
	}
	return kernel.Float32
}

// dryRun prints the header and the first batches, and returns.
func (a *app) dryRun(ctx context.Context, r *recipe.Run) error {
	a.Wait("estimating the time")
	defer a.EndWait()
	o, err := r.Plan()
	if err != nil {
		return err
	}
	left := a.printHeader(ctx, r, o)
	for i := range min(2, r.Loader.Total()) {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := r.Loader.At(0, i)
		a.line("batch", "%d: %s, %s, %s in the loss", i, format.Counted(b.Documents(), "document"), format.Counted(len(b.Tokens), "row"), format.Counted(b.Counted(), "label"))
		if r.Tokenizer != nil && a.Verbose {
			for d, row := range b.Rows {
				a.Detail("  row %d: %q", row, r.Tokenizer.Decode(b.Document(d).Tokens))
			}
		}
	}
	return a.Result(dryResult{
		Steps: o.Steps, Parameters: o.Parameters, Trainable: o.Trainable, Tokens: r.Data.Stats().Tokens,
		Memory: recipe.Memory{Memory: o.Memory}.Total(), Seconds: left.Seconds(), MaxTokens: r.Rows,
	}, "")
}

// dryResult is the output of train --dry-run --json.
type dryResult struct {
	Steps      int     `json:"steps"`
	Parameters int     `json:"parameters"`
	Trainable  int     `json:"trainable"`
	Tokens     int     `json:"tokens"`
	MaxTokens  int     `json:"max_tokens"`
	Memory     int64   `json:"memory_bytes"`
	Seconds    float64 `json:"seconds"`
}
