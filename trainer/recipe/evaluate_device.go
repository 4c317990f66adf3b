package recipe

import (
	"context"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
	"mambatrain/data"
	"mambatrain/internal/label"
)

// evaluatedRows is the number of rows that a device evaluates at once. Longer documents run in segments.
const evaluatedRows = 2048

// deviceEvaluation evaluates documents on the process's device, as many at once as fit in evaluatedRows.
type deviceEvaluation struct {
	program *ag.Program
	add     func(document int, nll float64, tokens int)
	correct int

	batch ag.Batch
	of    []int // the index in the dataset of each document in the batch
}

// newDeviceEvaluation returns an evaluation on the process's device, or nil if there is no device that can run the
// model.
func (m *Model) newDeviceEvaluation(add func(document int, nll float64, tokens int)) (*deviceEvaluation, error) {
	if kernel.CurrentDevice() == nil {
		return nil, nil
	}
	p, device, err := Compile(m.Loss, ag.Options{Rows: evaluatedRows, Segments: true}, m.warn)
	if err != nil || device == "" {
		return nil, err
	}
	return &deviceEvaluation{program: p, add: add}, nil
}

// run evaluates all documents of d.
func (e *deviceEvaluation) run(ctx context.Context, d *data.Dataset) error {
	for i := range d.Len() {
		doc := d.Example(i)
		if len(e.of) > 0 && len(e.batch.Tokens)+len(doc.Tokens) > evaluatedRows {
			if err := e.flush(ctx); err != nil {
				return err
			}
		}
		labels := doc.Labels
		if labels == nil {
			labels = doc.Tokens
		}
		e.batch.Starts = append(e.batch.Starts, len(e.batch.Tokens))
		e.batch.Tokens, e.batch.Labels = append(e.batch.Tokens, doc.Tokens...), append(e.batch.Labels, labels...)
		e.of = append(e.of, i)
	}
	return e.flush(ctx)
}

// flush evaluates the batch and empties it.
func (e *deviceEvaluation) flush(ctx context.Context) error {
	if len(e.of) == 0 {
		return nil
	}
	l, err := e.program.Eval(ctx, e.batch)
	if err != nil {
		return err
	}
	e.correct += l.Correct
	for k, i := range e.of {
		nll, tokens := 0.0, 0
		for t := e.batch.Starts[k]; t+1 < e.batch.End(k); t++ { // row t predicts the label of the next row
			if label.Counts(e.batch.Labels[t+1]) {
				nll += l.Rows[t]
				tokens++
			}
		}
		e.add(i, nll, tokens)
	}
	e.batch, e.of = ag.Batch{Tokens: e.batch.Tokens[:0], Labels: e.batch.Labels[:0]}, e.of[:0]
	return nil
}
