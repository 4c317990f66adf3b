package data

import (
	"context"
	"testing"

	"mambatrain/data/source"
)

// slowRows is a renderer whose rows take until it is closed.
type slowRows struct {
	started, closed chan struct{}
}

func (slowRows) needs(string, []string) ([]string, error) { return nil, nil }
func (slowRows) masks() bool                              { return false }

func (s slowRows) row(*source.Block, int, *rowBuffer) (bool, error) {
	close(s.started)
	<-s.closed
	return true, nil
}

// An interrupt does not wait for a row that takes long, and no further row begins.
func TestPipeline_interruptedWithinRow(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := pipeline{config: &Config{}, all: true}
	jobs := make(chan job)
	wait := p.startWorkers(ctx, 1, jobs)
	slow := slowRows{make(chan struct{}), make(chan struct{})}
	j := job{&source.Block{Rows: 2}, 0, slow, make(chan outcome, 1)}
	jobs <- j
	<-slow.started
	cancel()
	wait()
	close(slow.closed)
	if out := <-j.done; out.err != context.Canceled {
		t.Errorf("got %v, want %v", out.err, context.Canceled)
	}
	close(jobs)
}
