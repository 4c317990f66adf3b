package trainer

import (
	"context"
	"slices"
	"time"

	ag "mambatrain/autograd"
)

// shortPart is the longest time a part may take and still be run a second time.
const shortPart = time.Second

// MeasureStep runs the first part of this rank's next step forward and backward to measure how long a step takes. It
// returns the number of rows and the time of the part. Of a part in many segments, it runs the first two and returns
// the time that as many rows take on average. It updates nothing and does not communicate with other ranks.
func (t *Trainer) MeasureStep(ctx context.Context) (rows int, took time.Duration, err error) {
	next, err := t.plan.at(t.state.GlobalStep)
	if err != nil {
		return 0, 0, err
	}
	first := next.from + t.firstShard()
	if first >= next.to { // this rank has no micro-batch in the step
		return 0, 0, nil
	}
	parts, err := t.parts(ctx, next.epoch, first)
	if err != nil || len(parts) == 0 {
		return 0, 0, err
	}
	part, slower := parts[0], 1.0
	if n := 2 * t.task.Rows; t.config.SegmentTokens > 0 && len(part.Tokens) > n {
		// All segments but the last run forward once more. With the backward pass as twice that, two segments take 7 forward
		// passes, and each of many segments takes 4.
		slower = (4 - float64(t.task.Rows)/float64(len(part.Tokens))) / 3.5
		part.Batch = head(part.Batch, n)
		part.count = part.Counted()
	}
	before := t.carried
	defer t.reducer.zero()
	for range 2 { // the first run includes allocating memory
		began := t.task.Now()
		_, err = t.backward(ctx, part, part.count, nil, nil)
		took = t.task.Now().Sub(began)
		t.carried = before
		if err != nil || took > shortPart {
			break
		}
	}
	return len(part.Tokens), time.Duration(slower * float64(took)), err
}

// head returns the first rows of b.
func head(b ag.Batch, rows int) ag.Batch {
	b.Tokens, b.HasNext = b.Tokens[:rows], false
	if b.Labels != nil {
		b.Labels = b.Labels[:rows]
	}
	n, _ := slices.BinarySearch(b.Starts, rows)
	b.Starts = b.Starts[:n]
	return b
}
