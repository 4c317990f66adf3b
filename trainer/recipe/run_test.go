package recipe

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"mambatrain/trainer"
	"mambatrain/trainer/checkpoint"
)

// A run that was stopped before its first step can go back to that point, not only to its newest checkpoint.
func TestTrain_fromCheckpointZero(t *testing.T) {
	rows := filepath.Join(t.TempDir(), "rows.txt")
	if err := os.WriteFile(rows, []byte("To be is to do.\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	c := Default()
	c.Model, c.OutputDir, c.LoRA = "../../configs/quickstart/base", filepath.Join(t.TempDir(), "out"), DefaultLoRA()
	c.Data.Train = Sources{{Path: rows}}
	c.Train.MaxSteps, c.Train.SaveSteps = 2, 1
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Train(ctx, c, Options{Observer: func(e trainer.Event) {
		if _, ok := e.(trainer.StartEvent); ok {
			cancel()
		}
	}})
	var stopped *trainer.StopError
	if !errors.As(err, &stopped) || stopped.Step != 0 || stopped.Err != nil {
		t.Fatalf("got %v, want an interruption before step 1", err)
	}
	step, from := 0, []int{}
	for _, o := range []Options{{}, {Step: &step}} {
		o.Mode, o.Observer = checkpoint.Resume, func(e trainer.Event) {
			if r, ok := e.(trainer.ResumeEvent); ok {
				from = append(from, r.Step)
			}
		}
		if _, err := Train(t.Context(), c, o); err != nil {
			t.Fatal(err)
		}
	}
	if len(from) != 2 || from[0] != 0 || from[1] != 0 {
		t.Errorf("resumed from %v, want 0 both times", from)
	}
}

// A resumed run tells TensorBoard to discard the steps that it repeats: a session start appears in its event file.
func TestResumedCurvesDoNotOverlap(t *testing.T) {
	dir := t.TempDir()
	r := &Run{Config: Config{OutputDir: dir}}
	r.writeLogs(trainer.ResumeEvent{Step: 7})
	r.writeLogs(trainer.StartEvent{})
	r.Close()
	files, err := filepath.Glob(filepath.Join(dir, "logs", "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	raw, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	const session = "\x3a\x02\x08\x01" // field 7, a message of two bytes: field 1 is START
	if !bytes.Contains(raw, []byte(session)) {
		t.Errorf("no session starts in % x", raw)
	}
}
