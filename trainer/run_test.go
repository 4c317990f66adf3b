package trainer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"gorgonia.org/tensor"

	ag "mambatrain/autograd"
	"mambatrain/trainer/checkpoint"
)

// run describes a small training run for tests.
type run struct {
	Config
	model   *toy
	task    Task
	events  []Event
	onEvent func(Event)
	back    int // step of the checkpoint to go back to; 0 = the newest
}

// newRun returns a run of 3 epochs of 5, 4, and 5 steps with all randomness enabled.
func newRun() *run {
	r := &run{Config: Default(), model: newToy(7, 0.3)}
	r.GradientAccumulationSteps, r.LearningRate, r.LRSchedulerType = 2, 0.05, "cosine"
	r.WarmupSteps, r.WeightDecay, r.LoggingSteps, r.SaveSteps, r.SaveTotalLimit = 2, 0.1, 3, 4, 0
	src := newDocuments(19, 7, 2)
	src.packing = true
	r.task = Task{
		Params: r.model.params(), Program: r.model, Rows: 12, Train: src, Storage: Storage{Save: r.model.save, Load: r.model.load}, Seed: 11, Now: frozenClock,
		Eval: []EvalSet{{Name: "short", Source: newDocuments(5, 7, 2)}, {Name: "long", Source: newDocuments(9, 7, 3)}},
	}
	r.MetricForBestModel = "eval_short_loss"
	r.task.Observer = func(e Event) {
		r.events = append(r.events, e)
		if r.onEvent != nil {
			r.onEvent(e)
		}
	}
	return r
}

// unsyncedDisk is the disk without syncing.
type unsyncedDisk struct{ checkpoint.Disk }

func (unsyncedDisk) Sync(string) error { return nil }

// start runs in dir; "" means no output.
func (r *run) start(ctx context.Context, dir string, mode checkpoint.Mode) (Result, error) {
	if dir != "" {
		out, err := checkpoint.Open(unsyncedDisk{}, dir, mode)
		if err != nil {
			return Result{}, err
		}
		defer out.Close()
		r.task.Storage.Output = out
	}
	t, err := New(r.Config, r.task)
	if err != nil {
		return Result{}, err
	}
	return t.Run(ctx)
}

// must runs to the end and fails the test on error.
func (r *run) must(t *testing.T, dir string, mode checkpoint.Mode) Result {
	t.Helper()
	res, err := r.start(context.Background(), dir, mode)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// stopAfter cancels a run after n events that match.
func (r *run) stopAfter(t *testing.T, dir string, mode checkpoint.Mode, match func(Event) bool, n int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r.onEvent = func(e Event) {
		if match(e) {
			if n--; n == 0 {
				cancel()
			}
		}
	}
	_, err := r.start(ctx, dir, mode)
	var i *StopError
	if !errors.As(err, &i) || i.Err != nil || i.Checkpoint == "" {
		t.Fatalf("want an interruption with a checkpoint, got %v", err)
	}
}

func isStep(e Event) bool { _, ok := e.(StepEvent); return ok }
func isEval(e Event) bool { _, ok := e.(EvalProgressEvent); return ok }

// results returns the files of a finished run that must not depend on its interruptions.
func results(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, name := range []string{"model.safetensors", checkpoint.StateFile} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		// The best checkpoint is named by its path, or not at all if it could not be written.
		files[name] = regexp.MustCompile(`"best_model_checkpoint": .*`).ReplaceAll(b, nil)
	}
	return files
}

func sameResults(t *testing.T, what string, got, want map[string][]byte) {
	t.Helper()
	for name := range want {
		if !bytes.Equal(got[name], want[name]) {
			t.Errorf("%s: %s differs from the uninterrupted run's", what, name)
			if name == checkpoint.StateFile {
				differences(t, got[name], want[name])
			}
		}
	}
}

