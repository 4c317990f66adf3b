package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"mambatrain/data/tokenizer"
	faults "mambatrain/internal/fault"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn/weights"
)

// modelFlags name a model on the command line.
type modelFlags struct {
	model, adapter string
}

// loaded is a model that is ready to run, with the adapter in it, if any.
type loaded struct {
	*mamba.Model
	dir       string
	adapter   *lora.Adapter        // nil: none
	tokenizer *tokenizer.Tokenizer // nil: the directory has none
}

// open loads the model, its tokenizer, and the adapter into it. Without --model the adapter's base is taken.
func (f modelFlags) open(ctx context.Context, a *app) (*loaded, error) {
	dir, adapterDir, err := f.directories(ctx, a)
	if err != nil {
		return nil, err
	}
	a.detail("loading %s", dir)
	beFrugal()
	packed, err := canPack(adapterDir)
	if err != nil {
		return nil, err
	}
	m, err := mamba.Load(dir, mamba.LoadOptions{BF16: a.precision == "bf16", Packed: packed})
	if err != nil {
		return nil, err
	}
	l := &loaded{Model: m, dir: dir}
	if adapterDir != "" {
		if l.adapter, err = loadAdapter(m, adapterDir); err != nil {
			return nil, err
		}
	}
	l.tokenizer, err = openTokenizer(adapterDir, dir)
	return l, err
}

// directories finds the directories that the flags name.
func (f modelFlags) directories(ctx context.Context, a *app) (model, adapter string, err error) {
	if f.adapter != "" {
		if adapter, err = adapterDirectory(f.adapter); err != nil {
			return "", "", err
		}
	}
	name := f.model
	if name == "" && adapter != "" {
		if name, err = baseOf(adapter); err != nil {
			return "", "", err
		}
	}
	if name == "" {
		return "", "", misusef("--model or --adapter must be given")
	}
	model, err = a.modelDirectory(ctx, name)
	return model, adapter, err
}

// modelDirectory finds a model by path or Hugging Face id. A directory that holds an adapter only is told apart.
func (a *app) modelDirectory(ctx context.Context, name string) (string, error) {
	dir, err := a.resolveModel(ctx, name)
	if err != nil {
		return "", err
	}
	if has(dir, mamba.ConfigFile) {
		return dir, nil
	}
	if has(dir, adapterConfigFile) {
		return "", misusef("model %s holds an adapter and no model: name it with --adapter", dir)
	}
	return "", misusef("model %s: no %s in it", dir, mamba.ConfigFile)
}

const adapterConfigFile = "adapter_config.json"

// adapterDirectory checks that a path leads to an adapter.
func adapterDirectory(dir string) (string, error) {
	if err := exists("adapter", dir); err != nil {
		return "", err
	}
	if !has(dir, adapterConfigFile) {
		return "", misusef("adapter %s: no %s in it", dir, adapterConfigFile)
	}
	return dir, nil
}

func has(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

// hasWeights says whether a model directory holds weights that can be loaded.
func hasWeights(dir string) bool { return has(dir, weights.ModelFile) || has(dir, weights.IndexFile) }

// openTokenizer reads the tokenizer of the first directory that has one; nil if none has.
func openTokenizer(dirs ...string) (*tokenizer.Tokenizer, error) {
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		t, err := tokenizer.Load(dir)
		if errors.Is(err, faults.ErrNotFound) {
			continue
		}
		return t, err
	}
	return nil, nil
}

// needTokenizer is for commands that cannot do without.
func (l *loaded) needTokenizer(why string) error {
	if l.tokenizer == nil {
		return misusef("model %s has no tokenizer.json, which %s needs", l.dir, why)
	}
	return nil
}

// vocabulary says which ids have a token: those below the first result, except the second.
func (l *loaded) vocabulary() (size int, holes []int) {
	if l.tokenizer == nil {
		return 0, nil
	}
	size = min(l.tokenizer.VocabSize(), l.Config.VocabSize)
	for id := range size {
		if l.tokenizer.Token(id) == "" {
			holes = append(holes, id)
		}
	}
	return size, holes
}

// encode returns a prompt's ids. An empty one begins with the token that begins texts.
func (l *loaded) encode(prompt string) ([]int, error) {
	if err := l.needTokenizer("a prompt in words"); err != nil {
		return nil, err
	}
	ids := l.tokenizer.Encode(prompt)
	for _, id := range ids {
		if id >= l.Config.VocabSize {
			return nil, fmt.Errorf("prompt: token %q has id %d, the model's vocabulary has %d", l.tokenizer.Token(id), id, l.Config.VocabSize)
		}
	}
	if len(ids) > 0 {
		return ids, nil
	}
	if id, ok := l.tokenizer.BOS(); ok && id < l.Config.VocabSize {
		return []int{id}, nil
	}
	return nil, nil
}
