package main

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"

	"mambatrain/autograd/kernel"
	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/internal/format"
	"mambatrain/mamba"
	"mambatrain/trainer"
	"mambatrain/trainer/checkpoint"
	"mambatrain/trainer/recipe"
)

// progress shows the progress of a run: a status line on a terminal, otherwise a line for each logged row.
type progress struct {
	app       *app
	run       *recipe.Run // nil until it is prepared
	resume    bool        // resume was requested and no checkpoint has been found
	terminal  bool
	bar       *progressbar.ProgressBar
	rate      rate
	loss      float64 // smoothed over the last steps
	peak      float64 // FLOP/s
	perRow    float64 // FLOP per input token
	steps     int
	lastPrint time.Duration // time into the step when its progress was last printed
	stopping  bool          // the message that the run stops after this step has been printed
}

func newProgress(a *app) *progress {
	return &progress{app: a, terminal: cli.IsTerminal(a.Err) && !a.Quiet}
}

// rate averages the speed of recent steps. The weight of a step decreases exponentially with its age.
type rate struct {
	steps, tokens, rows, seconds float64
}

// memoryOfRate is the factor by which each new step reduces the weight of the earlier ones in a rate.
const memoryOfRate = 0.95

func (r *rate) add(tokens, rows int, took time.Duration) {
	r.steps = memoryOfRate*r.steps + 1
	r.tokens = memoryOfRate*r.tokens + float64(tokens)
	r.rows = memoryOfRate*r.rows + float64(rows)
	r.seconds = memoryOfRate*r.seconds + took.Seconds()
}

func (r *rate) tokensPerSecond() float64 { return r.tokens / max(r.seconds, 1e-9) }

func (p *progress) observe(e trainer.Event) {
	switch e := e.(type) {
	case trainer.StartEvent:
		p.begin(e.Overview)
	case trainer.ResumeEvent:
		p.resumed(e)
	case trainer.StepEvent:
		p.step(e)
	case trainer.StepProgressEvent:
		p.within(e)
	case trainer.LogEvent:
		p.row(e.Row)
	case trainer.EvalProgressEvent:
		if p.bar != nil {
			share := fmt.Sprintf("%d/%d", e.Done, e.Total)
			p.describe(strings.TrimSpace("evaluating "+e.Set)+" "+share, share)
		}
	case trainer.EvalEvent:
		p.evaluated(e)
	case trainer.SampleEvent:
		p.sampled(e)
	case trainer.SaveEvent:
		p.withoutBar(func() { p.app.Detail("saved %s in %s", e.Dir, format.Duration(e.Time)) })
	case trainer.SaveFailureEvent:
		p.withoutBar(func() { p.app.Warn("step %d: %v; the run continues", e.Step, e.Err) })
	case trainer.PruneFailureEvent:
		p.withoutBar(func() { p.app.Warn("step %d: an old checkpoint cannot be removed: %v", e.Step, e.Err) })
	case trainer.MissingBestEvent:
		p.withoutBar(func() {
			p.app.Warn("the best model, from step %d, cannot be read: %v; the result has the weights of the last step", e.Step, e.Err)
		})
	case trainer.SkipEvent:
		p.withoutBar(func() { p.app.Warn("%v; skipping the step (%d in a row)", e.Err, e.InRow) })
	case trainer.NoGradientEvent:
		p.withoutBar(func() { p.app.Warn("no gradient flows to %s", abbreviate(e.Names)) })
	case trainer.EarlyStopEvent:
		p.withoutBar(func() { p.app.Say("stopping after step %d: %s", e.Step, e.Reason) })
	}
}

// abbreviate lists the first few names and counts the others.
func abbreviate(names []string) string {
	const limit = 4
	text := ""
	for i, n := range names[:min(limit, len(names))] {
		if i > 0 {
			text += ", "
		}
		text += n
	}
	if more := len(names) - limit; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}

// begin prints the header. It is called after the run has checked its directory and before its first step.
func (p *progress) begin(o trainer.Overview) {
	p.steps = o.Steps
	p.app.Wait("estimating the time")
	if p.resume {
		p.app.Say("%s contains no checkpoint: the run starts from the beginning", p.run.Config.OutputDir)
	}
	if !p.app.Quiet {
		p.app.printHeader(context.Background(), p.run, o)
		p.perRow, p.peak = p.run.Work(), kernel.PeakFLOPS(formatOf(mamba.Precision(p.run.Config.Precision)), peakTime)
	}
	p.app.EndWait()
	if !p.terminal {
		return
	}
	p.bar = progressbar.NewOptions(o.Steps,
		progressbar.OptionSetWriter(p.app.Err), progressbar.OptionSetPredictTime(true), progressbar.OptionShowCount(),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetWidth(20), progressbar.OptionClearOnFinish(),
		progressbar.OptionUseANSICodes(true), progressbar.OptionFullWidth(),
	)
	p.bar.Set(o.StartStep)
}

func (p *progress) resumed(e trainer.ResumeEvent) {
	p.resume = false
	for _, d := range e.Damaged {
		p.app.Warn("%v; using an older checkpoint", d)
	}
	for _, c := range e.Changed {
		p.app.Warn("changed since the checkpoint: %v", c)
	}
	p.app.Say("%-9s step %d, %s", "resumes", e.Step, e.Dir)
	if k := e.Kernels; k != nil {
		p.app.Say("%-9s %s until now, %s from here on: the last bits differ from those of an uninterrupted run", k.Key, k.Was, k.Is)
	}
}

