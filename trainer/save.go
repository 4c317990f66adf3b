package trainer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// checkpointDue reports whether to save after this step: every save_steps, at the end, and for a best model that will
// be loaded at the end.
func (t *Trainer) checkpointDue() bool {
	if !t.saves || t.progress.EvalDue {
		return false // after an interrupted evaluation, interrupt saves
	}
	step := t.state.GlobalStep
	if t.config.LoadBestModelAtEnd && t.isBest(step) {
		return true
	}
	return t.config.SaveSteps > 0 && (step%t.config.SaveSteps == 0 || step == t.plan.steps || t.stopReason != "")
}

func (t *Trainer) isBest(step int) bool {
	return t.state.BestGlobalStep != nil && *t.state.BestGlobalStep == step
}

// checkpoint saves the run. A failure is reported but does not stop the run: a full disk may have space again by the
// next checkpoint.
func (t *Trainer) checkpoint() {
	began := t.task.Now()
	dir, err := t.save()
	if err != nil {
		t.task.Observer(SaveFailureEvent{t.state.GlobalStep, err})
		return
	}
	if dir != "" {
		t.task.Observer(SaveEvent{t.state.GlobalStep, dir, t.task.Now().Sub(began)})
	}
}

// save writes a checkpoint and removes those beyond save_total_limit. Only rank 0 writes; the others send it their
// parts of the optimizer state and wait at a barrier, because after SIGTERM a reduction must not wait for its files.
func (t *Trainer) save() (dir string, err error) {
	if t.comm.Rank() > 0 {
		if err := t.sendParts(); err != nil {
			return "", err
		}
		return "", t.comm.Barrier()
	}
	t.forgetPruned()
	defer func() { err = errors.Join(err, t.endCollecting(), t.comm.Barrier()) }()
	o, step, before := t.task.Storage.Output, t.state.GlobalStep, t.state.BestModelCheckpoint
	if t.isBest(step) && t.checkpointDue() { // an uninterrupted run would not write a checkpoint that an interruption causes
		dir := o.Path(step)
		t.state.BestModelCheckpoint = &dir
	}
	if dir, err = o.Write(t.state, t.fill); err != nil {
		t.state.BestModelCheckpoint = before
		return "", fmt.Errorf("trainer: checkpoint of step %d: %w", step, err)
	}
	var keep []int
	if t.config.LoadBestModelAtEnd && t.state.BestGlobalStep != nil {
		keep = append(keep, *t.state.BestGlobalStep)
	}
	if err := o.Prune(t.config.SaveTotalLimit, keep...); err != nil { // the new one is complete
		t.task.Observer(PruneFailureEvent{step, err})
	}
	return dir, nil
}

// forgetPruned clears the path of the best model's checkpoint if save_total_limit has removed it.
func (t *Trainer) forgetPruned() {
	if best := t.state.BestGlobalStep; best != nil {
		if _, err := os.Stat(t.task.Storage.Output.Path(*best)); errors.Is(err, fs.ErrNotExist) {
			t.state.BestModelCheckpoint = nil
		}
	}
}

// fill writes everything in a checkpoint except the state to dir.
func (t *Trainer) fill(dir string) error {
	if err := t.task.Storage.Save(dir); err != nil {
		return err
	}
	if err := t.writeOptimizer(filepath.Join(dir, optimizerFile)); err != nil {
		return err
	}
	t.progress.Weights = fingerprint(t.optimizer.Params())
	return nil
}
