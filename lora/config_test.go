package lora_test

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"mambatrain/lora"
)

// TestFaults checks that all faults are reported, each under its key.
func TestFaults(t *testing.T) {
	c := lora.Config{
		LoraDropout: 1, TargetModules: lora.Targets{Pattern: "("}, ExcludeModules: lora.Targets{Pattern: "all-linear"}, LayersToTransform: lora.Layers{-1},
		RankPattern: lora.Pattern[int]{{Key: "a", Value: 0}, {Key: "[", Value: 1}}, AlphaPattern: lora.Pattern[float64]{{Key: "b", Value: -1}},
		Bias: "some", InitLoraWeights: "olora",
	}
	err := c.Validate()
	for _, want := range []string{
		"r: must be at least 1, got 0", "lora_alpha: must be positive", "lora_dropout: must be at least 0 and below 1", "target_modules: \"(\" is not a regular",
		"exclude_modules: all-linear", "layer numbers start at 0, got -1", "rank_pattern.a: must be", "\"[\" is not", "alpha_pattern.b: must be positive",
		`bias: must be one of none, all, lora_only, got "some"`, "init_lora_weights: must be one of true, gaussian, pissa", "lora_plus_ratio: must be positive",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not contain %s", err, want)
		}
	}
	if err := lora.Default().Validate(); err != nil {
		t.Error(err)
	}
	c = lora.Default()
	if c.R = 1 << 40; c.Validate() == nil { // r times a width would overflow int
		t.Error("r 2^40 is accepted")
	}
}