func (p *progress) step(e trainer.StepEvent) {
	p.rate.add(e.Tokens, e.InputTokens, e.Time)
	if !math.IsNaN(e.Loss) && !math.IsInf(e.Loss, 0) { // as it can be in a skipped step
		if p.loss == 0 {
			p.loss = e.Loss
		}
		p.loss += 0.1 * (e.Loss - p.loss)
	}
	if p.bar == nil {
		return
	}
	loss := fmt.Sprintf("loss %.4f", p.loss)
	speed := fmt.Sprintf("%s, %.0f tokens/s", loss, p.rate.tokensPerSecond())
	p.describe(fmt.Sprintf("%s, %s of peak", speed, p.share()), speed, loss, fmt.Sprintf("loss %.2f", p.loss))
	p.bar.Set(e.Step)
}

// describe shows the first of the texts that fits next to the bar's figures, or none.
func (p *progress) describe(texts ...string) {
	p.bar.Describe(firstFitting(cli.Columns(p.app.Err)-barFigures-2*len(strconv.Itoa(p.steps)), texts))
}

// barFigures is the width of the bar's figures without the steps, which appear twice.
const barFigures = len(" 100% || (/) [59m59s:59m59s]")

func firstFitting(columns int, texts []string) string {
	for _, text := range texts {
		if utf8.RuneCountInString(text) <= columns {
			return text
		}
	}
	return ""
}

// progressInterval is how often the progress of a long step is printed without a terminal.
const progressInterval = time.Minute

// within shows the progress of a long step.
func (p *progress) within(e trainer.StepProgressEvent) {
	left := time.Duration(float64(e.Time) * (1 - e.Share) / max(e.Share, 1e-9))
	text := fmt.Sprintf("step %d/%d: %s done, %s left", e.Step, e.Steps, format.Percent(e.Share), format.Duration(left))
	if e.Stopping && !p.stopping {
		p.stopping = true
		p.withoutBar(func() {
			p.app.Say("%s; the run is saved when the step is done. A second interrupt stops at once and loses this step", text)
		})
	}
	if p.bar != nil {
		p.describe(text, format.Percent(e.Share)+" done")
		return
	}
	if e.Time < p.lastPrint { // a new step
		p.lastPrint = 0
	}
	if e.Time-p.lastPrint >= progressInterval {
		p.lastPrint = e.Time
		p.app.Say("%s", text)
	}
}

// share returns the percentage of the machine's arithmetic peak reached by the last steps.
func (p *progress) share() string {
	return format.Percent(p.rate.rows * p.perRow / max(p.rate.seconds, 1e-9) / max(p.peak, 1))
}

// row prints a logged row. On a terminal it omits the speed, which the status line shows.
func (p *progress) row(r checkpoint.Row) {
	loss, ok := r["loss"]
	if !ok {
		return
	}
	norm := "skipped" // as the last step was
	if n, ok := r["grad_norm"]; ok {
		norm = fmt.Sprintf("%.3g", n)
	}
	text := fmt.Sprintf("%s  epoch %.2f  loss %.4f  ", p.at(r), r["epoch"], loss)
	if p.terminal {
		text += fmt.Sprintf("grad norm %-8s  lr %.3g", norm, r["learning_rate"])
	} else {
		text += fmt.Sprintf("grad norm %s  lr %.3g  %.0f tokens/s  %s of peak  %s left", norm, r["learning_rate"], r["tokens_per_second"], p.share(), p.left(int(r["step"])))
	}
	p.withoutBar(func() { p.app.Say("%s", text) })
}

// at formats the step of a row. On a terminal steps are aligned.
func (p *progress) at(r checkpoint.Row) string {
	step := int(r["step"])
	if p.terminal {
		return fmt.Sprintf("step %*d/%d", len(strconv.Itoa(p.steps)), step, p.steps)
	}
	return fmt.Sprintf("step %d/%d", step, p.steps)
}

// left estimates the time for the remaining steps at the current rate.
func (p *progress) left(step int) string {
	perStep := p.rate.seconds / max(p.rate.steps, 1)
	return format.Duration(time.Duration(float64(p.steps-step) * perStep * float64(time.Second)))
}

func (p *progress) evaluated(e trainer.EvalEvent) {
	best := ""
	if e.Best {
		best = "  (best)"
	}
	p.withoutBar(func() {
		text := p.at(e.Row)
		for _, k := range slices.Sorted(maps.Keys(e.Row)) {
			if shownMetric(k) {
				text += fmt.Sprintf("  %s %s", k, format.Significant(e.Row[k], 5))
			}
		}
		p.app.Say("%s%s", text, best)
	})
}

func (p *progress) sampled(e trainer.SampleEvent) {
	p.withoutBar(func() {
		if e.Err != nil {
			p.app.Warn("sample %q: %v", e.Prompt, e.Err)
			return
		}
		p.app.line("sample", "%q → %q", e.Prompt, e.Text)
	})
}

// shownMetric reports whether a metric is printed. The others are only in the history.
func shownMetric(key string) bool {
	return strings.HasPrefix(key, "eval_") && (strings.HasSuffix(key, "_loss") || strings.HasSuffix(key, "perplexity") || strings.HasSuffix(key, "accuracy"))
}

// withoutBar prints something while the bar is hidden.
func (p *progress) withoutBar(print func()) {
	if p.bar == nil {
		print()
		return
	}
	p.bar.Clear()
	print()
	p.bar.RenderBlank()
}

// end removes the bar.
func (p *progress) end() {
	if p.bar != nil {
		p.bar.Clear()
		p.bar = nil
	}
}
