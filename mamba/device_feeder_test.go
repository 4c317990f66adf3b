package mamba

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// checkDeviceFeeder checks that prompts fed on the process's device leave the same state as on the CPU, in several
// sequences, in chunks and after a state that has already read something, and that generation continues from it.
func checkDeviceFeeder(t *testing.T, m *Model) {
	t.Helper()
	const rows = 7
	device, err := m.NewDeviceFeeder(rows)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(5, 6))
	got, want := m.NewState(3), m.NewState(3)
	for _, prompts := range [][][]int{{ids(r, 53, 3*rows+2), ids(r, 53, 4), nil}, {ids(r, 53, 2), nil, ids(r, 53, 1)}} {
		if err := device.Feed(ctx, got, prompts); err != nil {
			t.Fatal(err)
		}
		if err := m.NewDecoder(0).Feed(ctx, want, prompts); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Fed, want.Fed) {
			t.Fatalf("%d tokens are fed, want %d", got.Fed, want.Fed)
		}
		for l := range want.SSM {
			within(t, name("convolution of layer %d", l), got.Conv[l], want.Conv[l], valueAbs, valueRel)
			within(t, name("state of layer %d", l), got.SSM[l], want.SSM[l], valueAbs, valueRel)
		}
	}
	o := m.DefaultGenerate()
	prompts := [][]int{ids(r, 53, 12), ids(r, 53, 1)}
	text, err := m.Generate(ctx, prompts, o)
	if err != nil {
		t.Fatal(err)
	}
	o.Prefill = device
	onDevice, err := m.Generate(ctx, prompts, o)
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range text {
		if !slices.Equal(onDevice[i].IDs, g.IDs) {
			t.Errorf("prompt %d continues with %v, want %v", i, onDevice[i].IDs, g.IDs)
		}
	}
}
