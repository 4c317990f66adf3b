package mamba

import (
	"context"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	ag "mambatrain/autograd"
)

// TestStartIsAState checks that a document that starts from the state after another text has the same loss as when it
// follows that text, with and without a graph, whole and in segments.
func TestStartIsAState(t *testing.T) {
	eachFamily(t, func(t *testing.T, m *Model) {
		r := rand.New(rand.NewPCG(5, 6))
		before, text := ids(r, 53, 9), ids(r, 53, 14)
		all := append(append([]int{}, before...), text...)
		labels := make([]int, len(all))
		for i := range labels {
			if labels[i] = -100; i > len(before) {
				labels[i] = all[i]
			}
		}
		want := score(t, m, Document{Tokens: all, Labels: labels})

		after := m.NewState(1)
		if err := m.NewDecoder(0).Feed(ctx, after, [][]int{before}); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "state.safetensors")
		if err := after.Save(path); err != nil {
			t.Fatal(err)
		}
		read, err := m.LoadState(path)
		if err != nil {
			t.Fatal(err)
		}
		if m.HasStart() {
			t.Fatal("a new model has a start state")
		}
		if err := m.SetStart(read); err != nil {
			t.Fatal(err)
		}
		if got := score(t, m, Document{Tokens: text}); !m.HasStart() || math.Abs(got-want) > 1e-5*want {
			t.Errorf("scored: %v, want %v", got, want)
		}
		for _, rows := range []int{40, 3} {
			g := ag.NewGraph(ag.Options{Rows: rows, Segments: true})
			prog, err := g.Compile(m.Loss(g))
			if err != nil {
				t.Fatal(err)
			}
			l, err := prog.Eval(context.Background(), ag.Batch{Tokens: append(append([]int{}, text...), text...), Labels: append(append([]int{}, text...), text...), Starts: []int{0, len(text)}})
			if err != nil {
				t.Fatal(err)
			}
			if math.Abs(l.Sum-2*want) > 1e-5*want {
				t.Errorf("in a graph of %d rows: %v, want %v", rows, l.Sum, 2*want)
			}
		}
	})
}

func score(t *testing.T, m *Model, d Document) float64 {
	t.Helper()
	sum := 0.0
	for s, err := range m.Score(ctx, slices.Values([]Document{d, d}), ScoreOptions{Rows: 5}) {
		if err != nil {
			t.Fatal(err)
		}
		sum += s.NLL / 2
	}
	return sum
}

func TestSetStartRefuses(t *testing.T) {
	m := small(t)
	if err := m.SetStart(m.NewState(2)); err == nil {
		t.Error("states of two sequences: no error")
	}
	other := m.NewState(1)
	other.Conv[0] = other.Conv[0][1:]
	if err := m.SetStart(other); err == nil || m.HasStart() {
		t.Errorf("a state that does not fit: error %v", err)
	}
}
