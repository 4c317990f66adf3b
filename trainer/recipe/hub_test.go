package recipe

import (
	"slices"
	"testing"
)

// TestModelFiles: of the forms in which a repository has a model, one is fetched, and it is enough.
func TestModelFiles(t *testing.T) {
	for _, c := range []struct{ files, want []string }{
		{[]string{"config.json", "model.safetensors", "pytorch_model.bin", "onnx/model.onnx", "README.md"}, []string{"config.json", "model.safetensors"}},
		{[]string{"config.json", "pytorch_model.bin"}, []string{"config.json", "pytorch_model.bin"}},
		{
			[]string{"config.json", "consolidated.safetensors", "params.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "tokenizer.json"},
			[]string{"config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "tokenizer.json"},
		},
		{[]string{"consolidated.safetensors", "params.json", "tokenizer.model.v3"}, []string{"consolidated.safetensors", "params.json"}},
	} {
		fetched := preferSafetensors(slices.DeleteFunc(slices.Clone(c.files), func(name string) bool { return !isModelFile(name) }))
		if !slices.Equal(fetched, c.want) || !isWholeModel(fetched) {
			t.Errorf("of %v fetched %v, whole: %v, want %v", c.files, fetched, isWholeModel(fetched), c.want)
		}
	}
}
