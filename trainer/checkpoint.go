package trainer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"path/filepath"
	"slices"

	ag "mambatrain/autograd"
	"mambatrain/nn/weights"
	"mambatrain/trainer/checkpoint"
	"mambatrain/trainer/optim"
)

// OptimizerFile holds the optimiser's memory in a checkpoint, as safetensors; torch's own form is a pickle.
const OptimizerFile = "optimizer.safetensors"

// begin brings the run to where it starts: the beginning, or the state of the newest checkpoint. done says that nothing
// is left to do.
func (t *Trainer) begin(ctx context.Context) (done bool, err error) {
	if err := t.agree(); err != nil {
		return false, err
	}
	if done, err := t.recall(); done || err != nil {
		return done, err
	}
	t.task.Observer(Started{t.Overview(), slices.Clone(t.state.LogHistory)})
	if t.progress.EvalDue {
		if err := t.evaluate(ctx); err != nil {
			return false, err
		}
		if t.checkpointDue() {
			t.checkpoint()
		}
	}
	t.stopEarly()
	return false, nil
}

// recall goes on from what an output directory that was opened to resume holds.
func (t *Trainer) recall() (done bool, err error) {
	var f found
	var from *Resumed
	if t.task.Output != nil {
		f.Saves = true
		if f.Done, from, err = t.look(); err != nil {
			return false, err
		}
		f.Resumed = from != nil
	}
	if f, err = t.share(f); err != nil {
		return false, err
	}
	t.saves = f.Saves
	if !f.Resumed {
		return f.Done, nil
	}
	dir := ""
	if from != nil {
		dir = from.Dir
	}
	if err := t.readOptimizer(dir); err != nil {
		return false, fmt.Errorf("trainer: %s: %w", dir, err)
	}
	if from != nil {
		t.task.Observer(*from)
	}
	return f.Done, nil
}

// look finds a finished run, or reads weights and state of the newest checkpoint.
func (t *Trainer) look() (done bool, from *Resumed, err error) {
	newest, damaged := t.task.Output.Checkpoint()
	if st := t.task.Output.Finished(); st != nil {
		changed := checkpoint.Changes(st.Progress().Settings, t.progress.Settings)
		switch {
		case len(changed) == 0:
			t.adopt(st)
			return true, nil, nil
		case newest == nil:
			return false, nil, refuse(t.task.Output.Dir, "no checkpoint is left to go on from, --overwrite begins anew", changed)
		}
	}
	if newest == nil {
		return false, nil, nil
	}
	from, err = t.resume(newest, damaged)
	return false, from, err
}

// refuse lists the settings that have changed since dir was written, and says what can be done.
func refuse(dir, remedy string, changed []checkpoint.Change) error {
	err := fmt.Errorf("trainer: %s: %w; %s", dir, ErrChanged, remedy)
	for _, c := range changed {
		err = fmt.Errorf("%w\n  %v", err, c)
	}
	return err
}

// adopt makes a stored state the run's own.
func (t *Trainer) adopt(st *checkpoint.State) {
	is := *t.progress
	t.state = st.Clone()
	t.progress = t.state.Progress()
	t.progress.Settings, t.progress.Rows, t.progress.Ranks, t.progress.Kernels = is.Settings, is.Rows, is.Ranks, is.Kernels
}

// resume continues a checkpoint: settings must be the same, and weights come back bit for bit.
func (t *Trainer) resume(c *checkpoint.Checkpoint, damaged []error) (*Resumed, error) {
	was := c.State.Progress()
	changed := checkpoint.Changes(was.Settings, t.progress.Settings)
	if len(changed) > 0 && !t.task.Force {
		return nil, refuse(c.Dir, "--resume=force goes on nevertheless", changed)
	}
	if err := t.task.Load(c.Dir); err != nil {
		return nil, fmt.Errorf("trainer: %s: %w", c.Dir, err)
	}
	if got := fingerprint(t.optimizer.Params()); got != was.Weights && len(changed) == 0 {
		return nil, fmt.Errorf("trainer: %s: the weights read back are not those that were trained (fingerprint %s, want %s)", c.Dir, got, was.Weights)
	}
	resumed := &Resumed{Step: c.Step, Dir: c.Dir, Damaged: damaged, Changed: changed}
	if is := t.progress.Kernels; was.Kernels != "" && was.Kernels != is {
		resumed.Kernels = &checkpoint.Change{Key: "kernels", Was: was.Kernels, Is: is}
	}
	ahead := t.state
	t.adopt(c.State)
	t.state.MaxSteps, t.state.NumTrainEpochs = ahead.MaxSteps, ahead.NumTrainEpochs
	t.state.EvalSteps, t.state.LoggingSteps, t.state.SaveSteps = ahead.EvalSteps, ahead.LoggingSteps, ahead.SaveSteps
	return resumed, nil
}

