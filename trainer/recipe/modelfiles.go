package recipe

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"mambatrain/internal/atomicfile"
	"mambatrain/internal/inputfile"
	"mambatrain/mamba"
)

// tokenizerFiles travel with a model, byte for byte. The first is the tokenizer itself.
var tokenizerFiles = []string{
	"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
	"chat_template.jinja",
}

// CopyModelFiles copies what belongs to a model apart from its weights: the tokenizer of the first directory that has one,
// and the defaults for generation.
func CopyModelFiles(to string, from ...string) error {
	if err := copyTokenizer(to, from...); err != nil {
		return err
	}
	for _, dir := range from {
		if has(dir, mamba.GenerationConfigFile) {
			return copyFile(filepath.Join(to, mamba.GenerationConfigFile), filepath.Join(dir, mamba.GenerationConfigFile))
		}
	}
	return nil
}

// copyTokenizer copies the tokenizer's files from the first directory that has any.
func copyTokenizer(to string, from ...string) error {
	for _, dir := range from {
		if _, err := os.Stat(filepath.Join(dir, tokenizerFiles[0])); err != nil {
			continue
		}
		for _, name := range tokenizerFiles {
			if err := copyFile(filepath.Join(to, name), filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	}
	return nil
}

func copyFile(to, from string) error {
	b, err := inputfile.Read(from, inputfile.MaxTokenizer)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(to, b)
}
