package lora_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn/weights"
)

var tied = lora.Tie{Head: "lm_head.weight", Table: "backbone.embeddings.weight"}

// tieOf returns the tie of the model in a directory.
func tieOf(t *testing.T, dir string) lora.Tie {
	t.Helper()
	c, err := mamba.LoadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	if c.TieWordEmbeddings {
		return tied
	}
	return lora.Tie{}
}

// mergeDirs merges adapters into the model directory base and returns the merged directory.
func mergeDirs(t *testing.T, base string, adapters ...lora.Term) (string, *lora.MergedModel) {
	t.Helper()
	m, err := lora.MergeFiles(openTensors(t, base), lora.MergeOptions{Tie: tieOf(t, base)}, adapters...)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := weights.SaveShards(dir, m.Entries, nil, 0); err != nil {
		t.Fatal(err)
	}
	c, err := mamba.LoadConfig(base)
	if err != nil {
		t.Fatal(err)
	}
	c.TieWordEmbeddings = c.TieWordEmbeddings && !m.Untied
	if err := c.Save(dir); err != nil {
		t.Fatal(err)
	}
	return dir, m
}

func openDir(t *testing.T, dir string) *lora.Directory {
	t.Helper()
	d, err := lora.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func load(t *testing.T, dir string) *mamba.Model {
	t.Helper()
	m, err := mamba.Load(dir, mamba.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestGoldenMergeOfFiles checks that merged files contain the golden weights and, when loaded as a model, give the
// golden logits.
func TestGoldenMergeOfFiles(t *testing.T) {
	for name, base := range goldenCases {
		dir := filepath.Join("testdata", "golden", name)
		merged, plan := mergeDirs(t, modelDir(base), lora.Term{Directory: openDir(t, filepath.Join(dir, "adapter")), Weight: 1})
		want := openTensors(t, filepath.Join(dir, "merged.safetensors"))
		got := openTensors(t, merged)
		for _, n := range want.Names() {
			near(t, name+" "+n, floats(t, got, n), floats(t, want, n), mergedAbs, 0)
		}
		if !slices.Equal(slices.Sorted(slices.Values(plan.Changed)), want.Names()) {
			t.Errorf("%s: changed %v, want %v", name, plan.Changed, want.Names())
		}
		sizes, err := mamba.LoadConfig(modelDir(base))
		if err != nil {
			t.Fatal(err)
		}
		if untied := sizes.TieWordEmbeddings && slices.Contains(want.Names(), tied.Table); plan.Untied != untied {
			t.Errorf("%s: untied %v, want %v", name, plan.Untied, untied)
		}
		compareDirect(t, load(t, merged), openTensors(t, filepath.Join(dir, "forward.safetensors")))
	}
}

// saved saves a model and an adapter with random values, and returns their directories and the adapted logits of ids.
func saved(t *testing.T, r *rand.Rand, m *mamba.Model, c lora.Config, ids [][]int) (adapter string, logits []float32) {
	t.Helper()
	a, err := lora.Inject(m, c, r)
	if err != nil {
		t.Fatal(err)
	}
	stir(a, r)
	adapter = filepath.Join(t.TempDir(), "adapter")
	if err := a.Save(adapter, lora.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	return adapter, directLogits(t, m, ids)
}

// TestFilesForAnyConfig checks, with random settings, that merged files compute the same as the adapter, and that
// unmerging restores the base bit for bit.
func TestFilesForAnyConfig(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 8))
		m := anyTiny(t, r)
		c := randomConfig(r, m)
		base, ids := t.TempDir(), probe(m, r)
		if err := m.Save(base, mamba.SaveOptions{}); err != nil {
			t.Fatal(err)
		}
		tie := tieOf(t, base)
		adapter, logits := saved(t, r, m, c, ids)
		w := lora.Term{Directory: openDir(t, adapter), Weight: 1}
		dir, _ := mergeDirs(t, base, w)
		near(t, "merged files", directLogits(t, load(t, dir), ids), logits, mergedLogits, mergedLogits)

		files, old := openTensors(t, dir), openTensors(t, base)
		back, err := lora.UnmergeFiles(context.Background(), files, old, tie, w)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		path := filepath.Join(t.TempDir(), weights.ModelFile)
		if err := weights.Save(path, back, nil); err != nil {
			t.Fatal(err)
		}
		sameFile(t, path, base)
		if _, err := lora.UnmergeFiles(context.Background(), old, old, tie, w); err == nil || !strings.Contains(err.Error(), "differs by up to") && !strings.Contains(err.Error(), "is missing") {
			t.Errorf("seed %d: unmerging what was never merged: %v", seed, err)
		}
		if t.Failed() {
			t.Fatalf("seed %d: %+v", seed, c)
		}
	}
}

// TestMergeByShares merges two adapters: the change of each weight is the weighted sum of their changes.
func TestMergeByShares(t *testing.T) {
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 6))
		m := tiny(t, r)
		base := t.TempDir()
		if err := m.Save(base, mamba.SaveOptions{}); err != nil {
			t.Fatal(err)
		}
		shares, dirs := []float64{0.75, -0.5}, make([]string, 2)
		var weighted []lora.Term
		var alone []*weights.Reader
		for i := range dirs {
			c := randomConfig(r, m)
			c.TargetModules, c.InitLoraWeights, c.LayersToTransform = lora.Targets{Names: []string{"in_proj", "embeddings", "out_proj"}}, lora.InitTrue, nil
			c.ModulesToSave = []string{"norm_f"}
			dirs[i], _ = saved(t, r, load(t, base), c, probe(m, r))
			w := lora.Term{Directory: openDir(t, dirs[i]), Weight: 1}
			one, _ := mergeDirs(t, base, w)
			alone = append(alone, openTensors(t, one))
			w.Weight = shares[i]
			weighted = append(weighted, w)
		}
		both, _ := mergeDirs(t, base, weighted...)
		got, old := openTensors(t, both), openTensors(t, base)
		for _, name := range old.Names() {
			want := floats(t, old, name)
			for i, file := range alone {
				start := floats(t, old, name)
				for k, x := range floats(t, file, name) {
					want[k] += float32(shares[i]) * (x - start[k])
				}
			}
			near(t, name, floats(t, got, name), want, 1e-5, 1e-5)
		}
	}
}

