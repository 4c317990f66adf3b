package lora_test

import (
	"encoding/json"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mambatrain/lora"
	"mambatrain/nn/weights"
)

// TestDamagedAdapters checks that a damaged adapter file causes an error or is read as a different adapter, but never
// crashes, whether it is loaded, merged, exported, or restored.
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
			continue // two tensors with the same name
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
		d.WriteGGUF(filepath.Join(dir, "a.gguf"), "mamba", lora.Tie{})
		d.Compatibility(tied, nil)
		d.Close()
	}
	if accepted == 0 {
		t.Error("no adapter remained intact: the damage is too severe for the test")
	}
}

// TestDuplicates checks that an adapter that contains a tensor twice, under any spellings of its name, is rejected
// when it is opened, loaded, or merged.
func TestDuplicates(t *testing.T) {
	from := filepath.Join("testdata", "golden", "seed_recipe", "adapter")
	file := openTensors(t, filepath.Join(from, lora.WeightsFile))
	var entries []weights.Entry
	for _, name := range file.Names() {
		x, _ := file.Tensor(name)
		entries = append(entries, weights.FromTensor(name, x, weights.F32))
	}
	const module = "base_model.model.backbone.layers.0.mixer.in_proj"
	again := func(name, other string) weights.Entry {
		x, ok := file.Tensor(name)
		if !ok {
			t.Fatalf("no %s in %v", name, file.Names())
		}
		return weights.FromTensor(other, x, weights.F32)
	}
	zeros := func(name string, shape ...int) weights.Entry {
		n := 1
		for _, d := range shape {
			n *= d
		}
		return weights.FromFloat32s(name, shape, make([]float32, n), weights.F32)
	}
	for what, c := range map[string]struct {
		more []weights.Entry
		want string
	}{
		"with the adapter's name": {[]weights.Entry{again(module+".lora_A.weight", module+".lora_A.default.weight")}, "is the same as"},
		"with a second prefix":    {[]weights.Entry{again(module+".lora_A.weight", "base_model.model."+module+".lora_A.weight")}, "is the same as"},
		"without the model's prefix": {[]weights.Entry{
			again(module+".lora_A.weight", "base_model.model.layers.0.mixer.in_proj.lora_A.weight"),
			again(module+".lora_B.weight", "base_model.model.layers.0.mixer.in_proj.lora_B.weight"),
		}, "is adapted twice"},
		"a parameter, once as a base layer's": {[]weights.Entry{
			zeros("base_model.model.backbone.norm_f.weight", 64), zeros("base_model.model.backbone.norm_f.base_layer.weight", 64),
		}, "is the same parameter as"},
	} {
		dir := t.TempDir()
		copyFile(t, filepath.Join(from, lora.ConfigFile), filepath.Join(dir, lora.ConfigFile))
		if err := weights.Save(filepath.Join(dir, lora.WeightsFile), append(slices.Clone(entries), c.more...), nil); err != nil {
			t.Fatal(err)
		}
		d, err := lora.Open(dir)
		if err != nil {
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: error %v, want one with %q", what, err, c.want)
			}
			continue
		}
		if _, err := d.Load(model(t, "base")); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: loading gives %v, want an error with %q", what, err, c.want)
		}
		base := openTensors(t, filepath.Join("testdata", "models", "base"))
		if _, err := lora.MergeFiles(base, lora.MergeOptions{Tie: tied}, lora.Term{Directory: d, Weight: 1}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: merging gives %v, want an error with %q", what, err, c.want)
		}
		d.Close()
	}
}

