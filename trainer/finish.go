package trainer

import (
	"context"
	"errors"
	"fmt"
)

// StopError is returned by a run that was asked to stop. The current step was finished and a checkpoint was written,
// unless Err reports why not.
type StopError struct {
	Step       int
	Checkpoint string
	Err        error
}

func (e *StopError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("trainer: interrupted after step %d; the checkpoint could not be written: %v", e.Step, e.Err)
	}
	if e.Checkpoint == "" {
		return fmt.Sprintf("trainer: interrupted after step %d", e.Step)
	}
	return fmt.Sprintf("trainer: interrupted after step %d, saved as %s", e.Step, e.Checkpoint)
}

func (e *StopError) Unwrap() []error {
	if e.Err == nil {
		return []error{context.Canceled}
	}
	return []error{context.Canceled, e.Err}
}

// interrupt saves the run in its current state.
func (t *Trainer) interrupt() error {
	e := &StopError{Step: t.state.GlobalStep}
	if t.saves {
		e.Checkpoint, e.Err = t.save()
		if e.Err == nil && e.Checkpoint != "" {
			t.task.Observer(SaveEvent{Step: e.Step, Dir: e.Checkpoint})
		}
	}
	return e
}

// finish writes the result: the weights (those of the best step if requested) and then the state, whose presence marks
// the result as complete.
func (t *Trainer) finish() (Result, error) {
	if err := errors.Join(t.loadBest(), t.fetch()); err != nil {
		return Result{}, err
	}
	t.logSummary()
	if err := t.writeResult(); err != nil {
		return Result{}, err
	}
	r := t.result()
	t.task.Observer(FinishEvent{r})
	return r, nil
}

// loadBest restores the weights of the best evaluation. If their checkpoint is unusable, the result of a long run is
// not discarded: it contains the last weights, and its state names no best checkpoint.
func (t *Trainer) loadBest() error {
	o := t.task.Storage.Output
	t.progress.ResultStep = t.state.GlobalStep
	if o == nil || !t.config.LoadBestModelAtEnd || t.state.BestGlobalStep == nil || t.isBest(t.state.GlobalStep) {
		return nil
	}
	dir := o.Path(*t.state.BestGlobalStep)
	err := o.Verify(*t.state.BestGlobalStep)
	if err == nil {
		if err = t.task.Storage.Load(dir); err == nil {
			t.progress.ResultStep = *t.state.BestGlobalStep
			return nil
		}
		err = fmt.Errorf("trainer: the best model: %s: %w", dir, err)
		if again := t.loadLast(); again != nil { // the weights may be a mix of the best and the last
			return errors.Join(err, again)
		}
	}
	t.state.BestModelCheckpoint = nil
	t.task.Observer(MissingBestEvent{*t.state.BestGlobalStep, err})
	return nil
}

// loadLast restores the weights of the last step from its checkpoint.
func (t *Trainer) loadLast() error {
	step := t.state.GlobalStep
	dir := t.task.Storage.Output.Path(step)
	if !t.task.Storage.Output.Has(step) {
		return fmt.Errorf("trainer: the last weights: %s does not exist", dir)
	}
	if err := t.task.Storage.Load(dir); err != nil {
		return fmt.Errorf("trainer: the last weights: %s: %w", dir, err)
	}
	return nil
}

// logSummary appends the last row of the history.
func (t *Trainer) logSummary() {
	p := t.progress
	row := t.row(
		"train_loss", mean(p.RunLoss, p.RunTokens),
		"train_runtime", p.RunSeconds,
		"train_steps_per_second", perSecond(t.state.GlobalStep, p.RunSeconds),
		"train_tokens_per_second", perSecond(p.RunTokens, p.RunSeconds),
		"num_tokens", float64(p.NumTokens),
	)
	t.state.LogHistory = append(t.state.LogHistory, row)
	t.task.Observer(LogEvent{row})
}

func (t *Trainer) writeResult() error {
	o := t.task.Storage.Output
	if o == nil || t.comm.Rank() != 0 {
		return nil
	}
	t.forgetPruned()
	t.progress.Weights = fingerprint(t.optimizer.Params())
	err := o.Publish(t.state, func(dir string) error {
		if err := t.task.Storage.Save(dir); err != nil {
			return err
		}
		if t.task.Storage.Publish == nil {
			return nil
		}
		return t.task.Storage.Publish(dir, t.state)
	})
	if err != nil {
		return fmt.Errorf("trainer: result: %w", err)
	}
	return nil
}
