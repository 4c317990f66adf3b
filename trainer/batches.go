package trainer

import (
	"context"
	"fmt"
	"math"
	"slices"

	ag "mambatrain/autograd"
	"mambatrain/internal/fault"
	"mambatrain/internal/splitmix"
	"mambatrain/trainer/optim"
)

// Source gives out the micro-batches of a data set by number. What it returns depends on the numbers alone, so that a run
// finds any point again without replaying it.
type Source interface {
	// Batches is the number of micro-batches in an epoch, counted from 0. Epochs may differ where packing depends on order.
	Batches(epoch int) (int, error)
	// Batch returns a micro-batch: documents end to end. The caller may keep it, but not change it.
	Batch(ctx context.Context, epoch, index int) (Batch, error)
}

// Batch is a micro-batch.
type Batch struct {
	ag.Batch
	// Carry is nil unless state is carried over. Then it holds, for each document, which document of the micro-batch before
	// it goes on from, or −1 for a new one.
	Carry []int
}

// EqualEpochs marks a [Source] whose epochs all have the same number of micro-batches, so that the trainer asks for the
// size of one only.
type EqualEpochs interface{ EqualEpochs() }

// plan lays the optimiser steps of a run over the epochs. The last step of an epoch may have fewer micro-batches.
type plan struct {
	source  Source
	perStep int // micro-batches of a full step
	steps   int // of the whole run
	equal   bool
	batches []int // of each epoch that is known; where they are equal, of the first
	first   []int // step of each of these epochs, and of the one after
}

// place is where a step finds its micro-batches.
type place struct {
	epoch    int
	from, to int // micro-batches of the epoch
	of       int // micro-batches in the epoch
}

// passed is the number of epochs done after the step.
func (p place) passed() float64 { return float64(p.epoch) + float64(p.to)/float64(p.of) }

// ends says that the step is the last of its epoch.
func (p place) ends() bool { return p.to == p.of }

// newPlan works out the number of steps: max_steps, or as many as the epochs have.
func newPlan(src Source, c Config, perStep int) (*plan, error) {
	p := &plan{source: src, perStep: perStep, first: []int{0}}
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
func (p *plan) extend(epoch int) error {
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
func (p *plan) start(epoch int) int {
	if p.equal {
		return epoch * p.first[1]
	}
	return p.first[epoch]
}

// inEpoch is the number of steps in an epoch that is known.
func (p *plan) inEpoch(epoch int) int { return p.start(epoch+1) - p.start(epoch) }

// epochs is the number of epochs that the run touches.
func (p *plan) epochs() (int, error) {
	last, err := p.at(p.steps - 1)
	return last.epoch + 1, err
}

// at finds the micro-batches of a step, counted from 0.
func (p *plan) at(step int) (place, error) {
	e, err := p.epochOf(step)
	if err != nil {
		return place{}, err
	}
	from, of := (step-p.start(e))*p.perStep, p.batches[0]
	if !p.equal {
		of = p.batches[e]
	}
	return place{epoch: e, from: from, to: min(from+p.perStep, of), of: of}, nil
}

// epochOf finds the epoch of a step, and learns what there is to know up to it.
func (p *plan) epochOf(step int) (int, error) {
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

// part is documents that are computed at once, and the random numbers that they see: those of the micro-batch, whatever
// parts it runs in.
type part struct {
	ag.Batch
	seed  uint64
	first int // the micro-batch's row that row 0 is
	micro int // the micro-batch that it comes from, in the epoch
	count int // labels that enter the loss
	lane  int // where state is carried over, the document's place in its micro-batch; else −1
	after int // the document of the micro-batch before that it goes on from
}

// cut splits a micro-batch into parts of whole documents that fit the given number of rows, in order. Where state is
// carried over, each document is a part of its own.
func cut(b Batch, rows int) ([]part, error) {
	var parts []part
	add := func(from, to int) {
		p := part{Batch: slice(b.Batch, from, to), lane: -1}
		if b.Carry != nil {
			p.lane, p.after, p.Continues = from, b.Carry[from], b.Carry[from] >= 0
		}
		p.count = p.Counted()
		parts = append(parts, p)
	}
	from := 0 // the first document of the part
	for d := range b.Starts {
		if n := b.End(d) - b.Starts[d]; n > rows {
			return nil, fmt.Errorf("trainer: batch: document %d has %d tokens, max_tokens computes %d at once", d, n, rows)
		}
		if d > from && (b.Carry != nil || b.End(d)-b.Starts[from] > rows) {
			add(from, d)
			from = d
		}
	}
	if len(b.Starts) > 0 {
		add(from, len(b.Starts))
	}
	return parts, nil
}

// slice returns the documents [from, to) of b as a batch of their own.
func slice(b ag.Batch, from, to int) ag.Batch {
	lo, hi := b.Starts[from], b.End(to-1)
	s := ag.Batch{Tokens: b.Tokens[lo:hi]}
	if b.Labels != nil {
		s.Labels = b.Labels[lo:hi]
	}
	for _, start := range b.Starts[from:to] {
		s.Starts = append(s.Starts, start-lo)
	}
	return s
}

// mix folds the numbers into one seed.
func mix(seed uint64, xs ...int) uint64 {
	for _, x := range xs {
		seed = splitmix.Mix(seed*splitmix.Gamma + uint64(x) + splitmix.Gamma)
	}
	return seed
}