// TestSavedBias checks that an adapter with bias: all and modules_to_save is read as PEFT saves it: with each bias of a
// saved module under a second name, which must not differ, and with the base's bias.
func TestSavedBias(t *testing.T) {
	m, dir := model(t, "base"), t.TempDir()
	c := lora.Default()
	c.Bias, c.ModulesToSave = lora.BiasAll, []string{"conv1d"}
	a, err := lora.Inject(m, c, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Save(dir, lora.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	file := openTensors(t, filepath.Join(dir, lora.WeightsFile))
	for _, other := range []float32{0, 1} {
		var entries []weights.Entry
		for _, name := range file.Names() {
			x, _ := file.Tensor(name)
			entries = append(entries, weights.FromTensor(name, x, weights.F32))
			if module, ok := strings.CutSuffix(name, "conv1d.bias"); ok {
				v, err := x.Float32s()
				if err != nil {
					t.Fatal(err)
				}
				v[0] += other
				entries = append(entries, weights.FromFloat32s(module+"conv1d.modules_to_save.bias", x.Shape, v, weights.F32),
					weights.FromFloat32s(module+"conv1d.original_module.bias", x.Shape, make([]float32, len(v)), weights.F32))
			}
		}
		from := t.TempDir()
		copyFile(t, filepath.Join(dir, lora.ConfigFile), filepath.Join(from, lora.ConfigFile))
		if err := weights.Save(filepath.Join(from, lora.WeightsFile), entries, nil); err != nil {
			t.Fatal(err)
		}
		_, err := lora.Load(from, model(t, "base"))
		if other == 0 && err != nil {
			t.Error(err)
		}
		if other != 0 && (err == nil || !strings.Contains(err.Error(), "is the same parameter as")) {
			t.Errorf("two different biases: %v", err)
		}
	}
}

// TestCopiedTableAndHead checks that an adapter with its own table and head for a tied model gives the same result
// when it is merged as when it is loaded.
func TestCopiedTableAndHead(t *testing.T) {
	from := filepath.Join("testdata", "golden", "seed_recipe", "adapter")
	file := openTensors(t, filepath.Join(from, lora.WeightsFile))
	var entries []weights.Entry
	for _, name := range file.Names() {
		if x, _ := file.Tensor(name); !strings.Contains(name, "embeddings") {
			entries = append(entries, weights.FromTensor(name, x, weights.F32))
		}
	}
	m := model(t, "base")
	shape := m.Embeddings.Weight.Shape()
	for i, name := range []string{"backbone.embeddings.weight", "lm_head.weight"} {
		v := slices.Clone(m.Embeddings.Weight.Float32s())
		for k := range v {
			v[k] += 0.125 * float32(i+1)
		}
		entries = append(entries, weights.FromFloat32s("base_model.model."+name, shape, v, weights.F32))
	}
	dir := t.TempDir()
	if err := weights.Save(filepath.Join(dir, lora.WeightsFile), entries, nil); err != nil {
		t.Fatal(err)
	}
	changeConfig(t, from, dir, map[string]any{"target_modules": []string{"in_proj", "out_proj", "x_proj"}})
	merged, _ := mergeDirs(t, filepath.Join("testdata", "models", "base"), lora.Term{Directory: openDir(t, dir), Weight: 1})
	if _, err := lora.Load(dir, m); err != nil {
		t.Fatal(err)
	}
	ids := [][]int{{1, 2, 3, 4, 5}}
	want, got := directLogits(t, m, ids), directLogits(t, load(t, merged), ids)
	if d, err := lora.LargestDifference(want, got); err != nil || d > 1e-3 {
		t.Errorf("logits differ by %v, %v", d, err)
	}
}

// damaged returns an adapter's tensors with a few changes of names, shapes, and types.
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
		case 0: // omit the tensor
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

// randomRecord returns a record of row groups that may not fit.
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

// TestCopiedHeadIsNotTrained checks that the copy of an adapted head that PEFT saves replaces the table, with which the head
// is tied, but is not trained and is saved as PEFT reads it. It differs from the base if PEFT rounded it or added rows.
func TestCopiedHeadIsNotTrained(t *testing.T) {
	m, dir := model(t, "base"), t.TempDir()
	c := lora.Default()
	c.TargetModules = lora.Targets{Names: []string{"lm_head"}}
	a, err := lora.Inject(m, c, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Save(dir, lora.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	const copied = "base_model.model.lm_head.base_layer.weight"
	file := openTensors(t, filepath.Join(dir, lora.WeightsFile))
	v := slices.Clone(m.Embeddings.Weight.Float32s())
	v[0] += 0.125
	entries := []weights.Entry{weights.FromFloat32s(copied, m.Embeddings.Weight.Shape(), v, weights.F32)}
	for _, name := range file.Names() {
		x, _ := file.Tensor(name)
		entries = append(entries, weights.FromTensor(name, x, weights.F32))
	}
	from, to := t.TempDir(), t.TempDir()
	copyFile(t, filepath.Join(dir, lora.ConfigFile), filepath.Join(from, lora.ConfigFile))
	if err := weights.Save(filepath.Join(from, lora.WeightsFile), entries, nil); err != nil {
		t.Fatal(err)
	}
	m = model(t, "base")
	a, err = lora.Load(from, m)
	if err != nil {
		t.Fatal(err)
	}
	if !m.Tied() || !slices.Equal(m.Embeddings.Weight.Float32s(), v) {
		t.Errorf("the head is tied: %v; the table is not that of the file", m.Tied())
	}
	merged, _ := mergeDirs(t, modelDir("base"), lora.Term{Directory: openDir(t, from), Weight: 1})
	ids := [][]int{{1, 0, 2}}
	near(t, "merged", directLogits(t, load(t, merged), ids), directLogits(t, m, ids), mergedLogits, mergedLogits)
	if err := a.Train(); err != nil {
		t.Fatal(err)
	}
	if n := len(a.Params()); n != 2 {
		t.Errorf("%d parameters are trained, want A and B", n)
	}
	if err := a.Save(to, lora.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	const table = "base_model.model.backbone.embeddings.weight"
	saved, ok := openTensors(t, filepath.Join(to, lora.WeightsFile)).Tensor(table)
	if !ok {
		t.Fatalf("%s is missing", table)
	}
	if got, err := saved.Float32s(); err != nil || !slices.Equal(got, v) {
		t.Errorf("the copy changed: %v", err)
	}
}