// leftovers returns the names of temporary files and directories.
func leftovers(t *testing.T, dir string) (names []string) {
	t.Helper()
	for _, pattern := range []string{".tmp-*", ".mamba-train-*"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	return names
}

func differences(t *testing.T, got, want []byte) {
	g, w := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
	for i := range w {
		if i >= len(g) || !bytes.Equal(g[i], w[i]) {
			t.Errorf("line %d: got %s, want %s", i+1, g[min(i, len(g)-1)], w[i])
			return
		}
	}
}

func TestStopAndResumeMatchesUninterrupted(t *testing.T) {
	for _, name := range []string{"adamw", "sgd", "lion", "adafactor"} {
		straight := t.TempDir()
		r := newRun()
		r.Optim = name
		steps := r.must(t, straight, checkpoint.Fresh).Steps
		want := results(t, straight)
		for stop := 1; stop <= steps; stop++ {
			dir := t.TempDir()
			first := newRun()
			first.Optim = name
			first.stopAfter(t, dir, checkpoint.Fresh, isStep, stop)
			second := newRun()
			second.Optim = name
			second.must(t, dir, checkpoint.Resume)
			sameResults(t, fmt.Sprintf("%s: stopped after step %d", name, stop), results(t, dir), want)
		}
	}
}

func TestInterruptedEvaluationIsRepeated(t *testing.T) {
	straight := t.TempDir()
	newRun().must(t, straight, checkpoint.Fresh)
	want := results(t, straight)
	for stop := 1; stop <= 12; stop++ {
		dir := t.TempDir()
		newRun().stopAfter(t, dir, checkpoint.Fresh, isEval, stop)
		newRun().must(t, dir, checkpoint.Resume)
		at := fmt.Sprintf("stopped in micro-batch %d of evaluations", stop)
		sameResults(t, at, results(t, dir), want)
		for _, step := range []string{"checkpoint-4", "checkpoint-12", "checkpoint-14"} {
			sameResults(t, at+", "+step, results(t, filepath.Join(dir, step)), results(t, filepath.Join(straight, step)))
		}
	}
}

func TestMicroBatchesAddUpToOneBatch(t *testing.T) {
	const tolerance = 1e-5 // float32 sums in a different order, over 16 steps
	var losses [][]float64
	var weights [][]float32
	for _, split := range []struct{ batch, accumulate, rows int }{{6, 1, 100}, {3, 2, 100}, {2, 3, 100}, {1, 6, 100}, {6, 1, 11}} {
		r := newRun()
		r.task.Train, r.task.Rows, r.model.dropout = newDocuments(24, 7, split.batch), split.rows, 0
		r.GradientAccumulationSteps, r.LoggingSteps, r.NumTrainEpochs = split.accumulate, 1, 4
		res := r.must(t, "", checkpoint.Fresh)
		var curve []float64
		for _, row := range res.State.LogHistory {
			if l, ok := row["loss"]; ok {
				curve = append(curve, l)
			}
		}
		losses, weights = append(losses, curve), append(weights, r.model.table.Float32s())
	}
	for i := 1; i < len(losses); i++ {
		near(t, "weights", weights[i], weights[0], tolerance)
		if len(losses[i]) != 16 {
			t.Fatalf("%d steps, want 16", len(losses[i]))
		}
		for s, l := range losses[i] {
			if d := l - losses[0][s]; d > tolerance || d < -tolerance {
				t.Errorf("split %d, step %d: loss %v, want %v", i, s, l, losses[0][s])
			}
		}
	}
}

func TestClipping(t *testing.T) {
	for _, c := range []struct{ limit, norm, want float64 }{{1, 0.5, 1}, {1, 4, 1 / (4 + 1e-6)}, {0, 4, 1}, {2, 1e-9, 1}} {
		tr := &Trainer{config: Config{MaxGradNorm: c.limit}}
		if got := tr.clip(c.norm); got != c.want {
			t.Errorf("norm %v, limit %v: factor %v, want %v", c.norm, c.limit, got, c.want)
		}
	}
}

func TestHistoryRows(t *testing.T) {
	r := newRun()
	res := r.must(t, t.TempDir(), checkpoint.Fresh)
	if res.Steps != 14 || res.State.MaxSteps != 14 || res.State.NumTrainEpochs != 3 {
		t.Fatalf("%d steps of %d in %d epochs, want 14 in 3", res.Steps, res.State.MaxSteps, res.State.NumTrainEpochs)
	}
	var trainAt, evalAt []float64
	for i, row := range res.State.LogHistory {
		switch {
		case row["loss"] != 0:
			trainAt = append(trainAt, row["step"])
			for _, k := range []string{"step", "epoch", "loss", "grad_norm", "learning_rate", "num_tokens", "tokens_per_second"} {
				if _, ok := row[k]; !ok {
					t.Errorf("row %v has no %s", row, k)
				}
			}
		case row["eval_short_loss"] != 0:
			evalAt = append(evalAt, row["step"])
		default:
			if _, ok := row["train_loss"]; !ok || i != len(res.State.LogHistory)-1 {
				t.Errorf("row %d is of an unknown kind: %v", i, row)
			}
		}
	}
	if want := []float64{3, 6, 9, 12}; !slices.Equal(trainAt, want) {
		t.Errorf("training rows at %v, want %v", trainAt, want)
	}
	if want := []float64{5, 9, 14}; !slices.Equal(evalAt, want) {
		t.Errorf("evaluation rows at %v, want %v", evalAt, want)
	}
	if res.TrainLoss <= 0 || res.Eval["eval_long_loss"] <= 0 {
		t.Errorf("result %+v", res)
	}
}

func TestRunsThatCannotStart(t *testing.T) {
	for what, c := range map[string]struct {
		change func(*run)
		want   string
	}{
		"no data for the best model":           {func(r *run) { r.task.Eval, r.LoadBestModelAtEnd = nil, true }, "train.load_best_model_at_end: requires evaluation data"},
		"an unknown metric for the best model": {func(r *run) { r.MetricForBestModel, r.LoadBestModelAtEnd = "bleu", true }, "train.metric_for_best_model: must be one of eval_short_loss, "},
		"an unknown metric for early stopping": {func(r *run) { r.MetricForBestModel, r.EarlyStoppingPatience = "bleu", 2 }, "train.metric_for_best_model: must be one of eval_short_loss, "},
		"nothing trainable":                    {func(r *run) { r.model.table.Freeze(); r.model.bias.Freeze() }, "no parameter is trainable"},
		"an empty epoch":                       {func(r *run) { r.task.Train = newDocuments(0, 7, 2) }, "epoch 0 has no micro-batches"},
		"a long document":                      {func(r *run) { r.task.Rows = 5 }, "max_tokens allows only 5 at once"},
	} {
		r := newRun()
		c.change(r)
		_, err := r.start(context.Background(), t.TempDir(), checkpoint.Fresh)
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte(c.want)) {
			t.Errorf("%s: got %v, want %q", what, err, c.want)
		}
	}
}

