package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"mambatrain/internal/fault"
	"mambatrain/lora"
	"mambatrain/trainer/recipe"
)

// loadText loads a configuration from YAML text.
func loadText(t *testing.T, text string, sets ...string) (*recipe.Config, error) {
	t.Helper()
	return Load(Source{File: tempFile(t, "c.yaml", text), Sets: sets})
}

const minimal = "model: m\noutput_dir: o\ndata: {train: d.jsonl}\n"

func TestFaultsAreReportedTogether(t *testing.T) {
	_, err := loadText(t, minimal+`
learning_rate: 1
modle: x
train:
  learnin_rate: 1e-3
  save_steps: 1.5
  logging_steps: "10"
  optim: 5
  sample_prompts: [a, 3]
  warmup_ratio: 0.1
lora:
  r: 2.0
  layers_to_transform: [1, x]
  rank_pattern: {a.b.C: 1.5}
  init_lora_weights: [1]
`)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"c.yaml: learning_rate: unknown key; did you mean train.learning_rate?",
		"c.yaml: modle: unknown key; did you mean model?",
		"c.yaml: train.learnin_rate: unknown key; did you mean train.learning_rate?",
		"c.yaml: train.warmup_ratio: unknown key; use train.warmup_steps",
		"c.yaml: train.save_steps: want a whole number, got 1.5",
		`c.yaml: train.logging_steps: want a whole number, got "10"`,
		"c.yaml: train.optim: want text, got 5: put it in quotes",
		"c.yaml: train.sample_prompts[1]: want text, got 3",
		"c.yaml: lora.r: want a whole number, got 2.0",
		`c.yaml: lora.layers_to_transform[1]: want a whole number, got "x"`,
		"c.yaml: lora.rank_pattern: a.b.C: want a whole number, got 1.5",
		"c.yaml: lora.init_lora_weights: want true, gaussian, or pissa, got a list",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("missing %q in:\n%v", want, err)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 12 {
		t.Errorf("%d lines, want 12:\n%v", n, err)
	}
	if !errors.As(err, new(fault.Fault)) {
		t.Errorf("%T contains no fault", err)
	}
}

func TestInvalidValues(t *testing.T) {
	_, err := loadText(t, `
train: {learning_rate: -0.1, early_stopping_patience: 2}
data: {truncation: middle, template: "{{.a}}", messages: m}
precision: bf16
`)
	for _, want := range []string{
		"c.yaml: model: is required", "c.yaml: output_dir: is required", "c.yaml: data.train: is required",
		"c.yaml: train.learning_rate: must be positive, got -0.1", "c.yaml: train.early_stopping_patience: requires evaluation data",
		"c.yaml: data.truncation: must be one of", "c.yaml: data.template: given with messages", "c.yaml: precision: bf16 is for frozen weights",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("missing %q in:\n%v", want, err)
		}
	}
}

var fromFile = regexp.MustCompile(`(?m)^\S+c\.yaml`)

// A misspelled key does not hide an invalid value elsewhere, and an unreadable value causes only one fault.
func TestSyntacticAndSemanticFaultsTogether(t *testing.T) {
	_, err := loadText(t, `
output_dir: o
data: {train: 5, eval: [1], eval_fracton: 0.1}
train: {learning_rate: -0.1, load_best_model_at_end: true, optim: 3}
`, "train.warmup_stps=3", "train.adam_beta1=2")
	const want = `c.yaml: data.eval_fracton: unknown key; did you mean data.eval_fraction?
--set train.warmup_stps=3: unknown key; did you mean train.warmup_steps?
c.yaml: data.train: want a path, an id, or {path: …, weight: …}, got 5
c.yaml: data.eval[0]: want a path, an id, or {path: …, weight: …}, got 1
c.yaml: train.optim: want text, got 3: put it in quotes
c.yaml: model: is required
c.yaml: train.learning_rate: must be positive, got -0.1
--set train.adam_beta1=2: train.adam_beta1: must be at least 0 and below 1, got 2`
	if got := fromFile.ReplaceAllString(fmt.Sprint(err), "c.yaml"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	_, err = loadText(t, minimal+"train: {learning_rate: -1, load_best_model_at_end: true}\n", "data.eval={a: x, b: y}", "train.metric_for_best_model=eval_c_loss")
	for _, want := range []string{"train.learning_rate: must be positive", "train.metric_for_best_model: must be one of eval_a_loss"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("missing %q in:\n%v", want, err)
		}
	}
}

