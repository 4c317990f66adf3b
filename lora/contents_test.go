package lora_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mambatrain/lora"
	"mambatrain/nn/weights"
)

// changeConfig copies the settings of the adapter in from to dir, with changes.
func changeConfig(t *testing.T, from, dir string, changes map[string]any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(from, lora.ConfigFile))
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	maps.Copy(c, changes)
	writeConfig(t, dir, c)
}

// TestContents checks that adapters whose settings and tensors contradict each other are rejected by loading and by
// merging, and that settings that PEFT ignores are ignored.
func TestContents(t *testing.T) {
	const (
		linear, layers = "linear_only", "some_layers" // in_proj and x_proj; in_proj and out_proj of layers 0 and 2
		first          = "base_model.model.backbone.layers.0."
	)
	names := func(list ...string) []string { return list }
	zeros := func(name string, n int) []weights.Entry {
		return []weights.Entry{weights.FromFloat32s(first+name, []int{n}, make([]float32, n), weights.F32)}
	}
	var biases []weights.Entry // of Mamba-2, as PEFT saves them
	for layer := range 3 {
		for end, n := range map[string]int{"dt_bias": 5, "conv1d.bias": 112} {
			name := fmt.Sprintf("base_model.model.backbone.layers.%d.mixer.%s", layer, end)
			biases = append(biases, weights.FromFloat32s(name, []int{n}, make([]float32, n), weights.F32))
		}
	}
	var tables []weights.Entry // trained in full
	for _, name := range names("backbone.embeddings", "lm_head") {
		tables = append(tables, weights.FromFloat32s("base_model.model."+name+".weight", []int{300, 64}, make([]float32, 300*64), weights.F32))
	}
	for what, c := range map[string]struct {
		from   string
		config map[string]any
		add    []weights.Entry
		want   string // substring of the error; "" for none
	}{
		"target with more tensors": {linear, map[string]any{"target_modules": names("in_proj")}, nil,
			"it has tensors for backbone.layers.0.mixer.x_proj, backbone.layers.1.mixer.x_proj, backbone.layers.2.mixer.x_proj, which target_modules [in_proj] excludes"},
		"no target":                  {linear, map[string]any{"target_modules": []string{}}, nil, "which target_modules [] excludes"},
		"target without tensors":     {linear, map[string]any{"target_modules": names("in_proj", "x_proj", "out_proj")}, nil, "no tensors for backbone.layers.0.mixer.out_proj"},
		"expression without tensors": {linear, map[string]any{"target_modules": `.*\.(in|x|out)_proj`}, nil, "no tensors for backbone.layers.0.mixer.out_proj"},
		"expression with more":       {linear, map[string]any{"target_modules": `.*\.in_proj`}, nil, "mixer.x_proj"},
		"end of a path":              {linear, map[string]any{"target_modules": "(in|x)_proj"}, nil, "mixer.in_proj"}, // an expression must match the whole path
		"every linear layer":         {linear, map[string]any{"target_modules": "all-linear"}, nil, "no tensors for backbone.layers.0.mixer.dt_proj"},
		"tables are not linear":      {"seed_recipe", map[string]any{"target_modules": "all-linear"}, nil, "backbone.embeddings, which target_modules all-linear excludes"},
		"excluded":                   {linear, map[string]any{"exclude_modules": names("x_proj")}, nil, "which exclude_modules [x_proj] excludes"},
		"excluded layer":             {linear, map[string]any{"exclude_modules": `.*\.1\..*`}, nil, "backbone.layers.1.mixer.in_proj, backbone.layers.1.mixer.x_proj, which exclude_modules"},
		"other layers":               {layers, map[string]any{"layers_to_transform": []int{0, 1}}, nil, "which layers_to_transform [0 1] excludes"},
		"one layer":                  {layers, map[string]any{"layers_to_transform": 2}, nil, "which layers_to_transform [2] excludes"},
		"more layers":                {layers, map[string]any{"layers_to_transform": []int{0, 1, 2}}, nil, "no tensors for backbone.layers.1.mixer.in_proj"},
		"all layers":                 {layers, map[string]any{"layers_to_transform": nil}, nil, "no tensors for backbone.layers.1.mixer.in_proj"},
		"layers of another list":     {layers, map[string]any{"layers_pattern": "h"}, nil, "which layers_to_transform [0 2] of layers_pattern h excludes"},
		"layers of an expression":    {layers, map[string]any{"target_modules": `.*\.(in|out)_proj`}, nil, "layers_to_transform: is valid only"},
		"an odd list":                {layers, map[string]any{"layers_pattern": "(h|layers)"}, nil, "layers_pattern: want a name"},
		"whole, not named":           {linear, nil, zeros("norm.weight", 64), "backbone.layers.0.norm.weight, which modules_to_save [] excludes"},
		"whole, another named":       {linear, map[string]any{"modules_to_save": names("norm_f")}, zeros("norm.weight", 64), "which modules_to_save [norm_f] excludes"},
		"named, not whole":           {linear, map[string]any{"modules_to_save": names("norm_f")}, nil, "no tensors for backbone.norm_f.weight, which modules_to_save [norm_f] includes"},
		"head named, not whole":      {linear, map[string]any{"modules_to_save": names("lm_head")}, nil, "no tensors for lm_head.weight"},
		"a bias of none":             {linear, nil, zeros("mixer.dt_proj.bias", 128), "backbone.layers.0.mixer.dt_proj.bias, which bias: none excludes"},
		"a bias without adapter":     {linear, map[string]any{"bias": "lora_only"}, zeros("mixer.dt_proj.bias", 128), "which bias: lora_only excludes"},
		"a bias without module":      {"mamba2/seed_recipe", nil, zeros("mixer.dt_bias", 5), "backbone.layers.0.mixer.dt_bias, which bias: none excludes"},
		"all biases but some":        {linear, map[string]any{"bias": "all"}, zeros("mixer.dt_proj.bias", 128), "no tensors for backbone.layers.0.mixer.conv1d.bias"},

		"as it was":                   {linear, nil, nil, ""},
		"an expression":               {linear, map[string]any{"target_modules": `.*\.(in|x)_proj`}, nil, ""},
		"null":                        {linear, map[string]any{"target_modules": nil}, nil, ""},
		"a name that does not exist":  {linear, map[string]any{"target_modules": names("in_proj", "x_proj", "q_proj")}, nil, ""},
		"a layer that does not exist": {layers, map[string]any{"layers_to_transform": []int{0, 2, 7}}, nil, ""},
		"layers of the list":          {layers, map[string]any{"layers_pattern": names("h", "layers")}, nil, ""},
		"lora_only of peft":           {linear, map[string]any{"bias": "lora_only"}, nil, ""}, // peft does not write the biases
		"all biases":                  {"mamba2/seed_recipe", map[string]any{"bias": "all"}, biases, ""},
		"targets trained in full":     {linear, map[string]any{"target_modules": names("in_proj", "x_proj", "embeddings", "lm_head"), "modules_to_save": names("embeddings", "lm_head")}, tables, ""},
		"a base that is unchanged":    {linear, map[string]any{"init_lora_weights": "mica"}, nil, ""},
		"fan_in_fan_out":              {linear, map[string]any{"fan_in_fan_out": true}, nil, ""},
		"score":                       {linear, map[string]any{"modules_to_save": names("score", "classifier")}, nil, ""},
	} {
		from := filepath.Join("testdata", "golden", c.from, "adapter")
		dir := rewrite(t, from, nil, c.add)
		changeConfig(t, from, dir, c.config)
		check := func(verb string, err error) {
			if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("%s: %s: got error %v, want one line with %q", what, verb, err, c.want)
			}
		}
		base := goldenCases[c.from]
		_, err := lora.Load(dir, model(t, base))
		check("loading", err)
		d, err := lora.Open(dir)
		if err == nil {
			_, err = lora.MergeFiles(openTensors(t, modelDir(base)), lora.MergeOptions{Tie: tied}, lora.Term{Directory: d, Weight: 1})
			d.Close()
		}
		check("merging", err)
	}
}

// TestWrongKeys checks that an error in adapter_config.json names the key as written in the file.
func TestWrongKeys(t *testing.T) {
	for text, want := range map[string]string{
		`{"peft_type": "LORA", "r": "x"}`:                     "r: want a whole number, got string",
		`{"peft_type": "LORA", "layers_to_transform": "a"}`:   "layers_to_transform: want a list, got string",
		`{"peft_type": "LORA", "target_modules": {"a": 1}}`:   "target_modules: want a list of names",
		`{"peft_type": "LORA", "rank_pattern": {"a": "b"}}`:   "rank_pattern: a: want a whole number, got string",
		`{"peft_type": "LORA", "target_parameters": "A_log"}`: "target_parameters: want a list, got string",
		`{"r": 8}`: "peft_type: is missing",
		`[1]`:      "want an object, got list",
		`{"r": `:   "unexpected end of JSON",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, lora.ConfigFile), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		_, err := lora.Open(dir)
		if err == nil || !strings.HasPrefix(err.Error(), "lora: "+filepath.Join(dir, lora.ConfigFile)+": "+want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one line with %q", text, err, want)
		}
	}
}
