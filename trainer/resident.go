package trainer

import (
	"context"
	"errors"
	"slices"

	ag "mambatrain/autograd"
	"mambatrain/trainer/optim"
)

// If the program runs on a device and the optimizer can, too, parameters, gradients, and the state of the optimizer
// remain there. The host needs the values to save and to sample, and the gradients to find one that is not finite.

// residentOf makes the trainable parameters remain on the program's device during a run. It returns nil if they are
// updated on the host.
func (t *Trainer) residentOf(trainable []*ag.Param) (*ag.Resident, error) {
	p, ok := t.task.Program.(*ag.Program)
	if !ok || !p.OnDevice() {
		return nil, nil
	}
	if t.updatesOnHost = t.whyOnHost(p, trainable); t.updatesOnHost != "" {
		return nil, nil
	}
	r, err := p.Resident()
	if err != nil {
		return nil, err
	}
	t.task.Storage = t.task.Storage.around(r)
	t.task.Sample = sampleFrom(r, t.task.Sample)
	return r, nil
}

// whyOnHost returns why the host must update the parameters of a program on a device, or "" if the device can.
func (t *Trainer) whyOnHost(p *ag.Program, trainable []*ag.Param) string {
	trains := slices.DeleteFunc(p.Params(), func(p *ag.Param) bool { return !p.Trainable() })
	switch {
	case !optim.UpdatesOnDevice(t.config.Config):
		return t.config.Optim + " runs only there"
	case t.comm.Size() > 1:
		return "the gradients of several ranks are added there"
	case t.task.Ranks.Shards > 1:
		return "the gradients of several shards are added there"
	case len(trains) != len(trainable) || slices.ContainsFunc(trains, func(p *ag.Param) bool { return !slices.Contains(trainable, p) }):
		return "the program does not use all of them"
	}
	return ""
}

// UpdatesOnHost returns why the host updates the weights although the program runs on a device, or "" if it does not.
func (t *Trainer) UpdatesOnHost() string { return t.updatesOnHost }

// around returns s with functions that fetch the values before they are saved and send those that were loaded.
func (s Storage) around(r *ag.Resident) Storage {
	save, load := s.Save, s.Load
	s.Save = func(dir string) error {
		if err := r.Fetch(); err != nil {
			return err
		}
		return save(dir)
	}
	s.Load = func(dir string) error {
		if err := load(dir); err != nil {
			return err
		}
		return r.Send()
	}
	return s
}

// sampleFrom returns a Task.Sample that fetches the values first.
func sampleFrom(r *ag.Resident, sample func(context.Context, SamplePrompt) (string, error)) func(context.Context, SamplePrompt) (string, error) {
	if sample == nil {
		return nil
	}
	return func(ctx context.Context, prompt SamplePrompt) (string, error) {
		if err := r.Fetch(); err != nil {
			return "", err
		}
		return sample(ctx, prompt)
	}
}

// release ends a run that returns err: the host gets the values from the device, if they are there.
func (t *Trainer) release(err error) error {
	if t.reducer.resident == nil {
		return err
	}
	if again := t.reducer.resident.Release(); err == nil {
		return again
	}
	return err // it explains why the values could not be fetched, if they could not
}

// fetch copies values and gradients from the device, if they are there, to the host.
func (t *Trainer) fetch() error {
	r := t.reducer.resident
	if r == nil {
		return nil
	}
	return errors.Join(r.Fetch(), r.FetchGrads())
}