func TestPrecedence(t *testing.T) {
	text := minimal + "seed: 1\nthreads: 1\ntrain: {learning_rate: 1.0e-3, optim: sgd}\n"
	t.Setenv("MAMBA_TRAIN_SEED", "2")
	t.Setenv("MAMBA_TRAIN_THREADS", "2")
	t.Setenv("MAMBA_TRAIN_TRAIN_LEARNING_RATE", "2e-3")
	t.Setenv("MAMBA_TRAIN_MEMORY_LIMIT", "")
	t.Setenv("MAMBA_TRAIN_KERNELS", "generic")
	c, err := loadText(t, text, "seed=3", "data.max_length=3")
	if err != nil {
		t.Fatal(err)
	}
	if c.Seed != 3 || c.Threads != 2 || c.Train.LearningRate != 2e-3 || c.Train.Optim != "sgd" || c.Train.WeightDecay != 0 || c.Data.MaxLength != 3 {
		t.Errorf("got %+v", c)
	}
}

func TestEnvironmentFaults(t *testing.T) {
	t.Setenv("MAMBA_TRAIN_TRAIN_LEARNIG_RATE", "1")
	t.Setenv("MAMBA_TRAIN_SEED", "x")
	_, err := loadText(t, minimal)
	for _, want := range []string{"MAMBA_TRAIN_TRAIN_LEARNIG_RATE: does not correspond to a configuration key; did you mean MAMBA_TRAIN_TRAIN_LEARNING_RATE?", `environment MAMBA_TRAIN_SEED: seed: want a whole number, got "x"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("missing %q in %v", want, err)
		}
	}
}

func TestOptionalSections(t *testing.T) {
	for _, c := range []struct {
		text string
		sets []string
		want bool
	}{
		{"", nil, false},
		{"lora:\n", nil, true},
		{"lora: {}\n", nil, true},
		{"lora: null\n", nil, false},
		{"lora: {r: 4}\n", nil, true},
		{"", []string{"lora.r=4"}, true},
		{"", []string{"lora={}"}, true},
		{"lora: {r: 4}\n", []string{"lora=null"}, false},
	} {
		got, err := loadText(t, minimal+c.text, c.sets...)
		if err != nil {
			t.Fatal(err)
		}
		if (got.LoRA != nil) != c.want {
			t.Errorf("%q %v: lora present is %v", c.text, c.sets, got.LoRA != nil)
		}
	}
}

func TestMapsKeepCaseDotsAndOrder(t *testing.T) {
	c, err := loadText(t, minimal+"lora: {rank_pattern: {Zeta.1: 3, alpha.B: 4}}\ntrain: {lr_scheduler_type: polynomial, lr_scheduler_kwargs: {power: 2}}\n",
		"lora.rank_pattern.layers.0.X_proj=16", "train.lr_scheduler_kwargs.lr_end=1e-6")
	if err != nil {
		t.Fatal(err)
	}
	want := lora.Pattern[int]{{Key: "Zeta.1", Value: 3}, {Key: "alpha.B", Value: 4}, {Key: "layers.0.X_proj", Value: 16}}
	if !reflect.DeepEqual(c.LoRA.RankPattern, want) {
		t.Errorf("got %v, want %v", c.LoRA.RankPattern, want)
	}
	if k := c.Train.LRSchedulerKwargs; k["power"] != 2 || k["lr_end"] != 1e-6 {
		t.Errorf("got %v", k)
	}
}

func TestDataForms(t *testing.T) {
	c, err := loadText(t, "model: m\noutput_dir: o\n", `data.train=[a.parquet, {path: b, weight: 2}]`, `data.eval={short: a, long: [b, c]}`, "memory_limit=1.5GiB")
	if err != nil {
		t.Fatal(err)
	}
	if d := c.Data.Train; len(d) != 2 || d[0].Path != "a.parquet" || d[0].Weight != 1 || d[1].Path != "b" || d[1].Weight != 2 {
		t.Errorf("train: got %v", d)
	}
	if e := c.Data.Eval; len(e) != 2 || e[0].Name != "short" || e[1].Name != "long" || len(e[1].Sources) != 2 {
		t.Errorf("eval: got %v", e)
	}
	if c.MemoryLimit != 3<<29 {
		t.Errorf("memory_limit: got %d", c.MemoryLimit)
	}
}

// Paths in a file, in a variable, or in --set model= are not expanded by a shell.
func TestPathsAreExpanded(t *testing.T) {
	t.Setenv("HOME", "/users/ann")
	t.Setenv("SCRATCH", "/scratch")
	t.Setenv("MAMBA_TRAIN_DATA_CACHE", "~/cache")
	c, err := loadText(t, `
model: ~/m
adapter: $HOME/a
output_dir: ${SCRATCH}/out
data: {train: [~/q.jsonl, {path: $SCRATCH/*.parquet, weight: 2}], eval: {x: "~/e:test"}, template: "~/ $HOME {{.x}}"}
distributed: {library: ~/lib.so}
`, "train.logging_dir=~/logs")
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range [][2]string{
		{c.Model, "/users/ann/m"}, {c.Adapter, "/users/ann/a"}, {c.OutputDir, "/scratch/out"}, {c.Data.Train[0].Path, "/users/ann/q.jsonl"},
		{c.Data.Train[1].Path, "/scratch/*.parquet"}, {c.Data.Eval[0].Sources[0].Path, "/users/ann/e:test"}, {c.Data.Cache, "/users/ann/cache"},
		{c.Train.LoggingDir, "/users/ann/logs"}, {c.Distributed.Library, "/users/ann/lib.so"}, {c.Data.Template, "~/ $HOME {{.x}}"},
	} {
		if got[0] != got[1] {
			t.Errorf("got %s, want %s", got[0], got[1])
		}
	}
}

// The printed configuration reads back as the same configuration.
func TestEffectiveYAMLRoundTrip(t *testing.T) {
	full := minimal + `
memory_limit: 3GiB
data:
  train: [a, {path: b, weight: 0.5}]
  eval: {x: {path: q, weight: 3}, "y.z": [r, s]}
lora:
  target_modules: all-linear
  exclude_modules: [dt_proj]
  rank_pattern: {B.c: 2, a: 1}
  alpha_pattern: {x: 1.5}
  init_lora_weights: pissa
distributed: {timeout: 90s}
train: {sample_prompts: ["a: b", "yes", [{role: system, content: "- x"}, {role: user, content: "no"}]], lr_scheduler_type: cosine_with_min_lr, lr_scheduler_kwargs: {min_lr_rate: 0.1}, learning_rate: 5.0e-5}
`
	full = strings.Replace(full, "data: {train: d.jsonl}\n", "", 1)
	for _, text := range []string{minimal, full} {
		c, err := loadText(t, text)
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again, err := loadText(t, string(out))
		if err != nil {
			t.Fatalf("%v in\n%s", err, out)
		}
		second, _ := again.YAML()
		if !reflect.DeepEqual(c, again) || string(second) != string(out) {
			t.Errorf("changed:\n%s\nbecame\n%s", out, second)
		}
	}
}

func TestBrokenFiles(t *testing.T) {
	for text, want := range map[string]string{
		"model: [":             "c.yaml: ",
		"- a":                  "c.yaml: want a mapping of keys to values, got a list",
		"a: 1\n---\nb: 2":      "contains more than one YAML document",
		"model: a\nmodel: b\n": "c.yaml: model: duplicate key, first set on line 1",
		"train: 3":             "c.yaml: train: want a mapping of keys to values, got 3",
		"seed:\n":              "c.yaml: seed: want a whole number, got nothing",
		"":                     "c.yaml: model: is required",
		"a: 1\nmodel: caf\xe9": "c.yaml: line 2: is not UTF-8",
		"a: 1\n\nb: \x00":      "c.yaml: line 3: contains the control character U+0000",
	} {
		if _, err := loadText(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

// Every key has its own variable.
func TestEnvironmentNamesAreUnique(t *testing.T) {
	seen := map[string]string{}
	for _, k := range Keys() {
		if other, ok := seen[envName(k.Path)]; ok {
			t.Errorf("%s and %s share %s", k.Path, other, envName(k.Path))
		}
		seen[envName(k.Path)] = k.Path
	}
}

// Every alternative name maps to an existing key.
func TestOtherNames(t *testing.T) {
	s := newSchema()
	for name, path := range otherNames {
		if s.settings[path] == nil {
			t.Errorf("%s: there is no key %s", name, path)
		}
	}
	for set, want := range map[string]string{
		"train.lr=1": "train.learning_rate", "lr=1": "train.learning_rate", "lora.alpha=1": "lora.lora_alpha", "lora.rank=1": "lora.r",
		"train.epochs=1": "train.num_train_epochs", "data.text_field=x": "data.dataset_text_field", "lora.lora_target=x": "lora.target_modules",
		"train.batch_size=1": "train.per_device_train_batch_size", "max_seq_length=1": "data.max_length", "train.optimizer=x": "train.optim",
	} {
		_, err := loadText(t, minimal, set)
		if err == nil || !strings.HasSuffix(err.Error(), "did you mean "+want+"?") {
			t.Errorf("%s: got %v, want %s", set, err, want)
		}
	}
}

// Targets may be a single string, and all-linear may be spelled in several ways.
func TestTargets(t *testing.T) {
	for text, want := range map[string]lora.Targets{
		"in_proj": {Names: []string{"in_proj"}}, "in_proj,out_proj": {Names: []string{"in_proj", "out_proj"}},
		"all_linear": {Pattern: "all-linear"}, "[all-linear]": {Pattern: "all-linear"}, "[in_proj]": {Names: []string{"in_proj"}},
		".*proj": {Pattern: ".*proj"},
	} {
		c, err := loadText(t, minimal, "lora.target_modules="+text)
		if err != nil || !reflect.DeepEqual(c.LoRA.TargetModules, want) {
			t.Errorf("%s: %v, %v", text, c, err)
		}
	}
}

// configs/reference.yaml lists every key with its default.
func TestReferenceListsDefaults(t *testing.T) {
	var faults fault.List
	s := newSchema()
	f := s.readFile("../../../../configs/reference.yaml", &faults)
	for _, x := range faults {
		t.Error(x)
	}
	for _, k := range Keys() {
		n, ok := f.nodes[k.Path]
		if !ok {
			t.Errorf("%s is missing", k.Path)
			continue
		}
		var want yaml.Node
		if err := want.Encode(k.Place.Interface()); err != nil {
			t.Fatal(err)
		}
		fresh := newValue(k.Place.Type())
		if err := decode(n, fresh); err != nil {
			t.Errorf("%s: %v", k.Path, err)
		} else if !reflect.DeepEqual(fresh.Interface(), k.Place.Interface()) {
			t.Errorf("%s: reference has %v, default is %v", k.Path, fresh, k.Place)
		}
	}
}

func tempFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
