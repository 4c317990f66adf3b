package trainer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
)

// maxSkips is the maximum number of consecutive steps that on_nonfinite: skip may skip.
const maxSkips = 10

// NonFiniteError reports where a loss or gradient was NaN or infinite.
type NonFiniteError struct {
	Step  int // counts from 1
	Epoch int // counts from 0, as does Batch
	Batch int // first micro-batch with the fault; −1 if only the sum of several has it
	Loss  float64
	// Tensor is the first tensor, in model order, that is not finite: a parameter value, or else a gradient.
	Tensor string
}

func (e *NonFiniteError) Error() string {
	where := fmt.Sprintf("micro-batch %d of epoch %d", e.Batch, e.Epoch)
	if e.Batch < 0 {
		where = fmt.Sprintf("the sum of all micro-batches (epoch %d)", e.Epoch)
	}
	what := "the gradient is"
	if !finite(e.Loss) {
		what = fmt.Sprintf("loss %v is", e.Loss)
	}
	return fmt.Sprintf("trainer: step %d: %s not finite in %s; first bad tensor: %s", e.Step, what, where, e.Tensor)
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// checkFinite looks for values that are not finite in the step. It returns the fault as the first result if the step is
// to be skipped and as the error if the run is to stop.
func (t *Trainer) checkFinite(ctx context.Context, s stepResult, shards [][]part) (*NonFiniteError, error) {
	p := t.progress
	if finite(s.sum) && finite(s.norm) {
		p.SkipInRow = 0
		return nil, nil
	}
	parts := slices.Concat(shards...)
	slices.SortStableFunc(parts, func(a, b part) int { return a.micro - b.micro })
	fault, err := t.locate(ctx, s, parts)
	if err != nil {
		return nil, err
	}
	p.SkipInRow++
	p.SkipTotal++
	switch {
	case t.config.OnNonfinite == "stop":
		return nil, fault
	case p.SkipInRow > maxSkips:
		return nil, fmt.Errorf("%w; skipped %d steps in a row", fault, maxSkips)
	}
	t.task.Observer(SkipEvent{fault, p.SkipInRow})
	return fault, nil
}

// locate reruns the step's parts one by one to find the first that is not finite. Carried states end up as they were
// after the whole step.
func (t *Trainer) locate(ctx context.Context, s stepResult, parts []part) (*NonFiniteError, error) {
	if err := t.fetch(); err != nil {
		return nil, err
	}
	fault := &NonFiniteError{Step: t.state.GlobalStep + 1, Epoch: s.batches.epoch, Batch: -1, Loss: s.sum, Tensor: t.badTensor()}
	after := t.carried
	defer func() { t.carried = after.withoutNonFinite() }()
	t.carried = s.carried
	for _, p := range parts {
		t.reducer.zero()
		loss, err := t.backward(ctx, p, s.tokens, nil, nil)
		if err = errors.Join(err, t.fetch()); err != nil {
			return nil, err
		}
		if !finite(loss.Sum) || !finite(gradNorm(t.optimizer.Params())) {
			fault.Batch, fault.Loss, fault.Tensor = p.micro, loss.Sum, t.badTensor()
			break
		}
	}
	return fault, t.shareFirst(fault)
}

func (t *Trainer) badTensor() string {
	for _, p := range t.task.Params {
		if p.Trainable() && !kernel.AllFinite(p.Float32s()) { // frozen parameters were finite when they were loaded
			return p.Name
		}
	}
	for _, p := range t.task.Params {
		if !kernel.AllFinite(p.GradFloat32s()) {
			return "the gradient of " + p.Name
		}
	}
	return "none, each one is finite"
}

// reportNoGradient reports the parameters that the first step left without a gradient: such a parameter is not used by
// the model, whatever the settings. Half of an adapter's pair starts at zero and keeps the gradient of the other half
// at zero in the first step, so a pair is reported only if neither half has a gradient.
func (t *Trainer) reportNoGradient() {
	params := t.optimizer.Params()
	alive := map[string]bool{}
	for _, p := range params {
		if anyNonZero(p) {
			alive[pairName(p.Name)] = true
		}
	}
	var names []string
	for _, p := range params {
		if !alive[pairName(p.Name)] {
			names = append(names, p.Name)
		}
	}
	if len(names) > 0 {
		t.task.Observer(NoGradientEvent{names})
	}
}

func anyNonZero(p *ag.Param) bool {
	for _, v := range p.GradFloat32s() {
		if v != 0 {
			return true
		}
	}
	return false
}

// pairName returns the same name for both halves of an adapter.
func pairName(name string) string {
	for _, half := range []string{".lora_A", ".lora_B", ".lora_embedding_A", ".lora_embedding_B"} {
		if i := strings.Index(name, half); i >= 0 {
			return name[:i]
		}
	}
	return name
}