func TestChangedSettingsAreRefused(t *testing.T) {
	dir := t.TempDir()
	r := newRun()
	r.task.Identity = map[string]string{"data.shuffle": "true"}
	r.stopAfter(t, dir, checkpoint.Fresh, isStep, 4)

	changed := func() *run {
		r := newRun()
		r.task.Identity = map[string]string{"data.shuffle": "false"}
		r.LearningRate, r.LoggingSteps = 0.01, 1 // logging does not affect the run
		return r
	}
	_, err := changed().start(context.Background(), dir, checkpoint.Resume)
	if !errors.Is(err, ErrChanged) {
		t.Fatalf("got %v, want ErrChanged", err)
	}
	for _, want := range []string{"data.shuffle: was true, is now false", "train.learning_rate: was 0.05, is now 0.01"} {
		if !bytes.Contains([]byte(err.Error()), []byte(want)) {
			t.Errorf("want %q in %v", want, err)
		}
	}
	if n := bytes.Count([]byte(err.Error()), []byte("\n")); n != 2 {
		t.Errorf("%d settings listed, want 2: %v", n, err)
	}
	forced := changed()
	forced.task.Force, forced.PerDeviceTrainBatchSize = true, 4
	if res := forced.must(t, dir, checkpoint.Resume); res.Steps != 14 || res.State.TrainBatchSize != 4 {
		t.Errorf("forced run ended at step %d with a batch size of %d", res.Steps, res.State.TrainBatchSize)
	}
}