// TestForms reads settings from JSON, writes them as YAML and JSON, and reads them back, with every form of every
// type.
func TestForms(t *testing.T) {
	c := lora.Default()
	text := `{
"r": 16,
"lora_alpha": 24,
"lora_dropout": 0.05,
"target_modules": ".*\\.(in_proj|x_proj)",
"target_parameters": ["A_log"],
"exclude_modules": ["lm_head"],
"layers_to_transform": 3,
"rank_pattern": {"z": 4, "a.B": 8},
"alpha_pattern": {"x_proj": 1.5},
"bias": "lora_only",
"use_rslora": true,
"init_lora_weights": "gaussian",
"lora_plus_ratio": 4
}`
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	want := lora.Config{
		R: 16, LoraAlpha: 24, LoraDropout: 0.05, TargetModules: lora.Targets{Pattern: `.*\.(in_proj|x_proj)`}, TargetParameters: []string{"A_log"},
		ExcludeModules: lora.Targets{Names: []string{"lm_head"}}, LayersToTransform: lora.Layers{3},
		RankPattern: lora.Pattern[int]{{Key: "z", Value: 4}, {Key: "a.B", Value: 8}}, AlphaPattern: lora.Pattern[float64]{{Key: "x_proj", Value: 1.5}},
		Bias: "lora_only", UseRSLora: true, InitLoraWeights: lora.InitGaussian, ModulesToSave: []string{}, LoraPlusRatio: 4,
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	for _, c := range []lora.Config{c, lora.Default()} {
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var again lora.Config
		if err := json.Unmarshal(b, &again); err != nil {
			t.Fatal(err)
		}
		if len(again.Differences(c)) > 0 || again.InitLoraWeights != c.InitLoraWeights {
			t.Errorf("%s\nreads as %+v", b, again)
		}
	}
	b, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	const inYAML = `r: 16
lora_alpha: 24
lora_dropout: 0.05
target_modules: .*\.(in_proj|x_proj)
target_parameters:
    - A_log
exclude_modules:
    - lm_head
layers_to_transform:
    - 3
rank_pattern:
    z: 4
    a.B: 8
alpha_pattern:
    x_proj: 1.5
bias: lora_only
use_rslora: true
use_dora: false
init_lora_weights: gaussian
modules_to_save: []
initial_state: false
lora_plus_ratio: 4
`
	if string(b) != inYAML {
		t.Errorf("got\n%s\nwant\n%s", b, inYAML)
	}
}

func TestDifferences(t *testing.T) {
	saved, c := lora.Default(), lora.Default()
	saved.TargetModules = lora.Targets{Names: []string{"x_proj", "embeddings", "in_proj", "out_proj"}}
	c.TargetModules = lora.Targets{Names: []string{"out_proj", "in_proj", "embeddings", "x_proj"}}
	saved.LayersToTransform, c.LayersToTransform = lora.Layers{0, 1}, lora.Layers{1, 0}
	c.LoraDropout, c.LoraPlusRatio = 0.5, 3
	if d := c.Differences(saved); len(d) > 0 {
		t.Errorf("the same adapter in another order differs: %v", d)
	}
	c.R, c.UseDora = 4, true
	if d := c.Differences(saved); len(d) != 2 || d[0].Path != "r" || d[1].Path != "use_dora" {
		t.Errorf("got %v, want r and use_dora", d)
	}
}

// TestSettingsAreComplete checks that a change of any setting is detected, except the one that belongs to the
// optimizer.
func TestSettingsAreComplete(t *testing.T) {
	listed := map[string]bool{"lora_plus_ratio": true}
	for _, s := range lora.Default().Settings() {
		listed[s.Key] = true
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[lora.Config]()) {
		if key := f.Tag.Get("yaml"); !listed[key] {
			t.Errorf("%s (%s) is not among the settings", f.Name, key)
		}
	}
}

// TestAdapterConfigKeys checks that the written keys are those known to old versions of PEFT, and no others.
func TestAdapterConfigKeys(t *testing.T) {
	m := model(t, "base")
	a, err := lora.Load(filepath.Join("testdata", "golden", "patterns", "adapter"), m)
	if err != nil {
		t.Fatal(err)
	}
	a.Config.LayersToTransform = lora.Layers{} // as read from a configuration
	dir := t.TempDir()
	if err := a.Save(dir, lora.SaveOptions{BaseModel: "state-spaces/mamba-130m-hf"}); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"alpha_pattern": map[string]any{"x_proj": 40.0}, "base_model_name_or_path": "state-spaces/mamba-130m-hf", "bias": "none", "fan_in_fan_out": false,
		"inference_mode": true, "init_lora_weights": true, "layers_pattern": nil, "layers_to_transform": nil, "lora_alpha": 16.0, "lora_dropout": 0.0,
		"modules_to_save": nil, "peft_type": "LORA", "r": 8.0, "rank_pattern": map[string]any{"in_proj": 4.0}, "revision": nil,
		"target_modules": `.*\.(in_proj|x_proj)$`, "task_type": "CAUSAL_LM", "use_dora": false, "use_rslora": false,
	}
	b, err := os.ReadFile(filepath.Join(dir, lora.ConfigFile))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// TestPathsInPatterns checks that the ranks of single layers are saved under their paths, as every version of PEFT reads
// them.
func TestPathsInPatterns(t *testing.T) {
	m, c, dir := model(t, "base"), lora.Default(), t.TempDir()
	c.TargetModules, c.InitLoraWeights = lora.Targets{Names: []string{"embeddings", "in_proj"}}, lora.InitPissa // which doubles the rank of in_proj
	a, err := lora.Inject(m, c, rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Save(dir, lora.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, lora.ConfigFile))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		R     int            `json:"r"`
		Ranks map[string]int `json:"rank_pattern"`
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if want := map[string]int{"backbone.embeddings": 8}; got.R != 16 || !reflect.DeepEqual(got.Ranks, want) {
		t.Errorf("r %d and rank_pattern %v, want 16 and %v", got.R, got.Ranks, want)
	}
}

// TestCompatibility checks which programs can read which adapters.
func TestCompatibility(t *testing.T) {
	tie := lora.Tie{Head: "lm_head.weight", Table: "backbone.embeddings.weight"}
	for name, want := range map[string][]lora.Support{
		// peft 0.9–0.15, 0.16 and newer, transformers, peft's merge, llama.cpp
		"seed_recipe": {lora.Works, lora.Fails, lora.Works, lora.Fails, lora.Fails},
		"linear_only": {lora.Works, lora.Works, lora.Works, lora.Works, lora.Works},
		"dora":        {lora.Works, lora.Fails, lora.Works, lora.Works, lora.Fails},
	} {
		d := openDir(t, filepath.Join("testdata", "golden", name, "adapter"))
		var got []lora.Support
		for _, v := range d.Compatibility(tie, nil) {
			got = append(got, v.Support)
			if (v.Support == lora.Works) != (v.Why == "" && v.Instead == "") {
				t.Errorf("%s: %+v: a limitation needs a reason and an alternative", name, v)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}
