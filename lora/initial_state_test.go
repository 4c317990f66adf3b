package lora_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	ag "mambatrain/autograd"
	"mambatrain/lora"
	"mambatrain/mamba"
)

// TestInitialState trains an adapter that contains only an initial state. It learns, is saved and loaded bit for bit,
// leaves the base unchanged when disabled, and cannot be merged.
func TestInitialState(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 8))
	m := tiny(t, r)
	base, ids := clone(t, m), probe(m, r)
	plain := directLogits(t, m, ids)
	c := lora.Default()
	c.TargetModules, c.InitialState = lora.Targets{}, true
	a, err := lora.Inject(m, c, r)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "fresh state", directLogits(t, m, ids), plain, 0, 0)
	first := descend(t, m, a, ids, 30)
	if last := descend(t, m, a, ids, 1); last > 0.97*first {
		t.Errorf("loss %v after 30 steps, %v before", last, first)
	}
	adapted := directLogits(t, m, ids)

	dir := filepath.Join(t.TempDir(), "adapter")
	if err := a.Save(dir, lora.SaveOptions{BaseModel: "some/base"}); err != nil {
		t.Fatal(err)
	}
	again, err := lora.Load(dir, base)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "loaded state", directLogits(t, base, ids), adapted, 0, 0)
	if !again.Config.InitialState {
		t.Error("the loaded settings have no initial_state")
	}
	trainable, _ := a.Share()
	sum := 0
	for _, s := range m.Starts() {
		sum += s.Size()
	}
	if trainable != sum || len(a.Params()) != len(m.Starts()) {
		t.Errorf("%d elements of %d parameters train, want %d of %d", trainable, len(a.Params()), sum, len(m.Starts()))
	}

	// The same file can be loaded as a state.
	state, err := base.LoadState(filepath.Join(dir, "initial_state.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	again.Disable()
	near(t, "disabled state", directLogits(t, base, ids), plain, 0, 0)
	if err := base.SetStart(state); err != nil {
		t.Fatal(err)
	}
	near(t, "state from the file", directLogits(t, base, ids), adapted, 0, 0)

	// Saving an adapter without an initial state to the same directory removes it.
	other, err := lora.Inject(clone(t, m), lora.Default(), r)
	if err != nil {
		t.Fatal(err)
	}
	over := filepath.Join(t.TempDir(), "over")
	for _, save := range []*lora.Adapter{a, other} {
		if err := save.Save(over, lora.SaveOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	fresh := clone(t, m)
	if _, err := lora.Load(over, fresh); err != nil || fresh.HasStart() {
		t.Errorf("an initial state was left behind, or %v", err)
	}

	for _, p := range a.Params() {
		clear(p.Float32s())
	}
	if err := a.Restore(dir); err != nil {
		t.Fatal(err)
	}
	near(t, "restored state", directLogits(t, m, ids), adapted, 0, 0)
	if err := a.Merge(); err == nil {
		t.Error("merged")
	}
}

// descend runs steps of gradient descent and returns the initial loss.
func descend(t *testing.T, m *mamba.Model, a *lora.Adapter, documents [][]int, steps int) (first float64) {
	t.Helper()
	var b ag.Batch
	for _, ids := range documents {
		b.Starts = append(b.Starts, len(b.Tokens))
		b.Tokens, b.Labels = append(b.Tokens, ids...), append(b.Labels, ids...)
	}
	g := ag.NewGraph(ag.Options{Rows: 16, Segments: true})
	prog, err := g.Compile(m.Loss(g))
	if err != nil {
		t.Fatal(err)
	}
	for i := range steps {
		for _, p := range a.Params() {
			p.ZeroGrad()
		}
		l, err := prog.Step(context.Background(), ag.Step{Batch: b, Scale: 1 / float64(b.Counted())})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = l.Sum
		}
		for _, p := range a.Params() {
			for k, d := range p.GradFloat32s() {
				p.Float32s()[k] -= d
			}
		}
	}
	return first
}

// TestInitialState_damaged checks that an adapter is not loaded if the file is missing or belongs to a different
// model.
func TestInitialState_damaged(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 9))
	m := tiny(t, r)
	base := clone(t, m)
	c := lora.Default()
	c.InitialState = true
	a, err := lora.Inject(m, c, r)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "adapter")
	if err := a.Save(dir, lora.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "initial_state.safetensors")
	if err := base.NewState(2).Save(file); err != nil {
		t.Fatal(err)
	}
	if _, err := lora.Load(dir, base); err == nil {
		t.Error("the state of two sequences: no error")
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := lora.Load(dir, base); err == nil {
		t.Error("a missing file: no error")
	}
}
