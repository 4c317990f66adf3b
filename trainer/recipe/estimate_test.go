package recipe

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/trainer"
)

// Parameter counts of the published sizes, as in their files.
func TestEstimatedParameters(t *testing.T) {
	for size, want := range map[string]int{"130m": 129_135_360, "370m": 371_516_416, "790m": 793_204_224, "1.4b": 1_372_178_432, "2.8b": 2_768_345_600} {
		c := Default()
		sizes, err := Sizes("state-spaces/mamba-" + size + "-hf")
		if err != nil {
			t.Fatal(err)
		}
		r, err := outline(&c, sizes)
		if err != nil {
			t.Fatal(err)
		}
		if all, trainable := r.size(); all != want || trainable != want {
			t.Errorf("%s: %d parameters, %d trainable, want %d", size, all, trainable, want)
		}
	}
	c := Default()
	c.LoRA = DefaultLoRA()
	sizes, err := Sizes("mamba-130m")
	if err != nil {
		t.Fatal(err)
	}
	r, err := outline(&c, sizes)
	if err != nil {
		t.Fatal(err)
	}
	if _, trainable := r.size(); trainable != 1_898_304 {
		t.Errorf("LoRA trains %d, want 1898304", trainable)
	}
}

// TestEstimate_continuedAdapter checks that an adapter whose settings name modules that the model does not have, as
// PEFT allows, can be estimated.
func TestEstimate_continuedAdapter(t *testing.T) {
	from, dir := "../../lora/testdata/golden/mamba2/seed_recipe/adapter", t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	var settings map[string]any
	b, err := os.ReadFile(filepath.Join(dir, lora.ConfigFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &settings); err != nil {
		t.Fatal(err)
	}
	settings["target_modules"] = []string{"x_proj", "embeddings", "in_proj", "out_proj"}
	settings["rank_pattern"], settings["modules_to_save"] = map[string]int{"x_proj": 4}, []string{"score"}
	if b, err = json.Marshal(settings); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, lora.ConfigFile), b, 0o666); err != nil {
		t.Fatal(err)
	}
	c := Default()
	c.Model, c.Adapter = "../../mamba/testdata/golden/mamba2/model", dir
	sizes, err := c.Sizes()
	if err != nil {
		t.Fatal(err)
	}
	e, err := c.Estimate(sizes)
	if err != nil {
		t.Fatal(err)
	}
	const r, v, m, d, in = 8, 208, 40, 80, 197
	if want := r*(v+m) + 3*r*(m+in+d+m); e.Trainable != want {
		t.Errorf("trains %d, want %d", e.Trainable, want)
	}
}

// TestMemory_addsUp checks that the parts shown add up to the total and that the advice is about the largest part.
func TestMemory_addsUp(t *testing.T) {
	m := Memory{trainer.Memory{Weights: 3 << 20, Optimizer: 1 << 20}}
	if got, want := m.String(), "weights 3.00 MiB, optimizer 1.00 MiB, the program and its buffers 64.0 MiB"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if m.Total() != m.Weights+m.Optimizer+m.Program() {
		t.Errorf("total %d", m.Total())
	}
	small := &Config{MemoryLimit: 50 << 20}
	if err := small.Check(m, "try a smaller lora.r"); err == nil || !strings.Contains(err.Error(), "raise memory_limit") || strings.Contains(err.Error(), "lora.r") {
		t.Errorf("error %v, want advice to raise the limit", err)
	}
	m.Weights = 1 << 30
	if err := small.Check(m, "try less"); err == nil || !strings.HasSuffix(err.Error(), "; try less") {
		t.Errorf("error %v, want the advice", err)
	}
	for _, c := range []struct {
		precision   mamba.Precision
		base, other int64
		want        string
	}{{"float32", 10, 20, "lora.r"}, {"float32", 20, 10, "bf16"}, {"bf16", 20, 10, "q8 or q4"}, {"auto", 20, 10, "q4"}, {"q4", 20, 10, "try a smaller model"}} {
		if got := savingOf(c.precision, c.base, trainer.Memory{Weights: c.other}); !strings.Contains(got, c.want) {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// TestEstimate_states checks that a state is counted for each segment, including a short last one, if states are in memory.
func TestEstimate_states(t *testing.T) {
	sizes, err := mamba.LoadConfig("../../configs/quickstart/base")
	if err != nil {
		t.Fatal(err)
	}
	activations := func(tokens int, store string) int64 {
		c := Default()
		c.MaxTokens, c.Train.SegmentTokens, c.Train.SegmentStore = tokens, 8, store
		e, err := c.Estimate(sizes)
		if err != nil {
			t.Fatal(err)
		}
		return e.Memory.Activations
	}
	state := activations(8, "memory") - activations(8, "disk")
	for tokens, states := range map[int]int64{15: 2, 16: 2, 17: 3} {
		if got := activations(tokens, "memory") - activations(tokens, "disk"); state == 0 || got != states*state {
			t.Errorf("the states of %d tokens take %d bytes, want %d times %d", tokens, got, states, state)
		}
	}
}