// A run does not continue with other frozen weights, with data in another order, or with another set that decides which
// weights are the best. Earlier versions did not record these, and recorded lists of layers in any order.
func TestChangedInputsAreRefused(t *testing.T) {
	for _, c := range []struct{ key, was, is, want string }{
		{"base", "x", "x", ""},
		{"base", "x", "y", "base: was x, is now y"},
		{"base", "", "y", ""},
		{"data.eval", "x", "x", ""},
		{"data.eval", "x", "y", "data.eval: was x, is now y"},
		{"data.eval", "", "y", ""},
		{"data.max_length", "", "128", ""},
		{"data.max_length", "128", "256", "data.max_length: was 128, is now 256"},
		{"data.train.weight", "", "2", ""},
		{"data.train.weight", "1", "2", "data.train.weight: was 1, is now 2"},
		{"lora.layers_to_transform", "[1 0]", "[0 1]", ""},
		{"lora.layers_to_transform", "[1 0]", "[0 2]", "lora.layers_to_transform: was [1 0], is now [0 2]"},
		{"frozen weights", "x", "y", "frozen weights: was "},
	} {
		with := func(value string) *run {
			r := newRun()
			r.LoadBestModelAtEnd = true
			switch {
			case c.key == "data.eval":
				r.task.Eval[0].Fingerprint, r.task.Eval[1].Fingerprint = value, value+" of the set that does not decide"
			case c.key == "frozen weights":
				frozen := ag.Zeros("embeddings.weight", 1)
				frozen.Float32s()[0] = float32(value[0])
				r.task.Params, r.Trainable = append(r.task.Params, frozen), []string{"table", "bias"}
			case value != "":
				r.task.Identity = map[string]string{c.key: value}
			}
			return r
		}
		dir := t.TempDir()
		with(c.was).stopAfter(t, dir, checkpoint.Fresh, isStep, 4)
		_, err := with(c.is).start(context.Background(), dir, checkpoint.Resume)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s %q, then %q: %v", c.key, c.was, c.is, err)
		case c.want != "" && (!errors.Is(err, ErrChanged) || !bytes.Contains([]byte(err.Error()), []byte(c.want))):
			t.Errorf("%s %q, then %q: got %v, want %q", c.key, c.was, c.is, err, c.want)
		}
	}
}

// The data of a set that does not decide may change.
func TestChangedEvaluationData_withoutEffect(t *testing.T) {
	dir := t.TempDir()
	for i, mode := range []checkpoint.Mode{checkpoint.Fresh, checkpoint.Resume} {
		r := newRun()
		r.LoadBestModelAtEnd = true
		r.task.Eval[0].Fingerprint, r.task.Eval[1].Fingerprint = "same", fmt.Sprint(i)
		if i == 0 {
			r.stopAfter(t, dir, mode, isStep, 4)
			continue
		}
		r.must(t, dir, mode)
	}
}

func TestFinishedRunIsUnchanged(t *testing.T) {
	dir := t.TempDir()
	newRun().must(t, dir, checkpoint.Fresh)
	want := results(t, dir)
	again := newRun()
	if res := again.must(t, dir, checkpoint.Resume); !res.AlreadyFinished || res.Steps != 14 {
		t.Errorf("got %+v", res)
	}
	if again.model.runs != 0 {
		t.Errorf("%d micro-batches were computed", again.model.runs)
	}
	sameResults(t, "second run", results(t, dir), want)
}

// TestFinishedRunWithoutCheckpointsIsNotRestarted changes a setting of a run of which only the result is left.
func TestFinishedRunWithoutCheckpointsIsNotRestarted(t *testing.T) {
	dir := t.TempDir()
	r := newRun()
	r.SaveSteps = 0
	r.must(t, dir, checkpoint.Fresh)
	want := results(t, dir)
	for _, force := range []bool{false, true} {
		r := newRun()
		r.SaveSteps, r.LearningRate, r.task.Force = 0, 0.01, force
		_, err := r.start(context.Background(), dir, checkpoint.Resume)
		if !errors.Is(err, ErrChanged) || !bytes.Contains([]byte(err.Error()), []byte("no checkpoint is left to resume from, --overwrite starts over\n  train.learning_rate: was 0.05, is now 0.01")) {
			t.Errorf("force %v: got %v", force, err)
		}
	}
	sameResults(t, "refused", results(t, dir), want)
}

// TestResultIsFromLastEvaluation makes the model diverge after its first evaluation.
func TestResultIsFromLastEvaluation(t *testing.T) {
	r := newRun()
	r.onEvent = func(e Event) {
		if s, ok := e.(StepEvent); ok && s.Step == s.Steps {
			r.model.table.Float32s()[0] = float32(math.NaN())
		}
	}
	if res := r.must(t, "", checkpoint.Fresh); len(res.Eval) == 0 || res.Eval["eval_long_loss"] != 0 {
		t.Errorf("got %v, want no loss but the other metrics", res.Eval)
	}
}

