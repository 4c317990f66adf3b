package recipe

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestInputFiles checks that the files of a model, an adapter, or a tokenizer are found, and not results of earlier
// commands in the same directory.
func TestInputFiles(t *testing.T) {
	outputs := []string{"rows.jsonl", "model.gguf", "state.safetensors", "q-00001-of-00002.gguf", "sub/model.safetensors"}
	tokenizer := []string{"additional_chat_templates/rag.jinja", "chat_template.jinja", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}
	model := append([]string{"config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json", "odd.safetensors"}, tokenizer...)
	adapter := []string{"adapter_config.json", "adapter_model.safetensors", "initial_state.safetensors", "tokenizer.json"}
	for _, c := range []struct{ files, paths, want []string }{
		{slices.Concat(model, outputs), []string{"."}, model},
		{slices.Concat(adapter, outputs), []string{"."}, adapter},
		{[]string{"pytorch_model.bin", "consolidated.safetensors", "params.json", "notes.txt"}, []string{"."}, []string{"pytorch_model.bin", "consolidated.safetensors", "params.json"}},
		{
			slices.Concat([]string{"q-00002-of-00002.gguf", "config.json"}, tokenizer, outputs), []string{"q-00002-of-00002.gguf"},
			slices.Concat([]string{"q-00001-of-00002.gguf", "q-00002-of-00002.gguf"}, tokenizer),
		},
		{[]string{"mine.json", "tokenizer_config.json", "config.json"}, []string{"mine.json", ""}, []string{"mine.json", "tokenizer_config.json"}},
		{model, []string{"", "missing"}, nil},
	} {
		t.Chdir(t.TempDir())
		for _, name := range c.files {
			text := ""
			if name == "model.safetensors.index.json" {
				text = `{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "odd.safetensors"}}`
			}
			if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, path := range InputFiles(c.paths...) {
			got = append(got, filepath.ToSlash(path))
		}
		slices.Sort(got)
		slices.Sort(c.want)
		if got = slices.Compact(got); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %s, want %s", strings.Join(c.paths, ", "), strings.Join(got, ", "), strings.Join(c.want, ", "))
		}
	}
}