// TestSwitching switches between several adapters of one model.
func TestSwitching(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	m := tiny(t, r)
	base, ids := t.TempDir(), probe(m, r)
	if err := m.Save(base, mamba.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	plain := directLogits(t, m, ids)
	var adapters []*lora.Adapter
	var want [][]float32
	for range 3 {
		c := randomConfig(r, m)
		c.InitLoraWeights, c.Bias, c.ModulesToSave = lora.InitTrue, lora.BiasAll, []string{"lm_head"}
		c.TargetModules, c.LayersToTransform = lora.Targets{Names: []string{"in_proj", "embeddings"}}, nil
		dir, logits := saved(t, r, load(t, base), c, ids)
		a, err := openDir(t, dir).Load(m)
		if err != nil {
			t.Fatal(err)
		}
		adapters, want = append(adapters, a), append(want, logits)
	}
	for _, i := range []int{2, 0, 1, 0} {
		if err := adapters[i].Enable(); err != nil {
			t.Fatal(err)
		}
		near(t, "switched to another adapter", directLogits(t, m, ids), want[i], mergedLogits, mergedLogits)
		for _, s := range m.Slots() {
			s.Weight().PackOnly()
		}
		adapters[i].Invalidate()
		near(t, "with packed weights", directLogits(t, m, ids), want[i], mergedLogits, mergedLogits)
		if err := adapters[(i+1)%3].Enable(); err == nil {
			t.Error("a second adapter was enabled next to the first")
		}
		adapters[i].Disable()
		near(t, "base between adapters", directLogits(t, m, ids), plain, 0, 0)
	}
}

// TestSpellings reads adapters with tensor names from all versions of PEFT.
func TestSpellings(t *testing.T) {
	from := filepath.Join("testdata", "golden", "seed_recipe")
	want := openTensors(t, filepath.Join(from, "forward.safetensors"))
	for name, rename := range map[string]func(string) string{
		"with the adapter's name": func(n string) string {
			n = strings.Replace(n, ".lora_A.weight", ".lora_A.default.weight", 1)
			n = strings.Replace(n, ".lora_B.weight", ".lora_B.default.weight", 1)
			if strings.Contains(n, "lora_embedding") {
				n += ".default"
			}
			return n
		},
		"without prefix":   func(n string) string { return strings.TrimPrefix(n, "base_model.model.") },
		"without backbone": func(n string) string { return strings.Replace(n, "backbone.", "", 1) },
		"one more parent":  func(n string) string { return strings.Replace(n, "backbone.", "wrapped.backbone.", 1) },
		"wrapped parents":  func(n string) string { return strings.Replace(n, ".mixer.", ".mixer.base_layer.", 1) },
	} {
		dir := rewrite(t, filepath.Join(from, "adapter"), rename, nil)
		m := model(t, "base")
		if _, err := lora.Load(dir, m); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		compareDirect(t, m, want)
		merged, _ := mergeDirs(t, filepath.Join("testdata", "models", "base"), lora.Term{Directory: openDir(t, dir), Weight: 1})
		compareDirect(t, load(t, merged), want)
	}
}

// TestBaseWithoutBackbone merges into a base whose tensor names have no common prefix, as in models without a head.
func TestBaseWithoutBackbone(t *testing.T) {
	from, base := filepath.Join("testdata", "golden", "seed_recipe"), t.TempDir()
	copyFile(t, filepath.Join("testdata", "models", "base", mamba.ConfigFile), filepath.Join(base, mamba.ConfigFile))
	file := openTensors(t, filepath.Join("testdata", "models", "base"))
	var sources []weights.Entry
	for _, name := range file.Names() {
		x, _ := file.Tensor(name)
		sources = append(sources, weights.FromTensor(strings.TrimPrefix(name, "backbone."), x, x.DType))
	}
	if err := weights.SaveShards(base, sources, nil, 0); err != nil {
		t.Fatal(err)
	}
	merged, plan := mergeDirs(t, base, lora.Term{Directory: openDir(t, filepath.Join(from, "adapter")), Weight: 1})
	if !plan.Untied {
		t.Error("the head stayed tied to the adapted table")
	}
	compareDirect(t, load(t, merged), openTensors(t, filepath.Join(from, "forward.safetensors")))
}

// TestSaveFails checks that a save that cannot place a file changes nothing.
func TestSaveFails(t *testing.T) {
	m := model(t, "base")
	a, err := lora.Load(filepath.Join("testdata", "golden", "linear_only", "adapter"), m)
	if err != nil {
		t.Fatal(err)
	}
	for _, blocked := range []string{lora.WeightsFile, lora.ConfigFile} {
		dir := t.TempDir()
		if err := a.Save(dir, lora.SaveOptions{}); err != nil {
			t.Fatal(err)
		}
		before := map[string][]byte{}
		for _, name := range []string{lora.WeightsFile, lora.ConfigFile} {
			if before[name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		// A file cannot replace a directory that is not empty.
		if err := os.Remove(filepath.Join(dir, blocked)); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(dir, blocked, "x"), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := a.Save(dir, lora.SaveOptions{}); err == nil {
			t.Errorf("saved over %s, which is a directory", blocked)
		}
		other := map[string]string{lora.WeightsFile: lora.ConfigFile, lora.ConfigFile: lora.WeightsFile}[blocked]
		if after, err := os.ReadFile(filepath.Join(dir, other)); err != nil || !bytes.Equal(after, before[other]) {
			t.Errorf("%s blocked: %s has changed, %v", blocked, other, err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
			t.Errorf("%s blocked: %v is left, %v", blocked, entries, err)
		}
	}
}

// rewrite copies an adapter directory, renames its tensors, and adds others.
func rewrite(t *testing.T, from string, rename func(string) string, add []weights.Entry) string {
	t.Helper()
	dir := t.TempDir()
	copyFile(t, filepath.Join(from, lora.ConfigFile), filepath.Join(dir, lora.ConfigFile))
	file := openTensors(t, filepath.Join(from, lora.WeightsFile))
	sources := slices.Clone(add)
	for _, name := range file.Names() {
		x, _ := file.Tensor(name)
		if rename != nil {
			name = rename(name)
		}
		sources = append(sources, weights.FromTensor(name, x, x.DType))
	}
	if err := weights.Save(filepath.Join(dir, lora.WeightsFile), sources, nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestSavedTablesAndHeads reads the table and the head that PEFT saves along with their adapters. Copies of the base
// are ignored. In PEFT, any other replaces the one weight of a tied table and head.
func TestSavedTablesAndHeads(t *testing.T) {
	from, base := filepath.Join("testdata", "golden", "seed_recipe", "adapter"), filepath.Join("testdata", "models", "base")
	table := floats(t, openTensors(t, base), tied.Table)
	source := func(name string, v []float32) weights.Entry {
		return weights.FromFloat32s(name, []int{300, 64}, v, weights.F32)
	}
	other := slices.Clone(table)
	for i := range other {
		other[i] *= 1.5
	}
	plain := model(t, "base")
	if _, err := lora.Load(from, plain); err != nil {
		t.Fatal(err)
	}
	ids := [][]int{{1, 2, 3, 4, 5}}
	want := directLogits(t, plain, ids)
	for _, c := range []struct {
		name string
		add  weights.Entry
		same bool
		tied bool
	}{
		{"copy of the table", source("base_model.model.backbone.embeddings.base_layer.weight", table), true, true},
		{"copy as the head", source("base_model.model.lm_head.base_layer.weight", table), true, true},
		{"another table", source("base_model.model.backbone.embeddings.weight", other), false, true},
		{"another head", source("base_model.model.lm_head.weight", other), false, true},
	} {
		dir := rewrite(t, from, nil, []weights.Entry{c.add})
		m := load(t, base)
		a, err := lora.Load(dir, m)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		got := directLogits(t, m, ids)
		if slices.Equal(got, want) != c.same {
			t.Errorf("%s: same logits as without it: %v, want %v", c.name, !c.same, c.same)
		}
		if m.Tied() != c.tied {
			t.Errorf("%s: tied %v, want %v", c.name, m.Tied(), c.tied)
		}
		merged, plan := mergeDirs(t, base, lora.Term{Directory: openDir(t, dir), Weight: 1})
		near(t, c.name, directLogits(t, load(t, merged), ids), got, mergedLogits, mergedLogits)
		if !plan.Untied {
			t.Errorf("%s: the table was adapted, but the head stayed tied", c.name)
		}
		if err := a.Merge(); err != nil {
			t.Fatal(err)
		}
		near(t, c.name+", merged in memory", directLogits(t, m, ids), got, mergedLogits, mergedLogits)
	}
}

// TestSavedTiedTables reads the table and the head that PEFT saves after resizing a model in which they are tied, with an
// adapter of neither: they stay tied.
func TestSavedTiedTables(t *testing.T) {
	base := filepath.Join("testdata", "models", "base")
	table := floats(t, openTensors(t, base), tied.Table)
	for i := range table {
		table[i] *= 1.5
	}
	var copies []weights.Entry
	for _, name := range []string{"backbone.embeddings", "lm_head"} {
		copies = append(copies, weights.FromFloat32s("base_model.model."+name+".weight", []int{300, 64}, table, weights.F32))
	}
	dir := rewrite(t, filepath.Join("testdata", "golden", "linear_only", "adapter"), nil, copies)
	m := load(t, base)
	if _, err := lora.Load(dir, m); err != nil {
		t.Fatal(err)
	}
	if !m.Tied() || !slices.Equal(m.Embeddings.Weight.Float32s(), table) {
		t.Errorf("the head is tied: %v; the table is not that of the file", m.Tied())
	}
	merged, plan := mergeDirs(t, base, lora.Term{Directory: openDir(t, dir), Weight: 1})
	ids := [][]int{{1, 2, 3, 4, 5}}
	near(t, "merged", directLogits(t, load(t, merged), ids), directLogits(t, m, ids), mergedLogits, mergedLogits)
	if plan.Untied {
		t.Error("merging unties the head")
	}
}

// TestMergeFiles_adaptedCopies merges DoRA adapters on the table and the head along with the copies of both that PEFT
// saves: the adapters change the copies.
func TestMergeFiles_adaptedCopies(t *testing.T) {
	base, r := filepath.Join("testdata", "models", "base"), rand.New(rand.NewPCG(4, 2))
	m, c := load(t, base), lora.Default()
	c.TargetModules, c.UseDora = lora.Targets{Names: []string{"embeddings", "lm_head"}}, true
	ids := probe(m, r)
	plain, _ := saved(t, r, m, c, ids)
	table := floats(t, openTensors(t, base), tied.Table)
	for i := range table {
		table[i] += 0.05 * float32(r.NormFloat64())
	}
	var copies []weights.Entry
	for _, name := range []string{"backbone.embeddings", "lm_head"} {
		copies = append(copies, weights.FromFloat32s("base_model.model."+name+".base_layer.weight", []int{300, 64}, table, weights.F32))
	}
	dir := rewrite(t, plain, nil, copies)
	adapted := load(t, base)
	if _, err := lora.Load(dir, adapted); err != nil {
		t.Fatal(err)
	}
	merged, _ := mergeDirs(t, base, lora.Term{Directory: openDir(t, dir), Weight: 1})
	near(t, "merged", directLogits(t, load(t, merged), ids), directLogits(t, adapted, ids), mergedLogits, mergedLogits)
}

// TestAdapterOnParameter checks that an adapter on the parameter A_log, as created by PEFT's target_parameters, is
// folded into the parameter.
func TestAdapterOnParameter(t *testing.T) {
	base := filepath.Join("testdata", "models", "base")
	m := load(t, base)
	a := m.Layers[0].Mixer.(*mamba.Mamba1).ALog
	e, n, r := a.Shape()[0], a.Shape()[1], 2
	rng := rand.New(rand.NewPCG(1, 7))
	values := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(rng.NormFloat64())
		}
		return v
	}
	A, B := values(r*n), values(e*r)
	want := slices.Clone(a.Float32s())
	for i := range e {
		for j := range n {
			for k := range r {
				want[i*n+j] += 3 * B[i*r+k] * A[k*n+j]
			}
		}
	}
	dir := t.TempDir()
	if err := weights.Save(filepath.Join(dir, lora.WeightsFile), []weights.Entry{
		weights.FromFloat32s("base_model.model.backbone.layers.0.mixer.lora_A.weight", []int{r, n}, A, weights.F32),
		weights.FromFloat32s("base_model.model.backbone.layers.0.mixer.lora_B.weight", []int{e, r}, B, weights.F32),
	}, nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []map[string]any{
		{"r": r, "lora_alpha": 6, "target_parameters": []string{"mixer.A_log"}},
		{"r": r, "lora_alpha": 6, "target_parameters": []string{"A_log"}},
		{"r": 1, "rank_pattern": map[string]int{"A_log": r}, "alpha_pattern": map[string]int{"A_log": 6, "mixer": 7}, "target_parameters": []string{"mixer.A_log"}},
	} {
		c["peft_type"] = "LORA"
		writeConfig(t, dir, c)
		adapted, err := lora.Load(dir, m)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "A_log", a.Float32s(), want, 1e-5, 1e-6)
		if err := adapted.Train(); err == nil {
			t.Error("an adapter on a parameter was made trainable")
		}
		adapted.Disable()
		merged, _ := mergeDirs(t, base, lora.Term{Directory: openDir(t, dir), Weight: 1})
		near(t, "merged A_log", floats(t, openTensors(t, merged), a.Name), want, 1e-5, 1e-6)
	}
}

func writeConfig(t *testing.T, dir string, c map[string]any) {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, lora.ConfigFile), b, 0o666); err != nil {
		t.Fatal(err)
	}
}

// TestRefusals checks that unsupported contents of an adapter are errors and never ignored.
func TestRefusals(t *testing.T) {
	from := filepath.Join("testdata", "golden", "linear_only", "adapter")
	extra := func(name string, shape ...int) []weights.Entry {
		n := 1
		for _, d := range shape {
			n *= d
		}
		return []weights.Entry{weights.FromFloat32s(name, shape, make([]float32, n), weights.F32)}
	}
	for name, c := range map[string]struct {
		add    []weights.Entry
		rename func(string) string
		config map[string]any
		want   string
	}{
		"unknown module": {rename: func(n string) string { return strings.Replace(n, "x_proj", "q_proj", 1) },
			config: map[string]any{"target_modules": []string{"in_proj", "q_proj"}}, want: "no such"},
		"unknown parameter": {add: extra("base_model.model.backbone.bell.weight", 3), config: map[string]any{"modules_to_save": []string{"bell"}}, want: "no such"},
		"unknown part":      {add: extra("base_model.model.lm_head.lora_C.weight", 3, 3), want: "not a known part of an adapter"},
		"bias of B":         {add: extra("base_model.model.lm_head.lora_B.bias", 3), want: "lora_bias"},
		"trainable tokens":  {add: extra("base_model.model.backbone.embeddings.token_adapter.trainable_tokens_delta", 1, 64), want: "trainable tokens"},
		"half an adapter":   {add: extra("base_model.model.lm_head.lora_A.weight", 4, 64), want: "A or B is missing"},
		"two adapters":      {add: append(extra("base_model.model.lm_head.lora_A.x.weight", 4, 64), extra("base_model.model.lm_head.lora_B.y.weight", 300, 4)...), want: `belongs to adapter "y"`},
		"wrong shape": {add: append(extra("base_model.model.lm_head.lora_A.weight", 4, 63), extra("base_model.model.lm_head.lora_B.weight", 300, 4)...),
			config: map[string]any{"target_modules": []string{"in_proj", "x_proj", "lm_head"}}, want: "[4 63]"},
		"shape of a whole":            {add: extra("base_model.model.backbone.norm_f.weight", 63), config: map[string]any{"modules_to_save": []string{"norm_f"}}, want: "[63]"},
		"rank of another":             {config: map[string]any{"r": 5}, want: "have rank 4, but adapter_config.json has 5"},
		"another method":              {config: map[string]any{"peft_type": "IA3"}, want: `"IA3" is not supported`},
		"a changed base":              {config: map[string]any{"init_lora_weights": "olora"}, want: "olora changes the base's weights"},
		"a missing magnitude":         {config: map[string]any{"use_dora": true}, want: "the magnitude vector is missing"},
		"a feature of other programs": {config: map[string]any{"use_bdlora": map[string]any{"x": 1}}, want: "use_bdlora"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := rewrite(t, from, c.rename, c.add)
			if c.config != nil {
				config := map[string]any{"peft_type": "LORA", "r": 4, "lora_alpha": 32, "target_modules": []string{"in_proj", "x_proj"}}
				for k, v := range c.config {
					config[k] = v
				}
				writeConfig(t, dir, config)
			}
			m := model(t, "base")
			if _, err := lora.Load(dir, m); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("loading: got error %v, want one with %q", err, c.want)
			}
			for _, s := range m.Slots() {
				if s.LowRank() != nil {
					t.Errorf("%s: has an adapter after the error", s.Path)
				}
			}
			d, err := lora.Open(dir)
			if err == nil {
				defer d.Close()
				_, err = lora.MergeFiles(openTensors(t, filepath.Join("testdata", "models", "base")), lora.MergeOptions{Tie: tied}, lora.Term{Directory: d, Weight: 1})
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("merging: got error %v, want one with %q", err, c.want)
			}
		})
	}
}