// ErrChanged says that a run cannot go on because its settings are others than when it was saved.
var ErrChanged = errors.New("these settings have changed since it was written")

// checkpointDue says whether the state after this step is saved: every save_steps, at the end, and a best model that is to
// be loaded again.
func (t *Trainer) checkpointDue() bool {
	if !t.saves || t.progress.EvalDue {
		return false // an interrupted evaluation saves by itself
	}
	step := t.state.GlobalStep
	if t.LoadBestModelAtEnd && t.isBest(step) {
		return true
	}
	return t.SaveSteps > 0 && (step%t.SaveSteps == 0 || step == t.plan.steps || t.stop != "")
}

func (t *Trainer) isBest(step int) bool {
	return t.state.BestGlobalStep != nil && *t.state.BestGlobalStep == step
}

// checkpoint saves the run, and goes on without if that fails: a full disk may be emptied before the next one.
func (t *Trainer) checkpoint() {
	began := t.task.Now()
	dir, err := t.save()
	if err != nil {
		t.task.Observer(SaveFailed{t.state.GlobalStep, err})
		return
	}
	if dir != "" {
		t.task.Observer(Saved{t.state.GlobalStep, dir, t.task.Now().Sub(began)})
	}
}

// save writes a checkpoint and removes those beyond save_total_limit. Only rank 0 writes; the others assist.
func (t *Trainer) save() (dir string, err error) {
	if t.task.Comm.Rank() > 0 {
		return "", t.assist()
	}
	defer func() { err = errors.Join(err, t.dismiss()) }()
	o, step, before := t.task.Output, t.state.GlobalStep, t.state.BestModelCheckpoint
	if t.isBest(step) && t.checkpointDue() { // one that an interruption causes would not exist in the straight run
		dir := o.Path(step)
		t.state.BestModelCheckpoint = &dir
	}
	if dir, err = o.Write(t.state, t.fill); err != nil {
		t.state.BestModelCheckpoint = before
		return "", fmt.Errorf("trainer: checkpoint of step %d: %w", step, err)
	}
	var keep []int
	if t.LoadBestModelAtEnd && t.state.BestGlobalStep != nil {
		keep = append(keep, *t.state.BestGlobalStep)
	}
	if err := o.Prune(t.SaveTotalLimit, keep...); err != nil {
		return dir, fmt.Errorf("trainer: removing old checkpoints: %w", err)
	}
	return dir, nil
}

// fill puts into dir what a checkpoint needs in addition to the state.
func (t *Trainer) fill(dir string) error {
	if err := t.task.Save(dir); err != nil {
		return err
	}
	if err := t.writeOptimizer(filepath.Join(dir, OptimizerFile)); err != nil {
		return err
	}
	t.progress.Weights = fingerprint(t.optimizer.Params())
	return nil
}

func (t *Trainer) writeOptimizer(path string) error {
	var list []weights.Entry
	for i, x := range t.optimizer.Tensors() {
		list = append(list, weights.Entry{Name: x.Name, Shape: x.Shape, DType: weights.F32, Values: func() (any, error) { return t.collect(i, x) }})
	}
	list = append(list, t.carried.sources()...)
	return weights.Save(path, list, map[string]string{"optim": t.Optim})
}

// readOptimizer reads what the optimiser remembered, on rank 0, and hands it to the others.
func (t *Trainer) readOptimizer(dir string) error {
	t.optimizer.SetSteps(t.progress.Updates)
	if t.task.Comm.Rank() > 0 {
		return t.scatter(func(optim.Tensor, []float32) error { return nil })
	}
	f, err := weights.Open(filepath.Join(dir, OptimizerFile))
	if err != nil {
		return err
	}
	defer f.Close()
	err = t.scatter(func(m optim.Tensor, data []float32) error {
		x, ok := f.Tensor(m.Name)
		if !ok {
			return fmt.Errorf("%s: %s is missing", OptimizerFile, m.Name)
		}
		if !slices.Equal(x.Shape, m.Shape) {
			return fmt.Errorf("%s: %s has shape %v, want %v", OptimizerFile, m.Name, x.Shape, m.Shape)
		}
		return x.ReadFloat32s(data)
	})
	if err != nil {
		return err
	}
	t.carried, err = readStates(f)
	return err
}

