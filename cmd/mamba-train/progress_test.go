package main

import (
	"errors"
	"strings"
	"testing"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/trainer"
)

// Warnings about what a run gives up are printed even with --quiet.
func TestWarningsDespiteQuiet(t *testing.T) {
	for want, e := range map[string]trainer.Event{
		"step 7: disk full; the run continues":                             trainer.SaveFailureEvent{Step: 7, Err: errors.New("disk full")},
		"the best model, from step 3, cannot be read: checkpoint-3 is cut": trainer.MissingBestEvent{Step: 3, Err: errors.New("checkpoint-3 is cut")},
		"no gradient flows to w":                                           trainer.NoGradientEvent{Names: []string{"w"}},
	} {
		var out strings.Builder
		newProgress(&app{Console: cli.Console{Err: &out, Quiet: true}}).observe(e)
		if !strings.Contains(out.String(), want) {
			t.Errorf("%T: %q, want %q", e, out.String(), want)
		}
	}
}
