package main

import (
	"context"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/trainer/recipe"
)

// modelFlags name a model on the command line.
type modelFlags struct {
	model, adapter string
	resize         bool // as resize_embeddings
}

// open loads the model, its tokenizer, and the adapter into it. Without --model the adapter's base is taken.
func (f modelFlags) open(ctx context.Context, a *app) (*recipe.Model, error) {
	dir, err := f.directory(ctx, a)
	if err != nil {
		return nil, err
	}
	a.Detail("loading %s", dir)
	collectEarly()
	return recipe.LoadModel(ctx, dir, f.adapter, recipe.LoadOptions{BF16: a.precision == "bf16", Resize: f.resize, Hub: a.hub()})
}

// directory finds the directory of the model that the flags name.
func (f modelFlags) directory(ctx context.Context, a *app) (string, error) {
	if f.model == "" && f.adapter == "" {
		return "", cli.Misusef("--model or --adapter must be given")
	}
	return recipe.FindModel(ctx, a.hub(), f.model, f.adapter)
}

// modelDirectory finds a model by path or Hugging Face id.
func (a *app) modelDirectory(ctx context.Context, name string) (string, error) {
	return recipe.FindModel(ctx, a.hub(), name, "")
}
