package trainer

import (
	"context"
	"slices"
	"time"
)

// Rehearsal is a step that was looked at before the run.
type Rehearsal struct {
	Batches, Rows, Labels int           // of the whole step, over all ranks
	Time                  time.Duration // what the step will take, from the time of one of its parts
}

// Rehearse reads the micro-batches of the next step and runs the first part of them forward and backward twice, to learn
// how long a step takes. Nothing is updated.
func (t *Trainer) Rehearse(ctx context.Context) (Rehearsal, error) {
	s, shards, err := t.read(ctx)
	parts := slices.Concat(shards...)
	r := Rehearsal{Batches: s.place.to - s.place.from, Rows: s.input, Labels: s.tokens}
	if err != nil || len(parts) == 0 {
		return r, err
	}
	before := t.carried
	defer func() {
		t.carried = before
		t.reducer.zero()
	}()
	var took time.Duration
	for range 2 { // the first run pays for memory that the second finds
		began := t.task.Now()
		if _, err := t.backward(ctx, parts[0], s.tokens, nil); err != nil {
			return r, err
		}
		took = t.task.Now().Sub(began)
		t.carried = before
	}
	rows := 0
	for _, p := range parts {
		rows += len(p.Tokens)
	}
	r.Time = time.Duration(float64(took) * float64(rows) / float64(len(parts[0].Tokens)))
	return r, nil
}
