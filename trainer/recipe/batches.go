package recipe

import (
	"context"

	ag "mambatrain/autograd"
	"mambatrain/data"
	"mambatrain/trainer"
)

// fromLoader adapts a data loader to the trainer's BatchSource.
func fromLoader(l *data.Loader) trainer.BatchSource { return loaderSource{l} }

type loaderSource struct{ loader *data.Loader }

func (s loaderSource) Batches(int) (int, error) { return s.loader.Total(), nil }

func (s loaderSource) EqualEpochs() {}

func (s loaderSource) Batch(_ context.Context, epoch, index int) (trainer.MicroBatch, error) {
	b := s.loader.At(epoch, index)
	return trainer.MicroBatch{Batch: ag.Batch{Tokens: b.Tokens, Labels: b.Labels, Starts: b.Starts}, Carry: b.Carry}, nil
}
