package models

import (
	"context"
	"errors"
	"testing"

	"mambatrain/studio/runs"
	"mambatrain/trainer/recipe"
)

// While one request uses the model, a few others wait and the rest are refused. A request stops waiting when its page
// disconnects.
func TestTurns(t *testing.T) {
	l, err := runs.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m := New(l)
	m.turn <- struct{}{} // the model is in use
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error)
	none := func(*recipe.Model) error { return nil }
	for range maxWaiting {
		go func() { left <- m.with(ctx, choice{model: "missing"}, func() {}, none) }()
	}
	for m.waiting.Load() < maxWaiting {
		select {
		case err := <-left:
			t.Fatal(err)
		default:
		}
	}
	if err := m.with(t.Context(), choice{}, func() {}, none); !errors.Is(err, errBusy) {
		t.Errorf("one request too many: %v", err)
	}
	leave()
	for range maxWaiting {
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("a page that has left: %v", err)
		}
	}
	if n := m.waiting.Load(); n != 0 {
		t.Errorf("%d are still counted", n)
	}
	m.model = &recipe.Model{}
	if m.dropIdle(); m.model == nil {
		t.Error("a model in use was dropped")
	}
	<-m.turn
	if m.dropIdle(); m.model != nil {
		t.Error("an idle model was not dropped")
	}
	loading := false
	if err := m.with(t.Context(), choice{model: t.TempDir()}, func() { loading = true }, none); err == nil || !loading {
		t.Errorf("a model that is missing: %v, loading %v", err, loading)
	}
	select {
	case m.turn <- struct{}{}:
	default:
		t.Error("an error keeps the turn")
	}
}