// TestEvaluateMatchesRun reevaluates the trained model without a Trainer.
func TestEvaluateMatchesRun(t *testing.T) {
	r := newRun()
	want := r.must(t, "", checkpoint.Fresh).Eval
	for _, set := range r.task.Eval {
		calls := 0
		s, err := Evaluate(t.Context(), r.task.Program, set.Source, r.task.Rows, func(int, int) { calls++ })
		if err != nil {
			t.Fatal(err)
		}
		n, _ := set.Source.Batches(0)
		if s.Loss != want[set.Key("loss")] || s.Accuracy != want[set.Key("accuracy")] || s.Tokens == 0 || calls != n {
			t.Errorf("%s: %+v after %d calls, the run had %v", set.Name, s, calls, want)
		}
	}
}

func TestEarlyStoppingAndBestModel(t *testing.T) {
	r := newOvershoot()
	r.SaveTotalLimit = 1
	var at []float32
	r.onEvent = func(e Event) {
		if ev, ok := e.(EvalEvent); ok && ev.Best {
			at = slices.Clone(r.model.table.Float32s())
		}
	}
	dir := t.TempDir()
	res := r.must(t, dir, checkpoint.Fresh)
	if res.StopReason == "" || res.Steps != *res.State.BestGlobalStep+3 {
		t.Fatalf("stopped at step %d for %q, best step %d", res.Steps, res.StopReason, *res.State.BestGlobalStep)
	}
	if !slices.Equal(at, r.model.table.Float32s()) {
		t.Error("the result does not contain the best weights")
	}
	if _, err := os.Stat(*res.State.BestModelCheckpoint); err != nil {
		t.Error(err)
	}
	again := newOvershoot().must(t, dir, checkpoint.Resume)
	for _, r := range []Result{res, again} {
		if r.WeightsStep != *res.State.BestGlobalStep || r.Eval["eval_short_loss"] != float64(*res.State.BestMetric) {
			t.Errorf("the result describes step %d with %v, want step %d with %v", r.WeightsStep, r.Eval, *res.State.BestGlobalStep, *res.State.BestMetric)
		}
	}
}

// If the best model's checkpoint was removed because of save_total_limit, the state does not name it.
func TestRemovedBestCheckpointIsNotNamed(t *testing.T) {
	r := newOvershoot()
	r.SaveTotalLimit, r.LoadBestModelAtEnd = 1, false
	res := r.must(t, t.TempDir(), checkpoint.Fresh)
	if res.State.BestGlobalStep == nil || *res.State.BestGlobalStep == res.Steps || res.State.BestModelCheckpoint != nil {
		t.Errorf("after %d steps the best is %v, saved as %v", res.Steps, res.State.BestGlobalStep, res.State.BestModelCheckpoint)
	}
}

// newOvershoot returns a run whose best evaluation is well before its last.
func newOvershoot() *run {
	r := newRun()
	r.LRSchedulerType, r.LearningRate, r.WarmupSteps = "constant", 1.5, 0
	r.EvalSteps, r.SaveSteps, r.EarlyStoppingPatience, r.LoadBestModelAtEnd = 1, 1, 3, true
	return r
}

// TestMissingBestModelLeavesLast damages the best checkpoint or makes reading it fail halfway. The result must contain
// the last weights, report that, and not name the checkpoint as its own.
func TestMissingBestModelLeavesLast(t *testing.T) {
	for _, what := range []string{"damaged", "unreadable"} {
		dir := t.TempDir()
		r, unreadable := newOvershoot(), ""
		r.task.Storage.Load = func(from string) error {
			if from != unreadable {
				return r.model.load(from)
			}
			clear(r.model.table.Float32s()[:9])
			return errors.New("read error")
		}
		var last []float32
		var lost []Event
		best := 0
		r.onEvent = func(e Event) {
			switch e := e.(type) {
			case EvalEvent:
				if e.Best {
					best = int(e.Row["step"])
				}
			case EarlyStopEvent:
				last = slices.Clone(r.model.table.Float32s())
				if unreadable = r.task.Storage.Output.Path(best); what == "damaged" {
					os.Remove(filepath.Join(unreadable, "model.safetensors"))
				}
			case MissingBestEvent:
				lost = append(lost, e)
			}
		}
		res, err := r.start(context.Background(), dir, checkpoint.Fresh)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if len(lost) != 1 || lost[0].(MissingBestEvent).Step != best {
			t.Errorf("%s: events %v, want one of step %d", what, lost, best)
		}
		if !slices.Equal(r.model.table.Float32s(), last) {
			t.Errorf("%s: the result does not contain the last weights", what)
		}
		if c := res.State.BestModelCheckpoint; c != nil {
			t.Errorf("%s: the state names %s", what, *c)
		}
		if row := res.State.Evaluation(); res.WeightsStep != res.Steps || row["step"] != float64(res.Steps) {
			t.Errorf("%s: the result describes step %d, with an evaluation of %v, want %d", what, res.WeightsStep, row["step"], res.Steps)
		}
	}
}

