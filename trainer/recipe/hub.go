package recipe

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"mambatrain/data/hub"
	"mambatrain/internal/fault"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/mamba/torchfile"
	"mambatrain/nn/weights"
)

// resolveModel finds a model's directory: a path, or a Hugging Face id that is in the local cache or is fetched. client may
// be nil.
func resolveModel(ctx context.Context, client *hub.Client, name string) (string, error) {
	dir, err := resolve(ctx, client, "model", name, hub.Request{Want: isModelFile, Enough: isWholeModel, Choose: preferSafetensors})
	if err != nil {
		return "", err
	}
	return ggufIn(dir)
}

// ggufIn returns the GGUF file of a directory that has no other model; else the directory.
func ggufIn(dir string) (string, error) {
	files, _ := filepath.Glob(filepath.Join(dir, "*.gguf"))
	if len(files) == 0 || has(dir, mamba.ConfigFile) || has(dir, mamba.ParamsFile) {
		return dir, nil
	}
	files = slices.DeleteFunc(files, func(file string) bool { // one shard stands for all
		shard, _ := filepath.Match("*-[0-9][0-9][0-9][0-9][0-9]-of-*.gguf", filepath.Base(file))
		return shard && !strings.Contains(file, "-00001-of-")
	})
	if len(files) > 1 {
		for i, file := range files {
			files[i] = filepath.Base(file)
		}
		return "", fault.NotFound("model %s: has several GGUF files; name one of them: %s", dir, strings.Join(files, ", "))
	}
	return files[0], nil
}

// resolveAdapter does for adapters what [resolveModel] does for models.
func resolveAdapter(ctx context.Context, client *hub.Client, name string) (string, error) {
	const torch = "adapter_model.bin" // is not read, but recognized
	isWeights := func(file string) bool { return file == lora.WeightsFile || file == torch }
	return resolve(ctx, client, "adapter", name, hub.Request{
		Want: func(file string) bool {
			return file == lora.ConfigFile || isWeights(file) || slices.Contains(tokenizerFiles, file)
		},
		Enough: func(names []string) bool {
			return slices.Contains(names, lora.ConfigFile) && slices.ContainsFunc(names, isWeights)
		},
		Choose: func(names []string) []string {
			whole := slices.Contains(names, lora.WeightsFile)
			return slices.DeleteFunc(names, func(file string) bool { return whole && file == torch })
		},
	})
}

// resolveTokenizer does for tokenizers what [resolveModel] does for models.
func resolveTokenizer(ctx context.Context, client *hub.Client, name string) (string, error) {
	return resolve(ctx, client, "tokenizer", name, hub.Request{
		Want: func(file string) bool {
			return slices.Contains(tokenizerFiles, file) || file == mamba.GenerationConfigFile
		},
		Enough: func(names []string) bool { return slices.Contains(names, tokenizerFiles[0]) },
	})
}

func resolve(ctx context.Context, client *hub.Client, what, name string, r hub.Request) (string, error) {
	if _, err := os.Stat(name); err == nil {
		return name, nil
	}
	if !isRepository(name) {
		missing := "file or directory"
		if what == "model" {
			missing = "directory"
		}
		return "", fault.NotFound("%s %s: no such %s", what, name, missing)
	}
	if client == nil {
		client = hub.New()
	}
	r.Kind, r.ID = hub.Model, name
	dir, err := client.Fetch(ctx, r)
	if err != nil {
		return "", fmt.Errorf("no directory %s; %w", name, err)
	}
	return dir, nil
}

// isRepository reports whether a name may be that of a repository, owner/name.
func isRepository(name string) bool { return hub.IsID(name) && strings.Contains(name, "/") }

// isModelFile reports whether a file of a repository is fetched.
func isModelFile(name string) bool {
	if path.Dir(name) != "." {
		return false
	}
	return slices.Contains(tokenizerFiles, name) || slices.Contains([]string{mamba.ConfigFile, mamba.GenerationConfigFile, mamba.ParamsFile}, name) ||
		isTorchFile(name) || strings.HasSuffix(name, ".safetensors") || name == weights.IndexFile
}

func isTorchFile(name string) bool {
	shard, _ := path.Match("pytorch_model-*-of-*.bin", name)
	return shard || name == torchfile.ModelFile || name == torchfile.IndexFile
}

// isWholeModel reports whether the cached files are a complete model, so that the hub need not be asked.
func isWholeModel(names []string) bool {
	has := func(name string) bool { return slices.Contains(names, name) }
	shards := slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, "-of-") }) && hub.AllShards(names)
	complete := has(weights.ModelFile) || has(torchfile.ModelFile) || (has(weights.IndexFile) || has(torchfile.IndexFile)) && shards
	return complete && has(mamba.ConfigFile) || has(mamba.ConsolidatedFile) && (has(mamba.ConfigFile) || has(mamba.ParamsFile))
}

// preferSafetensors leaves torch's and Mistral's files out where the same weights come under transformers' names.
func preferSafetensors(names []string) []string {
	if !slices.Contains(names, weights.ModelFile) && !slices.Contains(names, weights.IndexFile) {
		return names
	}
	return slices.DeleteFunc(names, func(name string) bool {
		return isTorchFile(name) || name == mamba.ConsolidatedFile || name == mamba.ParamsFile
	})
}

// cachedModel returns the directory of a model that is in the local cache; nothing is fetched.
func cachedModel(id string) (string, bool) {
	if !isRepository(id) {
		return "", false
	}
	h := hub.New()
	h.Offline = true
	dir, err := h.Fetch(context.Background(), hub.Request{
		Kind: hub.Model, ID: id, Want: func(name string) bool { return name == mamba.ConfigFile },
	})
	return dir, err == nil
}
