package recipe

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"mambatrain/data/tokenizer"
	"mambatrain/internal/atomicfile"
	"mambatrain/internal/fault"
	"mambatrain/internal/inputfile"
	"mambatrain/internal/pyjson"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/mamba/torchfile"
	"mambatrain/nn/weights"
)

// tokenizerFiles are copied with a model, byte for byte. The first is the tokenizer itself.
var tokenizerFiles = []string{
	"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
	tokenizer.ChatTemplateFile,
}

// InputFiles returns the files that models, adapters, and tokenizers are read from. Each path is a directory or one of its
// files, such as a GGUF file, whose other shards and tokenizer are included. Other files in the directories, which may be
// results of earlier commands, are not. "" is ignored, and some of the files may not exist.
func InputFiles(paths ...string) (files []string) {
	for _, p := range paths {
		dir, isInput := p, isInputFile
		switch {
		case p == "":
			continue
		case isFile(p):
			dir, isInput = filepath.Dir(p), ggufRequest(filepath.Base(p)).Want
			files = append(files, p) // a tokenizer.json may have any name
		default:
			files = append(files, shardsIn(p)...)
		}
		files = append(files, filesIn(dir, isInput)...)
	}
	return files
}

// TokenizerFiles returns the files that a tokenizer is read from. The path is that of a model, a tokenizer's directory, or
// a tokenizer.json.
func TokenizerFiles(path string) []string {
	if isFile(path) {
		return append(filesIn(filepath.Dir(path), isTokenizerFile), path)
	}
	return filesIn(path, isTokenizerFile)
}

// filesIn returns the wanted files in a directory, and in its directories of chat templates.
func filesIn(dir string, want func(name string) bool) (files []string) {
	for _, pattern := range []string{"*", "*/*.jinja"} {
		names, _ := fs.Glob(os.DirFS(dir), pattern) // the patterns are valid
		for _, name := range names {
			if want(name) {
				files = append(files, filepath.Join(dir, filepath.FromSlash(name)))
			}
		}
	}
	return files
}

// isInputFile reports whether a file in the directory of a model, an adapter, or a tokenizer is read from there. A GGUF
// file is not: if the directory has no other weights, the model's path is that of the file.
func isInputFile(name string) bool {
	return isTokenizerFile(name) || lora.IsAdapterFile(name) || weights.IsModelFile(name) || isTorchFile(name) ||
		slices.Contains([]string{mamba.ConfigFile, mamba.ParamsFile, mamba.GenerationConfigFile, mamba.ConsolidatedFile}, name)
}

// shardsIn returns the files listed in the indexes in a directory, which may have any name.
func shardsIn(dir string) (files []string) {
	for _, name := range []string{weights.IndexFile, torchfile.IndexFile} {
		index, err := weights.ReadIndex(filepath.Join(dir, name))
		if err != nil {
			continue // the model has no such file
		}
		for _, shard := range index.Shards() {
			files = append(files, filepath.Join(dir, shard))
		}
	}
	return files
}

// CopyModelFiles copies the files of a model other than its weights: the tokenizer of the first directory that has one,
// and the generation settings. A tokenizer.json may be given instead of a directory.
func CopyModelFiles(to string, from ...string) error {
	if err := copyTokenizer(to, from...); err != nil {
		return err
	}
	return copyGenerationConfig(to, from...)
}

// copyGenerationConfig copies the generation settings of the first directory that has any.
func copyGenerationConfig(to string, from ...string) error {
	for _, dir := range from {
		if isFile(dir) {
			dir = filepath.Dir(dir)
		}
		if has(dir, mamba.GenerationConfigFile) {
			return copyFile(filepath.Join(to, mamba.GenerationConfigFile), filepath.Join(dir, mamba.GenerationConfigFile))
		}
	}
	return nil
}

// copyTokenizer copies the tokenizer files from the first directory that has a tokenizer.
func copyTokenizer(to string, from ...string) error {
	for _, dir := range from {
		if dir == "" {
			continue
		}
		file := filepath.Join(dir, tokenizerFiles[0])
		if mamba.IsGGUF(dir) {
			if file = filepath.Join(filepath.Dir(dir), tokenizerFiles[0]); !isFile(file) {
				return writeGGUFTokenizer(to, dir)
			}
			dir = filepath.Dir(dir)
		} else if isFile(dir) {
			file, dir = dir, filepath.Dir(dir)
		}
		if !isFile(file) {
			continue
		}
		if err := copyFile(filepath.Join(to, tokenizerFiles[0]), file); err != nil {
			return err
		}
		for _, name := range tokenizerFiles[1:] {
			if err := copyFile(filepath.Join(to, name), filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return joinTemplates(to, dir)
	}
	return nil
}

// joinTemplates moves the chat templates of a tokenizer that has some in a subdirectory of from into the
// tokenizer_config.json of its copy, because results have no subdirectories.
func joinTemplates(to, from string) error {
	list, err := tokenizer.TemplateFiles(from)
	if err != nil {
		return err
	}
	if len(list) == 0 || len(list) == 1 && list[0].Name == tokenizer.DefaultTemplate {
		return nil
	}
	plain, copied := filepath.Join(to, tokenizer.ChatTemplateFile), filepath.Join(to, "tokenizer_config.json")
	if err := os.Remove(plain); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	config := map[string]json.RawMessage{}
	if err := pyjson.ReadFile(copied, inputfile.MaxTokenizer, &config); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if config["chat_template"], err = json.Marshal(list); err != nil {
		return err
	}
	b, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(copied, pyjson.Restore(b))
}

// writeGGUFTokenizer writes the tokenizer in the metadata of a GGUF file, if there is one.
func writeGGUFTokenizer(to, model string) error {
	files, err := tokenizer.GGUFFiles(model)
	if errors.Is(err, fault.ErrNotFound) {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := atomicfile.WriteFile(filepath.Join(to, name), files[name]); err != nil {
			return err
		}
	}
	return err
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func copyFile(to, from string) error {
	b, err := inputfile.Read(from, inputfile.MaxTokenizer)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(to, b)
}