// TestFingerprint checks that an adapter recognizes the weights that it was trained on, in any file format.
func TestFingerprint(t *testing.T) {
	base := filepath.Join("testdata", "models", "base")
	one, err := lora.Fingerprint(openTensors(t, base))
	if err != nil {
		t.Fatal(err)
	}
	m := load(t, base)
	sharded := t.TempDir()
	if err := m.Save(sharded, mamba.SaveOptions{ShardBytes: 50_000}); err != nil {
		t.Fatal(err)
	}
	if again, err := lora.Fingerprint(openTensors(t, sharded)); err != nil || again != one {
		t.Errorf("the fingerprint of the sharded model is %s, want %s (%v)", again, one, err)
	}
	a, err := lora.Inject(m, lora.Default(), rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	a.Base = one
	dir := t.TempDir()
	if err := a.Save(dir, lora.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	m.NormF.Weight.Float32s()[0] += 1e-6
	other := t.TempDir()
	if err := m.Save(other, mamba.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	two, err := lora.Fingerprint(openTensors(t, other))
	if err != nil {
		t.Fatal(err)
	}
	d := openDir(t, dir)
	if err := d.CheckBase(one); err != nil {
		t.Error(err)
	}
	if err := d.CheckBase(two); err == nil || !strings.Contains(err.Error(), "was trained on different weights") {
		t.Errorf("a different base is accepted: %v", err)
	}
}

// TestGGUF checks that A and B in the GGUF file are as llama.cpp uses them: alpha/r·B·A is the change of the weight,
// and the A of the table has one row per token.
func TestGGUF(t *testing.T) {
	for _, name := range []string{"variant_untied", "patterns", "rslora", "falcon/seed_recipe", "mamba2/patterns"} {
		d := openDir(t, filepath.Join("testdata", "golden", name, "adapter"))
		path := filepath.Join(t.TempDir(), "adapter.gguf")
		sizes, err := mamba.LoadConfig(modelDir(goldenCases[name]))
		if err != nil {
			t.Fatal(err)
		}
		tie := lora.Tie{}
		if sizes.TieWordEmbeddings {
			tie = tied
		}
		architecture, _ := sizes.GGUFArchitecture() // some bases have biases, which do not matter for A and B
		tensors, err := d.WriteGGUF(path, architecture, tie)
		if name == "rslora" {
			if err == nil || !strings.Contains(err.Error(), "backbone.embeddings: the head is tied") {
				t.Errorf("%s: got %v, want a refusal for the tied head", name, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		f := readGGUF(t, path)
		if f.text["general.type"] != "adapter" || f.text["adapter.type"] != "lora" || f.text["general.architecture"] != architecture {
			t.Errorf("%s: keys %v", name, f.text)
		}
		base := openTensors(t, modelDir(goldenCases[name]))
		merged := openTensors(t, filepath.Join("testdata", "golden", name, "merged.safetensors"))
		for _, weight := range merged.Names() {
			x, _ := merged.Tensor(weight)
			change := f.change(t, ggufNames.Replace(weight), x.Shape)
			old := floats(t, base, weight)
			for i, w := range floats(t, merged, weight) {
				change[i] -= w - old[i]
			}
			near(t, name+" "+weight, change, make([]float32, len(change)), 2e-6, 0)
		}
		if len(f.tensors) != 2*len(merged.Names()) || tensors != len(f.tensors) {
			t.Errorf("%s: %d tensors, %d reported, want A and B of %d", name, len(f.tensors), tensors, len(merged.Names()))
		}
	}
}

var ggufNames = strings.NewReplacer("backbone.embeddings", "token_embd", "lm_head", "output", "backbone.layers", "blk", "mixer.in_proj", "ssm_in",
	"mixer.x_proj", "ssm_x", "mixer.dt_proj", "ssm_dt", "mixer.out_proj", "ssm_out")

// ggufFile is a GGUF file as llama.cpp reads it: the fastest dimension comes first.
type ggufFile struct {
	text    map[string]string
	alpha   float32
	tensors map[string]ggufTensor
}

type ggufTensor struct {
	ne     [2]int
	values []float32
}

// change multiplies the two tensors of a weight.
func (f ggufFile) change(t *testing.T, name string, shape []int) []float32 {
	t.Helper()
	a, b := f.tensors[name+".lora_a"], f.tensors[name+".lora_b"]
	r := b.ne[0]
	d := make([]float32, shape[0]*shape[1])
	for i := range shape[0] {
		for j := range shape[1] {
			for k := range r {
				if name == "token_embd.weight" {
					d[i*shape[1]+j] += f.alpha / float32(r) * a.values[i*a.ne[0]+k] * b.values[j*r+k]
				} else {
					d[i*shape[1]+j] += f.alpha / float32(r) * b.values[i*r+k] * a.values[k*a.ne[0]+j]
				}
			}
		}
	}
	return d
}

func readGGUF(t *testing.T, path string) ggufFile {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	u32 := func() uint32 { at += 4; return binary.LittleEndian.Uint32(b[at-4:]) }
	u64 := func() int { at += 8; return int(binary.LittleEndian.Uint64(b[at-8:])) }
	str := func() string { n := u64(); at += n; return string(b[at-n : at]) }
	if string(b[:4]) != "GGUF" {
		t.Fatalf("%s: no GGUF file", path)
	}
	at = 4
	if v := u32(); v != 3 {
		t.Fatalf("%s: version %d", path, v)
	}
	tensors, keys := u64(), u64()
	f := ggufFile{text: map[string]string{}, tensors: map[string]ggufTensor{}}
	for range keys {
		switch key := str(); u32() {
		case 8:
			f.text[key] = str()
		case 6:
			f.alpha = math.Float32frombits(u32())
		}
	}
	type place struct {
		name   string
		ne     [2]int
		offset int
	}
	var places []place
	for range tensors {
		p := place{name: str()}
		if dims := u32(); dims != 2 {
			t.Fatalf("%s: %d dimensions", p.name, dims)
		}
		p.ne = [2]int{u64(), u64()}
		if kind := u32(); kind != 0 {
			t.Fatalf("%s: type %d", p.name, kind)
		}
		p.offset = u64()
		places = append(places, p)
	}
	data := (at + 31) / 32 * 32
	for _, p := range places {
		v := make([]float32, p.ne[0]*p.ne[1])
		for i := range v {
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[data+p.offset+4*i:]))
		}
		f.tensors[p.name] = ggufTensor{p.ne, v}
	}
	return f
}

// TestNamesInFile checks that tensors have PEFT's names and shapes. Those that PEFT has no name for have their name
// in the base.
func TestNamesInFile(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	m := tiny(t, r)
	c := lora.Default()
	c.R, c.UseDora, c.Bias = 2, true, lora.BiasAll
	c.TargetModules = lora.Targets{Names: []string{"dt_proj", "embeddings", "in_proj.z"}}
	c.TargetParameters, c.ModulesToSave, c.LayersToTransform = []string{"layers.1.mixer.A_log", "layers.1.mixer.D"}, []string{"norm_f"}, nil
	a, err := lora.Inject(m, c, r)
	if err != nil {
		t.Fatal(err)
	}
	stir(a, r)
	dir := t.TempDir()
	if err := a.Save(dir, lora.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	h, d, v, rank := m.Config.HiddenSize, m.Config.IntermediateSize, m.Config.VocabSize, m.Config.TimeStepRank
	want := map[string][]int{
		"backbone.embeddings.lora_embedding_A": {2, v}, "backbone.embeddings.lora_embedding_B": {h, 2}, "backbone.embeddings.lora_magnitude_vector": {h},
		"backbone.norm_f.weight": {h}, "backbone.layers.1.mixer.A_log": {d, m.Config.StateSize}, "backbone.layers.1.mixer.D": {d},
	}
	for _, layer := range []string{"backbone.layers.0.mixer.", "backbone.layers.1.mixer."} {
		for name, shape := range map[string][]int{
			"dt_proj.lora_A.weight": {2, rank}, "dt_proj.lora_B.weight": {d, 2}, "dt_proj.lora_magnitude_vector": {d}, "dt_proj.base_layer.bias": {d},
			"in_proj.lora_A.weight": {2, h}, "in_proj.lora_B.weight": {2 * d, 2}, "in_proj.lora_magnitude_vector": {2 * d}, "conv1d.bias": {d},
		} {
			want[layer+name] = shape
		}
		if m.Config.UseBias {
			want[layer+"in_proj.base_layer.bias"], want[layer+"out_proj.bias"] = []int{2 * d}, []int{h}
		}
	}
	file := openTensors(t, filepath.Join(dir, lora.WeightsFile))
	for _, name := range file.Names() {
		x, _ := file.Tensor(name)
		key := strings.TrimPrefix(name, "base_model.model.")
		if !slices.Equal(x.Shape, want[key]) {
			t.Errorf("%s: is %v, want %v", name, x.Shape, want[key])
		}
		delete(want, key)
	}
	for name := range want {
		t.Errorf("%s: is missing", name)
	}
	b := floats(t, file, "base_model.model.backbone.layers.0.mixer.in_proj.lora_B.weight")
	if slices.ContainsFunc(b[:2*d], func(x float32) bool { return x != 0 }) || !slices.ContainsFunc(b[2*d:], func(x float32) bool { return x != 0 }) {
		t.Error("B of a row group is nonzero outside it, or zero inside")
	}
}
