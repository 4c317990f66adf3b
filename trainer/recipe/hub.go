package recipe

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"mambatrain/data/hub"
	"mambatrain/data/tokenizer"
	"mambatrain/internal/fault"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/mamba/torchfile"
	"mambatrain/nn/weights"
)

// resolveModel returns a model's directory or GGUF file. name is a path or a Hugging Face id, which is looked up in the
// local cache or fetched; an id may be followed by a colon and the name of one of its GGUF files. client may be nil.
func resolveModel(ctx context.Context, client *hub.Client, name string) (string, error) {
	id, file := splitGGUF(name)
	if file != "" {
		dir, err := resolve(ctx, client, "model", id, ggufRequest(file))
		return filepath.Join(dir, filepath.FromSlash(file)), err
	}
	var files []string // GGUF files of the repository if it has no other weights
	dir, err := resolveCached(ctx, client, "model", name, hub.Request{
		Want:   isModelFile,
		Enough: func(names []string) bool { return isWholeModel(names) || len(ggufFiles(names)) > 0 },
		Choose: func(names []string) []string {
			names = preferSafetensors(names)
			if files = ggufFiles(names); len(files) > 1 {
				return nil
			}
			return names
		},
	})
	if len(files) > 1 {
		return "", fault.NotFound("model %s: has several GGUF files; choose one of them: %s:%s", name, name, strings.Join(files, ", "+name+":"))
	}
	if err != nil {
		return "", err
	}
	return ggufIn(dir)
}

// splitGGUF splits the name of a GGUF file in a repository, owner/name:file.gguf. file is "" if name does not have that
// form.
func splitGGUF(name string) (id, file string) {
	id, file, _ = strings.Cut(name, ":")
	if _, err := os.Stat(name); err == nil || !mamba.IsGGUF(file) || !isRepository(id) || !filepath.IsLocal(filepath.FromSlash(file)) {
		return name, ""
	}
	return id, file
}

// ggufRequest returns a request for a GGUF file of a repository, with its other shards and the tokenizer.
func ggufRequest(file string) hub.Request {
	group := firstShard(file)
	return hub.Request{
		Want: func(name string) bool {
			return mamba.IsGGUF(name) && firstShard(name) == group || isTokenizerFile(name) || name == mamba.GenerationConfigFile
		},
		Enough: func(names []string) bool {
			names = slices.DeleteFunc(names, func(name string) bool { return !mamba.IsGGUF(name) })
			return slices.Contains(names, file) && hub.AllShards(names)
		},
		Choose: func(names []string) []string {
			if !slices.Contains(names, file) {
				return nil
			}
			return names
		},
	}
}

// shardNumber matches the part that differs in the names of a GGUF file's shards.
var shardNumber = regexp.MustCompile(`-\d{5}(-of-\d{5}\.gguf)$`)

// firstShard returns the name of a file's first shard, or name itself for a file without shards.
func firstShard(name string) string { return shardNumber.ReplaceAllString(name, "-00001$1") }

// ggufFiles returns the GGUF files among names, with only the first shard of each, if there are no other weights.
func ggufFiles(names []string) (files []string) {
	if slices.ContainsFunc(names, isWeights) {
		return nil
	}
	for _, name := range names {
		if mamba.IsGGUF(name) && firstShard(name) == name {
			files = append(files, name)
		}
	}
	slices.Sort(files)
	return files
}

// ggufIn returns the GGUF file of a directory that has no other weights; otherwise it returns the directory.
func ggufIn(dir string) (string, error) {
	entries, _ := os.ReadDir(dir) // a file has no entries
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	switch files := ggufFiles(names); len(files) {
	case 0:
		return dir, nil
	case 1:
		return filepath.Join(dir, files[0]), nil
	default:
		return "", fault.NotFound("model %s: has several GGUF files; choose one of them: %s", dir, strings.Join(files, ", "))
	}
}

