package trainer

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	ag "mambatrain/autograd"
	"mambatrain/trainer/checkpoint"
)

// lanes cuts long documents into pieces of 3 tokens: micro-batch i contains the i-th piece of each document that has
// one.
type lanes struct{ docs [][]int }

func (l lanes) Batches(int) (int, error) { return 4, nil }

func (l lanes) Batch(_ context.Context, epoch, i int) (MicroBatch, error) {
	b := MicroBatch{Carry: []int{}}
	before := 0 // documents of the previous micro-batch that have been passed
	for _, d := range l.docs {
		had := i > 0 && len(d) > 3*(i-1)
		if len(d) > 3*i {
			b.Starts = append(b.Starts, len(b.Tokens))
			piece := d[3*i : min(len(d), 3*i+3)]
			b.Tokens, b.Labels = append(b.Tokens, piece...), append(b.Labels, piece...)
			if had {
				b.Carry = append(b.Carry, before)
			} else {
				b.Carry = append(b.Carry, -1)
			}
		}
		if had {
			before++
		}
	}
	return b, nil
}

func newCarryRun() *run {
	r := newRun()
	r.task.Train = lanes{[][]int{{1, 2, 3, 4}, {0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0}, {6, 5, 4, 3, 2, 1, 0}, {2, 2}}}
	r.EvalSteps = 1 // evaluations must not affect carried states
	return r
}

// stateRecorder records the state that each continuing part starts from.
type stateRecorder struct {
	*toy
	starts []float32
}

func (s *stateRecorder) Step(ctx context.Context, st ag.Step) (ag.Loss, error) {
	if st.Continues {
		s.starts = append(s.starts, s.state)
	}
	return s.toy.Step(ctx, st)
}

func TestStateFollowsItsDocument(t *testing.T) {
	r := newCarryRun()
	s := &stateRecorder{toy: r.model}
	r.task.Program, r.NumTrainEpochs = s, 1
	r.must(t, "", checkpoint.Fresh)
	// Rows before each continuing piece: of the documents of length 4, 11, and 7; of 11 and 7; of 11.
	if want := []float32{3, 3, 3, 6, 6, 9}; !slices.Equal(s.starts, want) {
		t.Errorf("states %v, want %v", s.starts, want)
	}
}

// TestSkippedStepCarriesStates makes the second of the seven documents in the first step not finite: either only
// its gradient, or also its state, which then restarts from zeros.
func TestSkippedStepCarriesStates(t *testing.T) {
	nan := float32(math.NaN())
	for what, c := range map[string]struct {
		add  float32 // added to the state
		want []float32
	}{"a gradient": {0, []float32{6, 6, 9}}, "a state": {nan, []float32{0, 6, 3}}} {
		r := newCarryRun()
		s := &stateRecorder{toy: r.model}
		r.task.Program, r.NumTrainEpochs, r.OnNonfinite = s, 1, "skip"
		r.model.poison = func(n int) float32 {
			if n != 2 && n != 9 { // run 9 repeats the second document
				return 0
			}
			r.model.state += c.add
			return nan
		}
		res := r.must(t, "", checkpoint.Fresh)
		if n := res.State.Progress().SkipTotal; n != 1 {
			t.Errorf("%s: %d steps skipped, want 1", what, n)
		}
		if got := s.starts[len(s.starts)-3:]; !slices.Equal(got, c.want) {
			t.Errorf("%s: the next step starts from %v, want %v", what, got, c.want)
		}
	}
}

func TestCarriedStateIsResumed(t *testing.T) {
	straight := t.TempDir()
	steps := newCarryRun().must(t, straight, checkpoint.Fresh).Steps
	want := results(t, straight)
	for stop := 1; stop < steps; stop++ {
		dir := t.TempDir()
		newCarryRun().stopAfter(t, dir, checkpoint.Fresh, isStep, stop)
		newCarryRun().must(t, dir, checkpoint.Resume)
		sameResults(t, fmt.Sprintf("stopped after step %d", stop), results(t, dir), want)
	}
}
