package config

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"mambatrain/configs"
)

// The schema file for editors equals the output of the command and describes every key.
func TestSchemaFile(t *testing.T) {
	want, err := JSONSchema()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../../../configs/schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("configs/schema.json differs from the settings: run go run ./cmd/mamba-train schema > configs/schema.json")
	}
	root, err := schemaOfConfig()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	var walk func(prefix string, s *valueSchema)
	walk = func(prefix string, s *valueSchema) {
		for _, p := range s.Properties {
			if p.schema.Description == "" {
				t.Errorf("%s%s: configs/reference.yaml does not explain it", prefix, p.name)
			}
			if p.schema.Properties != nil && prefix == "" {
				walk(p.name+".", p.schema)
				continue
			}
			if found++; p.schema.Default == nil {
				t.Errorf("%s%s: configs/reference.yaml has no default for it", prefix, p.name)
			}
		}
	}
	walk("", root)
	if keys := len(Keys()); found != keys {
		t.Errorf("%d keys in the schema, want %d", found, keys)
	}
}

// The allowed words of a setting are those listed in the reference.
func TestSchemaWords(t *testing.T) {
	words, n := wordsOfSettings(), 0
	var doc yaml.Node
	if err := yaml.Unmarshal(configs.Reference, &doc); err != nil {
		t.Fatal(err)
	}
	for _, k := range Keys() {
		section, name, nested := strings.Cut(k.Path, ".")
		place := doc.Content[0]
		if nested {
			place = value(place, section)
		} else {
			name = k.Path
		}
		comment := help(place, name)
		for _, w := range words[k.Path] {
			n++
			if !strings.Contains(comment, w) {
				t.Errorf("%s: %s is not in configs/reference.yaml: %s", k.Path, w, comment)
			}
		}
		if strings.Contains(comment, " | ") && len(words[k.Path]) == 0 {
			t.Errorf("%s: the schema does not list the words: %s", k.Path, comment)
		}
	}
	if n < 40 {
		t.Errorf("found %d words", n)
	}
}

// Every shipped configuration refers to the schema and conforms to it, and so does the reference.
func TestShippedConfigurationsConform(t *testing.T) {
	check := schemaValidator(t)
	t.Chdir("../../../..")
	for _, path := range append(shipped(t), "configs/reference.yaml") {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		to, err := filepath.Rel(filepath.Dir(path), "configs/schema.json")
		if err != nil {
			t.Fatal(err)
		}
		if line := "# yaml-language-server: $schema=" + filepath.ToSlash(to) + "\n"; !bytes.HasPrefix(raw, []byte(line)) {
			t.Errorf("%s does not begin with %s", path, line)
		}
		if err := check(string(raw)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// Whatever the reader accepts conforms to the schema, and the schema rejects the same syntactic faults.
func TestSchemaAgreesWithTheReader(t *testing.T) {
	check := schemaValidator(t)
	for _, c := range []struct {
		text  string
		valid bool
	}{
		{"", true},
		{"lora: null", true},
		{"lora: {}", true},
		{"lora: {r: 4, rank_pattern: {a.B: 3}, alpha_pattern: {a: 1.5}, layers_to_transform: [0, 2], init_lora_weights: true}", true},
		{"lora: {target_modules: all-linear, exclude_modules: [dt_proj], init_lora_weights: pissa}", true},
		{"memory_limit: 3GiB", true},
		{"memory_limit: 3000000000", true},
		{"distributed: {timeout: 90s}", true},
		{"distributed: {timeout: 1m30.5s}", true},
		{"data: {eval: {short: a, long: [b, {path: c, weight: 2}]}}", true},
		{"data: {eval: {path: c, weight: 2}}", true},
		{"data: {train: [a, {path: c}]}", true},
		{"train: {sample_prompts: [a, [{role: user, content: b}]], learning_rate: 1e-3, warmup_steps: 5}", true},
		{"train: {lr_scheduler_type: polynomial, lr_scheduler_kwargs: {power: 2}, trainable: [a]}", true},

		{"modle: x", false},
		{"learning_rate: 1", false},
		{"train: {learnin_rate: 1}", false},
		{"train: 3", false},
		{"train: [1]", false},
		{"seed: x", false},
		{"seed:", false},
		{"seed: 1.5", false},
		{"precision: fp32", false},
		{"gradient_checkpointing: maybe", false},
		{"model: 5", false},
		{"model: [a]", false},
		{"memory_limit: much", false},
		{"memory_limit: [1]", false},
		{"train: {save_steps: 1.5}", false},
		{"train: {logging_steps: \"10\"}", false},
		{"train: {optim: 5}", false},
		{"train: {optim: adamv}", false},
		{"train: {lr_scheduler_type: cosin}", false},
		{"train: {lr_scheduler_kwargs: {power: [2]}}", false},
		{"train: {sample_prompts: [a, 3]}", false},
		{"train: {sample_prompts: [[{role: user}]]}", false},
		{"train: {sample_prompts: [[{role: user, content: a, name: b}]]}", false},
		{"train: {sample_prompts: [[]]}", false},
		{"train: {trainable: a}", false},
		{"train: {on_nonfinite: go}", false},
		{"train: {segment_store: tape}", false},
		{"data: {train: 5}", false},
		{"data: {train: [\"\"]}", false},
		{"data: {train: {weight: 2}}", false},
		{"data: {train: {path: a, wait: 2}}", false},
		{"data: {train: {path: a, weight: 0}}", false},
		{"data: {eval: [1]}", false},
		{"data: {eval: {a: {b: c}}}", false},
		{"data: {truncation: middle}", false},
		{"data: {format: xls}", false},
		{"data: {encoding: koi8-r}", false},
		{"lora: {layers_to_transform: [1, x]}", false},
		{"lora: {rank_pattern: {a: 1.5}}", false},
		{"lora: {alpha_pattern: [1]}", false},
		{"lora: {init_lora_weights: [1]}", false},
		{"lora: {init_lora_weights: false}", false},
		{"lora: {bias: some}", false},
		{"lora: {target_modules: 5}", false},
		{"lora: {target_modules: [5]}", false},
		{"distributed: {timeout: soon}", false},
		{"distributed: {reduce: quick}", false},
	} {
		err := check(c.text)
		if (err == nil) != c.valid {
			t.Errorf("schema: %s: %v, want valid %v", c.text, err, c.valid)
		}
		full := c.text
		for key, rest := range map[string]string{"model:": "model: m", "data:": "data: {train: d.jsonl}", "output_dir:": "output_dir: o"} {
			if !strings.HasPrefix(full, key) {
				full += "\n" + rest
			}
		}
		var sets []string
		if c.valid && strings.HasPrefix(c.text, "data: {eval") {
			sets = []string{"data.train=d.jsonl"}
		}
		if _, err := loadText(t, full, sets...); (err == nil) != c.valid {
			t.Errorf("reader: %s: %v, want valid %v", c.text, err, c.valid)
		}
	}
}

// schemaValidator returns a function that checks YAML against the schema.
func schemaValidator(t *testing.T) func(text string) error {
	t.Helper()
	raw, err := JSONSchema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return func(text string) error {
		content := map[string]any{}
		if err := yaml.Unmarshal([]byte(text), &content); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		b, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		return s.Validate(v)
	}
}