// resolveAdapter is [resolveModel] for adapters.
func resolveAdapter(ctx context.Context, client *hub.Client, name string) (string, error) {
	const torch = "adapter_model.bin" // recognized but not read
	isWeights := func(file string) bool { return file == lora.WeightsFile || file == torch }
	return resolveCached(ctx, client, "adapter", name, hub.Request{
		Want: func(file string) bool {
			return lora.IsAdapterFile(file) || file == torch || isTokenizerFile(file)
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

// resolveTokenizer is [resolveModel] for tokenizers.
func resolveTokenizer(ctx context.Context, client *hub.Client, name string) (string, error) {
	return resolveCached(ctx, client, "tokenizer", name, hub.Request{
		Want: func(file string) bool {
			return isTokenizerFile(file) || file == mamba.GenerationConfigFile
		},
		Enough: func(names []string) bool { return slices.Contains(names, tokenizerFiles[0]) },
	})
}

// resolveCached is like resolve, but the files in the cache are enough only if the hub cannot provide more. Python
// downloads files only when it needs them, so those of the tokenizer may be missing, and the names of cached GGUF files
// do not reveal what other files there are.
func resolveCached(ctx context.Context, client *hub.Client, what, name string, r hub.Request) (string, error) {
	if client == nil {
		client = hub.New()
	}
	if client.Offline {
		return resolve(ctx, client, what, name, r)
	}
	whole := r
	whole.Enough = func(names []string) bool {
		missing := func(file string) bool { return !slices.Contains(names, file) }
		return r.Enough(names) && len(ggufFiles(names)) == 0 && !slices.ContainsFunc(tokenizerFiles[:2], missing)
	}
	dir, err := resolve(ctx, client, what, name, whole)
	if err == nil || ctx.Err() != nil {
		return dir, err
	}
	offline := *client
	offline.Offline = true
	if dir, missing := resolve(ctx, &offline, what, name, r); missing == nil {
		return dir, nil
	}
	return "", err
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
		return "", fmt.Errorf("%s is not a file or directory here, and downloading it failed: %w", name, err)
	}
	return dir, nil
}

// isRepository reports whether a name may be a repository name, owner/name.
func isRepository(name string) bool { return hub.IsID(name) && strings.Contains(name, "/") }

// isModelFile reports whether a file in a repository is to be fetched.
func isModelFile(name string) bool {
	if tokenizer.IsTemplateFile(name) {
		return true
	}
	if path.Dir(name) != "." {
		return false
	}
	return slices.Contains(tokenizerFiles, name) || slices.Contains([]string{mamba.ConfigFile, mamba.GenerationConfigFile, mamba.ParamsFile}, name) ||
		isWeights(name) || mamba.IsGGUF(name)
}

// isTokenizerFile reports whether a file in a repository belongs to its tokenizer.
func isTokenizerFile(name string) bool {
	return slices.Contains(tokenizerFiles, name) || tokenizer.IsTemplateFile(name)
}

// isWeights reports whether a file contains or lists weights in a format other than GGUF.
func isWeights(name string) bool {
	return isTorchFile(name) || strings.HasSuffix(name, ".safetensors") || name == weights.IndexFile
}

func isTorchFile(name string) bool {
	shard, _ := path.Match("pytorch_model-*-of-*.bin", name)
	return shard || name == torchfile.ModelFile || name == torchfile.IndexFile
}

// isWholeModel reports whether the cached files are a complete model, so that the hub need not be queried.
func isWholeModel(names []string) bool {
	has := func(name string) bool { return slices.Contains(names, name) }
	shards := slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, "-of-") }) && hub.AllShards(names)
	complete := has(weights.ModelFile) || has(torchfile.ModelFile) || (has(weights.IndexFile) || has(torchfile.IndexFile)) && shards
	return complete && has(mamba.ConfigFile) || has(mamba.ConsolidatedFile) && (has(mamba.ConfigFile) || has(mamba.ParamsFile))
}

// preferSafetensors drops torch's and Mistral's files if the same weights are available under transformers' names, and
// GGUF files if there are other weights.
func preferSafetensors(names []string) []string {
	if slices.ContainsFunc(names, isWeights) {
		names = slices.DeleteFunc(names, mamba.IsGGUF)
	}
	if !slices.Contains(names, weights.ModelFile) && !slices.Contains(names, weights.IndexFile) {
		return names
	}
	return slices.DeleteFunc(names, func(name string) bool {
		return isTorchFile(name) || name == mamba.ConsolidatedFile || name == mamba.ParamsFile
	})
}

// cachedModel returns the directory or GGUF file of a model in the local cache. It fetches nothing.
func cachedModel(id string) (string, bool) {
	h := hub.New()
	h.Offline = true
	if file, err := resolveModel(context.Background(), h, id); err == nil && mamba.IsGGUF(file) {
		return file, true
	}
	if !isRepository(id) {
		return "", false
	}
	dir, err := h.Fetch(context.Background(), hub.Request{
		Kind: hub.Model, ID: id, Want: func(name string) bool { return name == mamba.ConfigFile },
	})
	return dir, err == nil
}
