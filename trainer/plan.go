package trainer

import (
	"fmt"
	"math"
	"slices"

	"mambatrain/internal/fault"
	"mambatrain/trainer/optim"
)

// stepPlan lays the optimizer steps of a run over the epochs. The last step of an epoch may have fewer micro-batches.
type stepPlan struct {
	source  BatchSource
	perStep int // micro-batches of a full step
	steps   int // of the whole run
	equal   bool
	batches []int // of each epoch that is known; where they are equal, of the first
	first   []int // step of each of these epochs, and of the one after
}

// batchRange is the micro-batches of a step.
type batchRange struct {
	epoch    int
	from, to int // in the epoch
	of       int // micro-batches in the epoch
}

// epochsDone is the number of epochs done after the step.
func (r batchRange) epochsDone() float64 { return float64(r.epoch) + float64(r.to)/float64(r.of) }

// endsEpoch reports whether the step is the last of its epoch.
func (r batchRange) endsEpoch() bool { return r.to == r.of }

// newStepPlan works out the number of steps: max_steps, or as many as the epochs have.
func newStepPlan(src BatchSource, c Config, perStep int) (*stepPlan, error) {
	p := &stepPlan{source: src, perStep: perStep, first: []int{0}}
	_, p.equal = src.(EqualEpochs)
	if c.MaxSteps > 0 {
		p.steps = c.MaxSteps
		return p, p.extend(0)
	}
	whole := int(c.NumTrainEpochs)
	if err := p.extend(max(0, whole-1)); err != nil {
		return nil, err
	}
	if rest := c.NumTrainEpochs - float64(whole); rest > 0 {
		if err := p.extend(whole); err != nil {
			return nil, err
		}
		p.steps = int(math.Ceil(rest * float64(p.inEpoch(whole))))
	}
	p.steps += p.start(whole)
	if p.steps > optim.MaxSteps {
		var l fault.List
		l.Add("train.num_train_epochs", "%v epochs make %d steps, and a run has at most %d", c.NumTrainEpochs, p.steps, optim.MaxSteps)
		return nil, l
	}
	return p, nil
}

// extend learns the sizes of the epochs up to the given one.
func (p *stepPlan) extend(epoch int) error {
	if p.equal {
		epoch = 0
	}
	for e := len(p.batches); e <= epoch; e++ {
		n, err := p.source.Batches(e)
		if err != nil {
			return fmt.Errorf("trainer: data: epoch %d: %w", e, err)
		}
		if n < 1 {
			return fmt.Errorf("trainer: data: epoch %d has no micro-batches", e)
		}
		p.batches = append(p.batches, n)
		p.first = append(p.first, p.first[e]+(n-1)/p.perStep+1)
	}
	return nil
}

// start is the first step of an epoch that is known, or of the one after.
func (p *stepPlan) start(epoch int) int {
	if p.equal {
		return epoch * p.first[1]
	}
	return p.first[epoch]
}

// inEpoch is the number of steps in an epoch that is known.
func (p *stepPlan) inEpoch(epoch int) int { return p.start(epoch+1) - p.start(epoch) }

// epochs is the number of epochs that the run touches.
func (p *stepPlan) epochs() (int, error) {
	last, err := p.at(p.steps - 1)
	return last.epoch + 1, err
}

// at finds the micro-batches of a step, counted from 0.
func (p *stepPlan) at(step int) (batchRange, error) {
	e, err := p.epochOf(step)
	if err != nil {
		return batchRange{}, err
	}
	from, of := (step-p.start(e))*p.perStep, p.batches[0]
	if !p.equal {
		of = p.batches[e]
	}
	return batchRange{epoch: e, from: from, to: min(from+p.perStep, of), of: of}, nil
}

// epochOf finds the epoch of a step, and learns what there is to know up to it.
func (p *stepPlan) epochOf(step int) (int, error) {
	if err := p.extend(0); err != nil {
		return 0, err
	}
	if p.equal {
		return step / p.first[1], nil
	}
	for step >= p.first[len(p.batches)] {
		if err := p.extend(len(p.batches)); err != nil {
			return 0, err
		}
	}
	after, _ := slices.BinarySearch(p.first, step+1) // the first epoch that begins after the step
	return after - 1, nil
}
