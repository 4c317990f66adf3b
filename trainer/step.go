package trainer

import (
	"context"
	"fmt"
	"math"
	"time"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
)

// stepped is what one optimiser step did.
type stepped struct {
	place   place
	sum     float64 // loss in nats, summed over the counted labels
	tokens  int     // counted labels
	input   int     // rows
	norm    float64 // of the gradient, before clipping
	rate    float64
	carried states // what was carried over when the step began
	skipped bool
	time    time.Duration
}

// step makes one update from all micro-batches of the step. The gradient is that of the mean over all their counted
// labels, which is why these are counted before the first backward pass.
func (t *Trainer) step(ctx context.Context) (stepped, error) {
	began := t.task.Now()
	ctx = context.WithoutCancel(ctx) // a step that was begun is finished
	s, parts, err := t.read(ctx)
	if err != nil {
		return s, err
	}
	if err := t.accumulate(ctx, &s, parts); err != nil {
		return s, err
	}
	s.rate = t.LearningRate * t.schedule(t.state.GlobalStep)
	fault, err := t.inspect(ctx, s, parts)
	if err != nil {
		return s, err
	}
	if fault == nil {
		t.optimizer.Step(s.rate, t.clip(s.norm))
	}
	s.skipped = fault != nil
	t.advance(s)
	s.time = t.task.Now().Sub(began)
	return s, nil
}

// read fetches this rank's micro-batches of the step and counts the labels of all ranks.
func (t *Trainer) read(ctx context.Context) (stepped, []part, error) {
	pl, err := t.plan.at(t.state.GlobalStep)
	s := stepped{place: pl}
	if err != nil {
		return s, nil, err
	}
	var parts []part
	for i := pl.from + t.task.Comm.Rank(); i < pl.to; i += t.task.Comm.Size() {
		b, err := t.task.Train.Batch(ctx, pl.epoch, i)
		if err != nil {
			return s, nil, fmt.Errorf("trainer: step %d: micro-batch %d of epoch %d: %w", t.state.GlobalStep+1, i, pl.epoch, err)
		}
		cuts, err := cut(b, t.task.Rows)
		if err != nil {
			return s, nil, fmt.Errorf("%w (step %d, micro-batch %d of epoch %d)", err, t.state.GlobalStep+1, i, pl.epoch)
		}
		for j, p := range cuts {
			p.seed, p.micro = mix(t.task.Seed, pl.epoch, i, j), i
			s.tokens += p.count
			s.input += len(p.Tokens)
			parts = append(parts, p)
		}
	}
	counts := []float64{float64(s.tokens), float64(s.input)}
	err = t.task.Comm.AllReduceSum(counts)
	s.tokens, s.input = int(counts[0]), int(counts[1])
	return s, parts, err
}

// accumulate runs the parts forward and backward, and leaves loss and gradient of the whole step, over all ranks.
func (t *Trainer) accumulate(ctx context.Context, s *stepped, parts []part) error {
	t.zeroGradients()
	s.carried = t.carried
	sums := []float64{0}
	for _, p := range parts {
		loss, err := t.backward(ctx, p, s.tokens)
		if err != nil {
			return err
		}
		sums[0] += loss.Sum
	}
	for _, p := range t.optimizer.Params() {
		if err := t.task.Comm.AllReduce(p.GradFloat32s()); err != nil {
			return err
		}
	}
	err := t.task.Comm.AllReduceSum(sums)
	s.sum, s.norm = sums[0], gradNorm(t.optimizer.Params())
	return err
}

// backward runs one part of a step with the given number of counted labels.
func (t *Trainer) backward(ctx context.Context, p part, tokens int) (loss ag.Loss, err error) {
	err = t.carried.through(t.task.Program, p, func() (err error) {
		loss, err = t.task.Program.Step(ctx, ag.Step{Batch: p.Batch, Scale: 1 / float64(max(1, tokens)), Seed: p.seed})
		return err
	})
	if err != nil {
		return loss, fmt.Errorf("trainer: step %d: micro-batch %d: %w", t.state.GlobalStep+1, p.micro, err)
	}
	return loss, nil
}

func (t *Trainer) zeroGradients() {
	for _, p := range t.optimizer.Params() {
		p.ZeroGrad()
	}
}

// gradNorm is the Euclidean length of all gradients together, summed in double precision.
func gradNorm(params []*ag.Param) float64 {
	sum := 0.0
	for _, p := range params {
		sum += kernel.SumSquares(p.GradFloat32s())
	}
	return math.Sqrt(sum)
}

// clip is the factor that brings a gradient of the given norm down to max_grad_norm, with torch's 1e-6 in the quotient.
func (t *Trainer) clip(norm float64) float64 {
	if t.MaxGradNorm == 0 {
		return 1
	}
	return min(1, t.MaxGradNorm/(norm+1e-6))
}

// advance moves the run to the next step.
func (t *Trainer) advance(s stepped) {
	if t.state.GlobalStep == 0 && !s.skipped {
		t.reportNoGradient()
	}
	t.state.GlobalStep++
	t.progress.Updates = t.optimizer.Steps()
	t.progress.Epoch, t.progress.Batch = s.place.epoch, s.place.to
	if s.place.ends() {
		t.progress.Epoch, t.progress.Batch = s.place.epoch+1, 0
	}
}
