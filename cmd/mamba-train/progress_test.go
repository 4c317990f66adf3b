package main

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/schollz/progressbar/v3"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/trainer"
	"mambatrain/trainer/checkpoint"
)

// Warnings about what a run gives up are printed even with --quiet.
func TestWarningsDespiteQuiet(t *testing.T) {
	for want, e := range map[string]trainer.Event{
		"step 7: disk full; the run continues":                             trainer.SaveFailureEvent{Step: 7, Err: errors.New("disk full")},
		"the best model, from step 3, cannot be read: checkpoint-3 is cut": trainer.MissingBestEvent{Step: 3, Err: errors.New("checkpoint-3 is cut")},
		"step 7: an old checkpoint cannot be removed: read-only":           trainer.PruneFailureEvent{Step: 7, Err: errors.New("read-only")},
		"no gradient flows to w":                                           trainer.NoGradientEvent{Names: []string{"w"}},
	} {
		var out strings.Builder
		newProgress(&app{Console: cli.Console{Err: &out, Quiet: true}}).observe(e)
		if !strings.Contains(out.String(), want) {
			t.Errorf("%T: %q, want %q", e, out.String(), want)
		}
	}
}

// A saved checkpoint has its own line, not the rest of the bar's.
func TestSavedLine(t *testing.T) {
	var out strings.Builder
	p := newProgress(&app{Console: cli.Console{Err: &out, Verbose: true}})
	p.bar = progressbar.NewOptions(3, progressbar.OptionSetWriter(&out), progressbar.OptionUseANSICodes(true))
	p.bar.Set(1)
	p.observe(trainer.SaveEvent{Dir: "run/checkpoint-1"})
	before, _, found := strings.Cut(out.String(), "saved run/checkpoint-1 in ")
	if line := before[strings.LastIndexAny(before, "\r\n")+1:]; !found || line != "" || before == "" {
		t.Errorf("%q", out.String())
	}
}

// A narrow terminal shows less next to the bar, so that its line is not wrapped.
func TestFirstFitting(t *testing.T) {
	for columns, want := range map[int]string{30: "loss 1.2346, 100 tokens/s", 12: "loss 1.2346", 10: "loss 1.23", 3: "", -5: ""} {
		if got := firstFitting(columns, []string{"loss 1.2346, 100 tokens/s", "loss 1.2346", "loss 1.23"}); got != want {
			t.Errorf("%d columns: %q, want %q", columns, got, want)
		}
	}
}

// A skipped step, whose loss may not be a number, does not affect the loss that is shown, and has no gradient norm.
func TestProgress_skippedStep(t *testing.T) {
	var out strings.Builder
	p := newProgress(&app{Console: cli.Console{Err: &out}})
	for _, loss := range []float64{2, math.NaN(), math.Inf(1), 2} {
		p.observe(trainer.StepEvent{Loss: loss})
	}
	if p.loss != 2 {
		t.Errorf("the loss is %v, want 2", p.loss)
	}
	p.observe(trainer.LogEvent{Row: checkpoint.Row{"step": 4, "loss": 2}})
	if !strings.Contains(out.String(), "grad norm skipped ") {
		t.Errorf("got %q", out.String())
	}
}

func TestStatsText_columns(t *testing.T) {
	r := statsResult{Histogram: []lengthBin{{From: 1, To: 8, Documents: 12345}}}
	for columns, want := range map[int]int{0: 50, 200: 50, 40: 40 - 14 - 6, 5: 1} {
		if got := strings.Count(r.text(columns), "█"); got != want {
			t.Errorf("%d columns: a bar of %d, want %d", columns, got, want)
		}
	}
}
