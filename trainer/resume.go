package trainer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"mambatrain/trainer/checkpoint"
)

// begin restores the newest checkpoint, if there is one, or starts from the beginning. done reports whether there is
// nothing left to do.
func (t *Trainer) begin(ctx context.Context) (done bool, err error) {
	if err := t.checkAgreement(); err != nil {
		return false, err
	}
	done, from, err := t.restore()
	if done || err != nil {
		return done, err
	}
	if r := t.reducer.resident; r != nil {
		if err := r.Send(); err != nil {
			return false, err
		}
	}
	if o := t.task.Storage.Output; o != nil {
		if err := o.Begin(); err != nil {
			return false, err
		}
	}
	if from != nil {
		t.task.Observer(*from)
	}
	t.task.Observer(StartEvent{t.Overview(), slices.Clone(t.state.LogHistory)})
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

// restore resumes from the contents of the output directory. On rank 0, from is the checkpoint; it is nil for a new run.
func (t *Trainer) restore() (done bool, from *ResumeEvent, err error) {
	var s startInfo
	if t.task.Storage.Output != nil {
		s.Saves = true
		if s.Done, from, err = t.readOutput(); err != nil {
			return false, nil, err
		}
		s.Resumed = from != nil
	}
	if s, err = t.shareStart(s); err != nil {
		return false, nil, err
	}
	t.saves = s.Saves
	if !s.Resumed {
		return s.Done, nil, nil
	}
	dir := ""
	if from != nil {
		dir = from.Dir
	}
	if err := t.readOptimizer(dir); err != nil {
		return false, nil, fmt.Errorf("trainer: %s: %w", dir, err)
	}
	return s.Done, from, nil
}

// Preview adopts the progress of the checkpoint that Run would resume from, so that [Trainer.Overview] describes the
// rest of the run. It fails if Run would refuse to resume, but it does not read the weights.
func (t *Trainer) Preview() error {
	if t.task.Storage.Output == nil {
		return nil
	}
	_, _, err := t.findStart()
	return err
}

// readOutput detects a finished run, or else reads the weights and state of the newest checkpoint.
func (t *Trainer) readOutput() (done bool, from *ResumeEvent, err error) {
	done, from, err = t.findStart()
	if from == nil || err != nil {
		return done, nil, err
	}
	return false, from, t.readWeights(from)
}

// findStart detects a finished run, or else finds the newest checkpoint, if there is one. It adopts the state of either
// if the settings match.
func (t *Trainer) findStart() (done bool, from *ResumeEvent, err error) {
	newest, damaged := t.task.Storage.Output.Checkpoint()
	if st := t.task.Storage.Output.Finished(); st != nil {
		changed := t.changes(st.Progress().Settings)
		switch {
		case len(changed) == 0:
			t.adopt(st)
			return true, nil, nil
		case newest == nil:
			return false, nil, refuse(t.task.Storage.Output.Dir, "no checkpoint is left to resume from, --overwrite starts over", changed)
		}
	}
	if newest == nil {
		return false, nil, nil
	}
	from, err = t.resume(newest, damaged)
	return false, from, err
}

// refuse returns an error that lists the settings that have changed since dir was written and suggests a remedy.
func refuse(dir, remedy string, changed []checkpoint.Change) error {
	err := fmt.Errorf("trainer: %s: %w; %s", dir, ErrChanged, remedy)
	for _, c := range changed {
		err = fmt.Errorf("%w\n  %v", err, c)
	}
	return err
}

// adopt replaces the run's state with a stored one.
func (t *Trainer) adopt(st *checkpoint.State) {
	is := *t.progress
	t.state = st.Clone()
	t.progress = t.state.Progress()
	t.progress.Settings, t.progress.Rows, t.progress.Ranks, t.progress.Kernels = is.Settings, is.Rows, is.Ranks, is.Kernels
}

// resume adopts the state of a checkpoint. The settings must match.
func (t *Trainer) resume(c *checkpoint.Checkpoint, damaged []error) (*ResumeEvent, error) {
	was := c.State.Progress()
	changed := t.changes(was.Settings)
	if len(changed) > 0 && !t.task.Force {
		return nil, refuse(c.Dir, "--resume=force resumes anyway", changed)
	}
	from := &ResumeEvent{Step: c.Step, Dir: c.Dir, Damaged: damaged, Changed: changed}
	if is := t.progress.Kernels; was.Kernels != "" && was.Kernels != is {
		from.Kernels = &checkpoint.Change{Key: "kernels", Was: was.Kernels, Is: is}
	}
	ahead := t.state
	t.adopt(c.State)
	t.state.MaxSteps, t.state.NumTrainEpochs, t.state.TrainBatchSize = ahead.MaxSteps, ahead.NumTrainEpochs, ahead.TrainBatchSize
	t.state.EvalSteps, t.state.LoggingSteps, t.state.SaveSteps = ahead.EvalSteps, ahead.LoggingSteps, ahead.SaveSteps
	return from, nil
}

// readWeights restores the weights of a checkpoint bit for bit.
func (t *Trainer) readWeights(from *ResumeEvent) error {
	if err := t.task.Storage.Load(from.Dir); err != nil {
		return fmt.Errorf("trainer: %s: %w", from.Dir, err)
	}
	if got, want := fingerprint(t.optimizer.Params()), t.progress.Weights; got != want && len(from.Changed) == 0 {
		return fmt.Errorf("trainer: %s: the weights read back differ from those that were trained (fingerprint %s, want %s)", from.Dir, got, want)
	}
	return nil
}

// ErrChanged reports that a run cannot resume because its settings have changed since it was saved.
var ErrChanged = errors.New("these settings have changed since it was written")
