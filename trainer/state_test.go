package trainer

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"mambatrain/trainer/checkpoint"
)

// TestStateHasTransformersKeys checks the keys of the file: transformers builds its TrainerState from them and accepts
// no others.
func TestStateHasTransformersKeys(t *testing.T) {
	dir := t.TempDir()
	newRun().must(t, dir, checkpoint.Fresh)
	b, err := os.ReadFile(filepath.Join(dir, checkpoint.StateFile))
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"best_global_step", "best_metric", "best_model_checkpoint", "epoch", "eval_steps", "global_step", "is_hyper_param_search",
		"is_local_process_zero", "is_world_process_zero", "log_history", "logging_steps", "max_steps", "num_input_tokens_seen",
		"num_train_epochs", "save_steps", "stateful_callbacks", "total_flos", "train_batch_size", "trial_name", "trial_params",
	}
	if got := slices.Sorted(maps.Keys(m)); !slices.Equal(got, want) {
		t.Errorf("keys %v, want %v", got, want)
	}
	if s, err := checkpoint.ParseState(b); err != nil || s.GlobalStep != 14 || s.Epoch != 3 || len(s.LogHistory) != len(m["log_history"].([]any)) {
		t.Errorf("read back: %+v, %v", s, err)
	}
}

func TestMeasureStep_changesNothing(t *testing.T) {
	straight := t.TempDir()
	newRun().must(t, straight, checkpoint.Fresh)
	dir := t.TempDir()
	out, err := checkpoint.Open(unsyncedDisk{}, dir, checkpoint.Fresh)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	r, ticks := newRun(), 0
	r.task.Storage.Output = out
	r.task.Now = func() time.Time { ticks++; return time.Unix(int64(ticks), 0) }
	tr, err := New(r.Config, r.task)
	if err != nil {
		t.Fatal(err)
	}
	rows, took, err := tr.MeasureStep(context.Background())
	if err != nil || rows == 0 || took != time.Second {
		t.Errorf("%d rows took %v, %v", rows, took, err)
	}
	tr.task.Now = frozenClock
	if _, err := tr.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	sameResults(t, "after a measurement", results(t, dir), results(t, straight))
}

func TestMissingBestModelDoesNotEndRun(t *testing.T) {
	r := newRun()
	r.LRSchedulerType, r.LearningRate, r.WarmupSteps = "constant", 1.5, 0
	r.EvalSteps, r.SaveSteps, r.LoadBestModelAtEnd = 1, 0, true
	dir := t.TempDir()
	r.onEvent = func(e Event) {
		if s, ok := e.(SaveEvent); ok {
			os.Remove(filepath.Join(s.Dir, "model.safetensors"))
		}
	}
	res := r.must(t, dir, checkpoint.Fresh)
	lost := slices.IndexFunc(r.events, func(e Event) bool { _, ok := e.(MissingBestEvent); return ok })
	if lost < 0 || res.Steps != 14 {
		t.Errorf("event %d, steps %d", lost, res.Steps)
	}
}