// TestMetricOfSeveralSets trains with the default metric, which names no set, and with a metric that is not used.
func TestMetricOfSeveralSets(t *testing.T) {
	for _, loadBest := range []bool{false, true} {
		r := newRun()
		r.MetricForBestModel, r.LoadBestModelAtEnd = Default().MetricForBestModel, loadBest
		best := math.Inf(1)
		r.onEvent = func(e Event) {
			if ev, ok := e.(EvalEvent); ok {
				best = min(best, ev.Row["eval_short_loss"])
			}
		}
		if res := r.must(t, t.TempDir(), checkpoint.Fresh); float64(*res.State.BestMetric) != best {
			t.Errorf("the best metric is %v, the lowest loss on the first set %v", *res.State.BestMetric, best)
		}
	}
	r := newRun()
	r.MetricForBestModel = "bleu"
	if res := r.must(t, t.TempDir(), checkpoint.Fresh); res.State.BestMetric != nil {
		t.Errorf("a metric that does not exist is best at %v", *res.State.BestMetric)
	}
}

func TestOldCheckpointsAreRemoved(t *testing.T) {
	dir := t.TempDir()
	r := newRun()
	r.SaveSteps, r.SaveTotalLimit = 2, 2
	r.must(t, dir, checkpoint.Fresh)
	found, _ := filepath.Glob(filepath.Join(dir, "*checkpoint-*"))
	if want := []string{filepath.Join(dir, "checkpoint-12"), filepath.Join(dir, "checkpoint-14")}; !slices.Equal(found, want) {
		t.Errorf("found %v, want %v", found, want)
	}
	if left := leftovers(t, dir); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestOutputDirectoryRules(t *testing.T) {
	dir := t.TempDir()
	newRun().must(t, dir, checkpoint.Fresh)
	if _, err := newRun().start(context.Background(), dir, checkpoint.Fresh); !errors.Is(err, checkpoint.ErrNotEmpty) {
		t.Errorf("a second fresh run: got %v, want checkpoint.ErrNotEmpty", err)
	}
	os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("mine"), 0o666)
	os.Mkdir(filepath.Join(dir, checkpoint.LogsDir), 0o777)
	os.WriteFile(filepath.Join(dir, checkpoint.LogsDir, checkpoint.EventsPrefix+"1"), nil, 0o666)
	os.WriteFile(filepath.Join(dir, checkpoint.JournalFile), []byte("{}\n"), 0o666)
	r := newRun()
	r.SaveSteps = 0
	r.must(t, dir, checkpoint.Overwrite)
	if _, err := os.Stat(filepath.Join(dir, checkpoint.JournalFile)); err == nil {
		t.Error("the journal of the earlier run remains")
	}
	if found, _ := filepath.Glob(filepath.Join(dir, "checkpoint-*")); len(found) > 0 {
		t.Errorf("checkpoints of the earlier run remain: %v", found)
	}
	if found, _ := filepath.Glob(filepath.Join(dir, checkpoint.LogsDir, "*")); len(found) > 0 {
		t.Errorf("events of the earlier run remain: %v", found)
	}
	if _, err := os.Stat(filepath.Join(dir, "notes.txt")); err != nil {
		t.Errorf("a file of the user is gone: %v", err)
	}
}

