package trainer

import (
	"fmt"
	"math"
	"slices"

	"mambatrain/internal/fault"
	"mambatrain/trainer/optim"
)

// stepPlan maps the optimizer steps of a run to epochs. The last step of an epoch may have fewer micro-batches.
type stepPlan struct {
	source  BatchSource
	perStep int // micro-batches in a full step
	steps   int // in the whole run
	equal   bool
	batches []int // micro-batches in each known epoch; only the first if epochs are equal
	first   []int // first step of each known epoch and of the next one
}

// batchRange is the range of micro-batches in a step.
type batchRange struct {
	epoch    int
	from, to int // within the epoch
	of       int // micro-batches in the epoch
}

// epochsDone returns the number of epochs completed after the step.
func (r batchRange) epochsDone() float64 { return float64(r.epoch) + float64(r.to)/float64(r.of) }

// endsEpoch reports whether the step is the last of its epoch.
func (r batchRange) endsEpoch() bool { return r.to == r.of }

// newStepPlan determines the number of steps: max_steps, or as many as the epochs have.
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
	if c.NumTrainEpochs > float64(whole) {
		if err := p.extend(whole); err != nil {
			return nil, err
		}
		n := p.inEpoch(whole)
		p.steps = int(math.Ceil(c.NumTrainEpochs*float64(n))) - whole*n // rounded as in transformers
	}
	p.steps += p.start(whole)
	if p.steps > optim.MaxSteps {
		var l fault.List
		l.Add("train.num_train_epochs", "%v epochs are %d steps, more than the limit of %d", c.NumTrainEpochs, p.steps, optim.MaxSteps)
		return nil, l
	}
	return p, nil
}

// extend fetches the sizes of the epochs up to and including the given one.
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

// start returns the first step of a known epoch or of the one after the last known.
func (p *stepPlan) start(epoch int) int {
	if p.equal {
		return epoch * p.first[1]
	}
	return p.first[epoch]
}

// inEpoch returns the number of steps in a known epoch.
func (p *stepPlan) inEpoch(epoch int) int { return p.start(epoch+1) - p.start(epoch) }

// epochs returns the number of epochs that the run covers, in whole or in part.
func (p *stepPlan) epochs() (int, error) {
	last, err := p.at(p.steps - 1)
	return last.epoch + 1, err
}

// at returns the micro-batches of a step, counted from 0.
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

// epochOf returns the epoch of a step, extending the plan as needed.
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
