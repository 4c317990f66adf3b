package trainer

import (
	"context"
	"fmt"
	"math"
	"time"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
)

// stepResult is the outcome of one optimizer step.
type stepResult struct {
	batches batchRange
	sum     float64 // loss in nats, summed over the counted labels
	tokens  int     // counted labels
	input   int     // rows
	norm    float64 // gradient norm before clipping
	rate    float64
	carried carriedStates // carried states at the start of the step
	skipped bool
	time    time.Duration
}

// step makes one update from all micro-batches of the step. The gradient is that of the mean over all counted labels of
// the step, so the labels are counted before the first backward pass.
func (t *Trainer) step(ctx context.Context) (stepResult, error) {
	began, asked := t.task.Now(), ctx
	ctx = context.WithoutCancel(ctx) // a started step is always completed
	rate := t.config.LearningRate * t.schedule(t.state.GlobalStep)
	if !finite(rate) || rate < 0 { // such a rate would destroy the weights
		return stepResult{}, fmt.Errorf("trainer: step %d: lr_scheduler_type %s gives a learning rate of %v", t.state.GlobalStep+1, t.config.LRSchedulerType, rate)
	}
	s, shards, err := t.read(ctx)
	if err != nil {
		return s, err
	}
	progress := func(share float64) {
		t.task.Observer(StepProgressEvent{
			Step: t.state.GlobalStep + 1, Steps: t.state.MaxSteps, Share: share, Time: t.task.Now().Sub(began), Stopping: asked.Err() != nil,
		})
	}
	if err := t.accumulate(ctx, &s, shards, progress); err != nil {
		return s, err
	}
	s.rate = rate
	fault, err := t.checkFinite(ctx, s, shards)
	if err != nil {
		return s, err
	}
	if fault == nil {
		if err := t.optimizer.Step(s.rate, t.clip(s.norm)); err != nil {
			return s, err
		}
		if err := t.reducer.gatherWeights(); err != nil {
			return s, err
		}
	}
	s.skipped = fault != nil
	err = t.advance(s)
	s.time = t.task.Now().Sub(began)
	return s, err
}

// read fetches this rank's micro-batches of the step, grouped by shard, and counts the labels of all ranks.
func (t *Trainer) read(ctx context.Context) (stepResult, [][]part, error) {
	r, err := t.plan.at(t.state.GlobalStep)
	s := stepResult{batches: r}
	if err != nil {
		return s, nil, err
	}
	shards := make([][]part, t.reducer.shards)
	for shard := range shards {
		for i := r.from + t.firstShard() + shard; i < r.to; i += t.task.Ranks.Shards {
			parts, err := t.parts(ctx, r.epoch, i)
			if err != nil {
				return s, nil, err
			}
			for _, p := range parts {
				s.tokens += p.count
				s.input += len(p.Tokens)
			}
			shards[shard] = append(shards[shard], parts...)
		}
	}
	counts := []float64{float64(s.tokens), float64(s.input)}
	err = t.comm.AllReduceSum(counts)
	s.tokens, s.input = int(counts[0]), int(counts[1])
	return s, shards, err
}

// firstShard returns the index of this rank's first shard.
func (t *Trainer) firstShard() int { return t.comm.Rank() * t.reducer.shards }

// parts reads micro-batch i of an epoch.
func (t *Trainer) parts(ctx context.Context, epoch, i int) ([]part, error) {
	b, err := t.task.Train.Batch(ctx, epoch, i)
	if err != nil {
		return nil, fmt.Errorf("trainer: step %d: micro-batch %d of epoch %d: %w", t.state.GlobalStep+1, i, epoch, err)
	}
	if b.Carry != nil && t.task.Ranks.Shards > 1 {
		return nil, &RanksError{Problem: "data.carry_state: a micro-batch that continues from the previous one cannot be computed at the same time as it: use distributed.shards: 1"}
	}
	parts, err := splitBatch(b, t.partRows())
	if err != nil {
		return nil, fmt.Errorf("%w (step %d, micro-batch %d of epoch %d)", err, t.state.GlobalStep+1, i, epoch)
	}
	first := 0
	for j := range parts {
		p := &parts[j]
		p.seed, p.first, p.micro = batchSeed(t.task.Seed, epoch, i), first, i
		first += len(p.Tokens)
	}
	return parts, nil
}

// partRows returns the maximum number of rows in a part.
func (t *Trainer) partRows() int {
	if t.config.SegmentTokens > 0 {
		return math.MaxInt
	}
	return t.task.Rows
}

// accumulate runs the parts forward and backward and computes the loss and gradient of the whole step over all ranks.
// If parts run in segments, progress receives the share of this rank's work that is done.
func (t *Trainer) accumulate(ctx context.Context, s *stepResult, shards [][]part, progress func(share float64)) error {
	done, all := 0, 0 // rows
	for _, parts := range shards {
		for _, p := range parts {
			all += len(p.Tokens)
		}
	}
	s.carried = t.carried
	t.reducer.begin()
	losses := make([]float64, t.task.Ranks.Shards)
	for i, parts := range shards {
		for j, p := range parts {
			var ready func(*ag.Param)
			if i == len(shards)-1 && j == len(parts)-1 {
				ready = t.reducer.overlapped()
			}
			loss, err := t.backward(ctx, p, s.tokens, ready, func(share float64) {
				progress((float64(done) + share*float64(len(p.Tokens))) / float64(all))
			})
			if err != nil {
				t.reducer.abandon()
				return err
			}
			done += len(p.Tokens)
			losses[t.firstShard()+i] += loss.Sum
		}
		t.reducer.shardDone()
	}
	err := t.reducer.finish()
	if err != nil {
		return err
	}
	if s.sum, err = sumSlots(t.comm, losses); err != nil {
		return err
	}
	s.norm, err = t.reducer.norm()
	return err
}

// backward runs one part of a step, whose tokens is the number of counted labels in the whole step. ready and progress
// may be nil.
func (t *Trainer) backward(ctx context.Context, p part, tokens int, ready func(*ag.Param), progress func(share float64)) (loss ag.Loss, err error) {
	err = t.carried.run(t.task.Program, p, func() (err error) {
		loss, err = t.task.Program.Step(ctx, ag.Step{Batch: p.Batch, Scale: 1 / float64(max(1, tokens)), Seed: p.seed, FirstRow: p.first, Ready: ready, Progress: progress})
		return err
	})
	if err != nil {
		return loss, fmt.Errorf("trainer: step %d: micro-batch %d: %w", t.state.GlobalStep+1, p.micro, err)
	}
	return loss, nil
}

// gradNorm returns the Euclidean norm of all gradients together, summed in double precision.
func gradNorm(params []*ag.Param) float64 {
	sum := 0.0
	for _, p := range params {
		sum += kernel.SumSquares(p.GradFloat32s())
	}
	return math.Sqrt(sum)
}

// clip returns the factor that scales a gradient of the given norm down to max_grad_norm. The 1e-6 in the denominator
// matches torch.
func (t *Trainer) clip(norm float64) float64 {
	if t.config.MaxGradNorm == 0 {
		return 1
	}
	return min(1, t.config.MaxGradNorm/(norm+1e-6))
}

// advance advances the run to the next step.
func (t *Trainer) advance(s stepResult) error {
	if t.state.GlobalStep == 0 && !s.skipped {
		if err := t.fetch(); err != nil {
			return err
		}
		t.reportNoGradient()
	}
	t.state.GlobalStep++
	t.progress.Updates = t.optimizer.Steps()
	return nil
}
