package config

import (
	"maps"
	"os"
	"reflect"
	"strings"
	"testing"

	"mambatrain/internal/fault"
)

// For every shipped configuration, a form filled in from the file composes the same run.
func TestComposeRoundTrip(t *testing.T) {
	t.Chdir("../../../..")
	for _, path := range shipped(t) {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		checkComposed(t, path, raw)
	}
	checkComposed(t, "c.yaml", []byte(minimal+`
memory_limit: 3GiB
lora: {modules_to_save: &a [in_proj, "x, y"], target_modules: *a, rank_pattern: {B.c: 2, a: 1}, init_lora_weights: true, alpha_pattern: {}}
`))
	checkComposed(t, "c.yaml", []byte(`
model: "12"
output_dir: '~'
precision: float32
data:
  train: # two
    - a.jsonl
    - {path: "b: c", weight: 0.5}
  eval: {x: {path: q, weight: 3}, "y.z": [r, s]}
  template: |
    {{.a}}
      - "b"
  csv_delimiter: "	"
train:
  sample_prompts: ["a: b", "yes", "[x]", [{role: user, content: "no\n# <b>"}]]
  lr_scheduler_type: polynomial
  lr_scheduler_kwargs: {power: 2}
  learning_rate: 5.0e-5
lora:
`))
}

func checkComposed(t *testing.T, name string, raw []byte) {
	t.Helper()
	want, err := Load(Source{File: name, Text: raw})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	texts, err := Texts(raw, name)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	composed, err := Compose(texts)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	got, err := Load(Source{File: name, Text: composed})
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %v\n%s", name, err, composed)
	}
	if again, err := Texts(composed, name); err != nil || !maps.Equal(again, texts) {
		t.Errorf("%s: %v became %v, %v", name, texts, again, err)
	}
}

// A composed file is in the order of the reference, and its faults are those that the command line reports, by key.
func TestComposeFaults(t *testing.T) {
	text, err := Compose(map[string]string{
		"model": "m", "output_dir": "o", "data.train": "[a", "train.optim": "adamv", "train.learnin_rate": "1", "seed": "x", "lora": "{}",
		"train.save_steps": "1.5", "data.template": "12",
	})
	const want = "model: m\noutput_dir: o\nseed: x\ndata:\n  template: \"12\"\ntrain:\n  optim: adamv\n  save_steps: 1.5\nlora: {}\n"
	if string(text) != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	var all fault.List
	all.Include("", err)
	_, err = Load(Source{File: "c.yaml", Text: text})
	all.Include("", err)
	for _, want := range []string{
		"data.train: line 1: did not find", "train.learnin_rate: unknown key; did you mean train.learning_rate?", "seed: want a whole number",
		"train.save_steps: want a whole number, got 1.5", "train.optim: must be one of adamw, sgd, lion, adafactor", "data.train: is required",
	} {
		if !strings.Contains(all.Error(), want) {
			t.Errorf("missing %q in\n%v", want, all)
		}
	}
	if len(all) != 6 {
		t.Errorf("%d faults\n%v", len(all), all)
	}
}
