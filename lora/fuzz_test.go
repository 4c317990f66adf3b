package lora

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzParsePeft checks that no settings file crashes the parser, and that whatever is read can be written.
func FuzzParsePeft(f *testing.F) {
	for _, name := range []string{"seed_recipe", "patterns", "some_layers", "dora"} {
		b, err := os.ReadFile(filepath.Join("testdata", "golden", name, "adapter", ConfigFile))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"peft_type":"LORA","target_modules":"(","rank_pattern":{"(":1},"layers_to_transform":1e3}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePeft(b)
		if err != nil {
			return
		}
		c := p.config()
		c.Validate()
		if s, err := c.strengths(); err == nil {
			s.of("backbone.layers.0.mixer.in_proj")
		}
		if _, err := json.Marshal(c); err != nil && !strings.Contains(err.Error(), "unsupported value") {
			t.Fatal(err)
		}
	})
}

// FuzzParseKey checks that a tensor name is parsed or rejected.
func FuzzParseKey(f *testing.F) {
	for _, name := range []string{
		"base_model.model.backbone.layers.0.mixer.in_proj.lora_A.default.weight", "base_model.model.lm_head.modules_to_save.default.weight",
		"base_model.model.backbone.embeddings.lora_embedding_B", "a.base_layer.bias", "lora_A", "", ".", "x.lora_B.bias",
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		k := parseKey(name)
		if k.fault == "" && k.part == "" && strings.Contains(name, ".lora_A.") {
			t.Errorf("%q is read as the parameter %q", name, k.path)
		}
	})
}
