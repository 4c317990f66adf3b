package main

import (
	"context"

	"github.com/spf13/pflag"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/trainer/recipe"
)

// modelFlags select a model on the command line.
type modelFlags struct {
	model, adapter string
	tokenizer      string // "" for the adapter's or the model's
	resize         bool   // like resize_embeddings
	initialState   string // file of the initial state of documents; "" for the adapter's, or zeros
}

// initialStateFlag defines --initial-state.
func (f *modelFlags) initialStateFlag(fl *pflag.FlagSet) {
	fl.StringVar(&f.initialState, "initial-state", "", "file with the state that documents start from, instead of the adapter's")
}

// tokenizerFlag defines --tokenizer.
func (f *modelFlags) tokenizerFlag(fl *pflag.FlagSet) {
	fl.StringVar(&f.tokenizer, "tokenizer", "", "tokenizer.json, a directory with one, GGUF file, or Hugging Face id; default: the adapter's or the model's")
}

// checkFiles reports missing files before the model is read.
func (f modelFlags) checkFiles() error {
	if f.initialState == "" {
		return nil
	}
	return cli.Exists("--initial-state", f.initialState)
}

// open loads the model, its tokenizer, and the adapter. Without --model, it loads the adapter's base model.
func (f modelFlags) open(ctx context.Context, a *app) (*recipe.Model, error) {
	if err := f.checkFiles(); err != nil {
		return nil, err
	}
	dir, err := f.directory(ctx, a)
	if err != nil {
		return nil, err
	}
	a.Detail("loading %s", dir)
	a.Wait("loading %s", dir)
	defer a.EndWait()
	collectEarly()
	return recipe.LoadModel(ctx, dir, f.adapter, recipe.LoadOptions{Precision: a.precision, Tokenizer: f.tokenizer, Resize: f.resize, InitialState: f.initialState, Hub: a.hub(), Warn: func(err error) { a.Warn("%v", err) }})
}

// directory returns the directory of the selected model.
func (f modelFlags) directory(ctx context.Context, a *app) (string, error) {
	if f.model == "" && f.adapter == "" {
		return "", cli.Misusef("--model or --adapter is required")
	}
	return recipe.FindModel(ctx, a.hub(), f.model, f.adapter)
}

// modelDirectory returns the directory of a model given by path or Hugging Face id.
func (a *app) modelDirectory(ctx context.Context, name string) (string, error) {
	return recipe.FindModel(ctx, a.hub(), name, "")
}
