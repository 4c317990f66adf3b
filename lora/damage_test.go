package lora_test

import (
	"encoding/json"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"mambatrain/lora"
	"mambatrain/nn/weights"
)

// An adapter file with anything wrong in it is an error or an adapter, never a crash, whether it is loaded, merged,
// exported or restored.
func TestDamagedAdapters(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 14))
	base := filepath.Join("testdata", "models", "base")
	files := openTensors(t, base)
	own := model(t, "base")
	injected, err := lora.Inject(own, lora.Default(), r)
	if err != nil {
		t.Fatal(err)
	}
	accepted := 0
	for range 50 {
		from := filepath.Join("testdata", "golden", []string{"seed_recipe", "dora", "some_layers"}[r.IntN(3)], "adapter")
		dir := t.TempDir()
		copyFile(t, filepath.Join(from, lora.ConfigFile), filepath.Join(dir, lora.ConfigFile))
		if err := weights.Save(filepath.Join(dir, lora.WeightsFile), damaged(t, r, from), randomRecord(r)); err != nil {
			continue // two tensors of one name
		}
		injected.Restore(dir)
		d, err := lora.Open(dir)
		if err != nil {
			continue
		}
		m := model(t, "base")
		if a, err := d.Load(m); err == nil {
			accepted++
			a.Enable()
			directLogits(t, m, [][]int{{1, 2, 3}})
			a.Save(t.TempDir(), lora.SaveOptions{})
			a.Merge()
		}
		if plan, err := lora.MergeFiles(files, lora.MergeOptions{Tie: tied}, lora.Term{Directory: d, Weight: 0.5}); err == nil {
			for _, s := range plan.Entries {
				s.Values()
			}
		}
		d.WriteGGUF(filepath.Join(dir, "a.gguf"), lora.Tie{})
		d.Compatibility(tied)
		d.Close()
	}
	if accepted == 0 {
		t.Error("no adapter was left in order: the damage is too great to test much")
	}
}

// damaged returns the tensors of an adapter with a few changes of name, shape and type.
func damaged(t *testing.T, r *rand.Rand, from string) []weights.Entry {
	t.Helper()
	file := openTensors(t, filepath.Join(from, lora.WeightsFile))
	words := []string{"lora_A", "lora_B", "lora_embedding_A", "lora_magnitude_vector", "weight", "bias", "default", "base_layer", "in_proj", "embeddings", "lm_head", "0", "", "modules_to_save", "A_log"}
	shapes := [][]int{{0}, {8}, {8, 0}, {0, 64}, {8, 64}, {64, 8}, {300, 64}, {256, 8}, {1, 1, 8}, {}}
	var sources []weights.Entry
	for _, name := range file.Names() {
		x, _ := file.Tensor(name)
		if r.IntN(25) > 0 {
			sources = append(sources, weights.FromTensor(name, x, weights.F32))
			continue
		}
		parts := strings.Split(name, ".")
		parts[r.IntN(len(parts))] = words[r.IntN(len(words))]
		name, shape, n := strings.Join(parts, "."), shapes[r.IntN(len(shapes))], 1
		for _, d := range shape {
			n *= d
		}
		switch r.IntN(4) {
		case 0: // left out
		case 1:
			sources = append(sources, weights.FromTensor(name, x, weights.F32))
		case 2:
			sources = append(sources, weights.FromFloat32s(name, shape, make([]float32, n), weights.F32))
		case 3:
			sources = append(sources, weights.FromInts(name, make([]int, 3)))
		}
	}
	return sources
}

// randomRecord is a note about row groups that may fit nothing.
func randomRecord(r *rand.Rand) map[string]string {
	if r.IntN(3) > 0 {
		return nil
	}
	group := [2]int{r.IntN(300) - 10, r.IntN(300) - 10}
	b, err := json.Marshal(map[string]any{"row_groups": map[string]any{"backbone.layers.0.mixer.in_proj": group, "backbone.embeddings": group}})
	if err != nil {
		return nil
	}
	return map[string]string{"mamba_train": string(b)}
}