// fingerprint is a checksum of names and values. It catches a Load that does not bring back what Save was given; against
// damaged files there is the manifest.
func fingerprint(params []*ag.Param) string {
	h, buf := crc32.New(castagnoli), make([]byte, 0, 1<<14)
	for _, p := range params {
		h.Write([]byte(p.Name))
		for w := range slices.Chunk(p.Float32s(), 1<<12) {
			buf = buf[:0]
			for _, x := range w {
				buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(x))
			}
			h.Write(buf)
		}
	}
	return fmt.Sprintf("%08x", h.Sum32())
}

// interrupt saves the run where it stands.
func (t *Trainer) interrupt() error {
	i := &Interrupted{Step: t.state.GlobalStep}
	if t.saves {
		i.Checkpoint, i.Err = t.save()
		if i.Err == nil && i.Checkpoint != "" {
			t.task.Observer(Saved{Step: i.Step, Dir: i.Checkpoint})
		}
	}
	return i
}

// finish writes the result: the weights, of the best step if that is asked for, and last of all the state, whose presence
// says that the result is whole.
func (t *Trainer) finish() (Result, error) {
	if err := t.loadBest(); err != nil {
		return Result{}, err
	}
	t.summarise()
	if err := t.writeResult(); err != nil {
		return Result{}, err
	}
	r := t.result(false)
	t.task.Observer(Finished{r})
	return r, nil
}

// loadBest brings back the weights of the best evaluation. If their checkpoint cannot be used, the result of a long run
// is not given up: it holds the last weights, and its state names no best checkpoint.
func (t *Trainer) loadBest() error {
	o := t.task.Output
	if o == nil || !t.LoadBestModelAtEnd || t.state.BestGlobalStep == nil || t.isBest(t.state.GlobalStep) {
		return nil
	}
	dir := o.Path(*t.state.BestGlobalStep)
	err := o.Verify(*t.state.BestGlobalStep)
	if err == nil {
		if err = t.task.Load(dir); err == nil {
			return nil
		}
		err = fmt.Errorf("trainer: the best model: %s: %w", dir, err)
		if again := t.loadLast(); again != nil { // the weights may be half the best ones and half the last
			return errors.Join(err, again)
		}
	}
	t.state.BestModelCheckpoint = nil
	t.task.Observer(BestLost{*t.state.BestGlobalStep, err})
	return nil
}

// loadLast brings back the weights of the last step from its checkpoint.
func (t *Trainer) loadLast() error {
	step := t.state.GlobalStep
	dir := t.task.Output.Path(step)
	if !t.task.Output.Has(step) {
		return fmt.Errorf("trainer: the last weights: there is no %s", dir)
	}
	if err := t.task.Load(dir); err != nil {
		return fmt.Errorf("trainer: the last weights: %s: %w", dir, err)
	}
	return nil
}

// summarise adds the last row of the history.
func (t *Trainer) summarise() {
	p := t.progress
	row := t.row(
		"train_loss", mean(p.RunLoss, p.RunTokens),
		"train_runtime", p.RunSeconds,
		"train_steps_per_second", perSecond(t.state.GlobalStep, p.RunSeconds),
		"train_tokens_per_second", perSecond(p.RunTokens, p.RunSeconds),
		"num_tokens", float64(p.NumTokens),
	)
	t.state.LogHistory = append(t.state.LogHistory, row)
	t.task.Observer(Logged{row})
}

func (t *Trainer) writeResult() error {
	o := t.task.Output
	if o == nil || t.task.Comm.Rank() != 0 {
		return nil
	}
	t.progress.Weights = fingerprint(t.optimizer.Params())
	err := o.Publish(t.state, func(dir string) error {
		if err := t.task.Save(dir); err != nil {
			return err
		}
		if t.task.Publish == nil {
			return nil
		}
		return t.task.Publish(dir, t.state)
	})
	if err != nil {
		return fmt.Errorf("trainer: result: %w", err)
	}
	return nil
}
