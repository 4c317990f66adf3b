package lora_test

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mambatrain/lora"
)

// TestAuto checks that an empty lora block adapts the family's usual modules and that PEFT can read their names.
func TestAuto(t *testing.T) {
	mamba1 := []string{"embeddings", "in_proj", "x_proj", "out_proj"}
	for preset, want := range map[string][]string{"130m": mamba1, "falcon-7b": mamba1, "mamba2-130m": {"embeddings", "in_proj", "out_proj"}} {
		m := tinyPreset(t, rand.New(rand.NewPCG(1, 1)), preset)
		a, err := lora.Inject(m, lora.Default(), rand.New(rand.NewPCG(1, 2)))
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := a.Save(dir, lora.SaveOptions{}); err != nil {
			t.Fatal(err)
		}
		var saved struct {
			Targets []string `json:"target_modules"`
		}
		b, err := os.ReadFile(filepath.Join(dir, lora.ConfigFile))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &saved); err != nil || !slices.Equal(saved.Targets, want) {
			t.Errorf("%s: target_modules is %v (%v), want %v", preset, saved.Targets, err, want)
		}
		d, err := lora.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if faults := lora.Default().For(m).Differences(d.Config); len(faults) > 0 {
			t.Errorf("%s: cannot be continued with the same settings: %v", preset, faults)
		}
	}
}

// TestBias_all checks that dt_bias of Mamba-2 counts as a bias, as it does in PEFT.
func TestBias_all(t *testing.T) {
	m := tinyPreset(t, rand.New(rand.NewPCG(1, 1)), "mamba2-130m")
	c := lora.Default()
	c.Bias = lora.BiasAll
	a, err := lora.Inject(m, c, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Params() {
		if strings.Contains(p.Name, "bias") && !slices.Contains(a.Params(), p) {
			t.Errorf("%s is not trained", p.Name)
		}
	}
	if err := a.Save(t.TempDir(), lora.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestRowGroups_patterns checks that a pattern sets the rank and alpha of a row group, and that the file for PEFT has
// them for the module.
func TestRowGroups_patterns(t *testing.T) {
	m := tinyPreset(t, rand.New(rand.NewPCG(1, 1)), "mamba2-130m")
	c := lora.Default()
	c.TargetModules = lora.Targets{Names: []string{"in_proj.x", "in_proj.B", "out_proj"}}
	c.RankPattern = lora.Pattern[int]{{Key: "in_proj", Value: 6}, {Key: `in_proj\.(x|B)`, Value: 3}, {Key: `layers\.1\..*out_proj`, Value: 2}}
	c.AlphaPattern = lora.Pattern[float64]{{Key: `0\.mixer\.in_proj\.[xB]`, Value: 12}}
	for _, rslora := range []bool{false, true} {
		c.UseRSLora = rslora
		a, err := lora.Inject(m, c, rand.New(rand.NewPCG(1, 4)))
		if err != nil {
			t.Fatal(err)
		}
		stir(a, rand.New(rand.NewPCG(1, 5)))
		in0, out1 := m.Slots()[1].LowRank(), m.Slots()[4].LowRank()
		if in0.Rank() != 3 || out1.Rank() != 2 || !rslora && in0.Scale != 4 {
			t.Errorf("ranks %d and %d, scale %v; want 3, 2, and 4", in0.Rank(), out1.Rank(), in0.Scale)
		}
		want := step(t, m, probe(m, rand.New(rand.NewPCG(1, 6))), 1)
		dir := t.TempDir()
		if err := a.Save(dir, lora.SaveOptions{}); err != nil {
			t.Fatal(err)
		}
		a.Disable()
		b, err := os.ReadFile(filepath.Join(dir, lora.ConfigFile))
		if err != nil || strings.Contains(string(b), "xB") || !strings.Contains(string(b), `"backbone.layers.0.mixer.in_proj": 3`) {
			t.Errorf("%v: %s", err, b)
		}
		loaded, err := lora.Load(dir, m)
		if err != nil {
			t.Fatal(err)
		}
		if faults := c.Differences(loaded.Config); len(faults) > 0 {
			t.Errorf("cannot be continued with the same settings: %v", faults)
		}
		if err := loaded.Train(); err != nil {
			t.Fatal(err)
		}
		if got := step(t, m, probe(m, rand.New(rand.NewPCG(1, 6))), 1); got.Sum != want.Sum {
			t.Errorf("loss %v, want %v", got.Sum, want.Sum)
		}
		loaded.Disable()
	}
	c.RankPattern = lora.Pattern[int]{{Key: `in_proj\.B`, Value: 3}}
	if _, err := lora.Inject(m, c, rand.New(rand.NewPCG(1, 4))); err == nil || !strings.Contains(err.Error(), "x and B are adjacent and share an adapter, so they cannot have different values, 8 and 3") {
		t.Errorf("got %v", err)
	}
}