func TestNonFinite(t *testing.T) {
	inf := float32(math.Inf(1))
	poisoned := func(runs ...int) *run {
		r := newRun()
		r.model.poison = func(n int) float32 {
			if slices.Contains(runs, n) {
				return inf
			}
			return 0
		}
		return r
	}
	r := poisoned(6, 9, 10) // run 6 is in step 2; runs 9 and 10 may be its rerun
	r.task.Rows = 1000
	_, err := r.start(context.Background(), t.TempDir(), checkpoint.Fresh)
	var bad *NonFiniteError
	if !errors.As(err, &bad) || bad.Step != 3 || bad.Tensor != "the gradient of table.weight" {
		t.Fatalf("got %v", err)
	}

	r = poisoned(6)
	r.task.Rows, r.OnNonfinite = 1000, "skip"
	res := r.must(t, t.TempDir(), checkpoint.Fresh)
	if res.Steps != 14 || res.State.Progress().SkipTotal != 1 || res.State.Progress().Updates != 13 {
		t.Errorf("steps %d, skipped %d, updates %d", res.Steps, res.State.Progress().SkipTotal, res.State.Progress().Updates)
	}
	if !kernelFinite(r.model.table) {
		t.Error("the fault changed the weights")
	}

	r = newRun()
	r.model.poison, r.OnNonfinite, r.NumTrainEpochs = func(int) float32 { return inf }, "skip", 9
	_, err = r.start(context.Background(), t.TempDir(), checkpoint.Fresh)
	if !errors.As(err, &bad) || bad.Step != 11 || !bytes.Contains([]byte(err.Error()), []byte("10 steps in a row")) {
		t.Errorf("got %v", err)
	}
}

func kernelFinite(p *ag.Param) bool {
	for _, x := range p.Float32s() {
		if x-x != 0 {
			return false
		}
	}
	return true
}

func TestParametersWithoutGradientAreNamed(t *testing.T) {
	r := newRun()
	pair := func(name string) *ag.Param { return filled(name, []float32{0}, 1) }
	dead := []*ag.Param{pair("x.lora_A.weight"), pair("x.lora_B.weight"), pair("D")}
	half := pair("y.lora_A.weight")
	other := pair("y.lora_B.weight")
	r.task.Params = append(r.task.Params, append(dead, half, other)...)
	r.model.poison = func(int) float32 { other.GradFloat32s()[0] = 1; return 0 }
	r.must(t, "", checkpoint.Fresh)
	var got []string
	for _, e := range r.events {
		if n, ok := e.(NoGradientEvent); ok {
			got = append(got, n.Names...)
		}
	}
	if want := []string{"x.lora_A.weight", "x.lora_B.weight", "D"}; !slices.Equal(got, want) {
		t.Errorf("named %v, want %v", got, want)
	}
}

// lostRanks is a communicator whose other ranks are lost.
type lostRanks struct{ SingleProcess }

var errLostRank = errors.New("rank 1 is gone")

func (lostRanks) AllReduceMax([]float64) error { return errLostRank }

func TestRunWithLostRankIsNotFinished(t *testing.T) {
	r := newRun()
	r.task.Ranks.Comm = lostRanks{}
	dir := t.TempDir()
	if _, err := r.start(context.Background(), dir, checkpoint.Fresh); !errors.Is(err, errLostRank) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, checkpoint.StateFile)); err == nil {
		t.Error("a run without steps is reported as finished")
	}
}

// filled returns a trainable parameter.
func filled(name string, v []float32, shape ...int) *ag.Param {
	p := ag.NewParam(name, tensor.New(tensor.WithShape(shape...), tensor.WithBacking(slices.Clone(v))))
	if err := p.Train(); err != nil {
		panic(err)
	}
	return p
}

// near compares slices with a tolerance relative to the largest element of want.
func near(t *testing.T, what string, got, want []float32, tolerance float64) {
	t.Helper()
	largest := 0.0
	for _, w := range want {
		largest = max(largest, math.Abs(float64(w)))
	}
	for i := range want {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= tolerance*largest) {
			t.Fatalf("%s: element %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

func TestNew_refused(t *testing.T) {
	for what, spoil := range map[string]func(*Task){
		"no program":         func(k *Task) { k.Program = nil },
		"no data":            func(k *Task) { k.Train = nil },
		"an empty set":       func(k *Task) { k.Eval = []EvalSet{{}} },
		"sets with one name": func(k *Task) { k.Eval = []EvalSet{{Name: "a", Source: k.Train}, {Name: "a", Source: k.Train}} },
		"a negative ratio":   func(k *Task) { k.LoRAPlusRatio = -1 },
	} {
		r := newRun()
		spoil(&r.task)
		if _, err := New(r.Config, r.task); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}
