package data

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"mambatrain/data/source"
	"mambatrain/data/tokenizer"
)

// TrainTokenizer trains a tokenizer on the text of the inputs and writes tokenizer.json and tokenizer_config.json into the
// directory output.
func TrainTokenizer(ctx context.Context, inputs []source.Input, c Config, t tokenizer.TrainConfig, output string) (*tokenizer.Tokenizer, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.Messages != "" {
		return nil, errors.New("data.messages: a tokenizer cannot be trained on chats: set data.template instead")
	}
	trainer, err := tokenizer.NewTrainer(t)
	if err != nil {
		return nil, err
	}
	sets, err := source.Resolve(ctx, inputs, c.Config)
	if err != nil {
		return nil, err
	}
	for _, name := range tokenizer.TrainedFiles {
		if err := source.CheckOutput(sets, filepath.Join(output, name)); err != nil {
			return nil, err
		}
	}
	c.AddEOS = false
	for _, set := range sets {
		// The renderers require a tokenizer, but only their texts are read.
		p := pipeline{files: set.Files, tok: new(tokenizer.Tokenizer), config: &c, rows: c.MaxTrainSamples}
		if err := p.read(ctx, func(j job) error { return addTexts(j, trainer) }); err != nil {
			return nil, err
		}
	}
	tok, err := trainer.Train(ctx, output)
	if errors.Is(err, tokenizer.ErrNoText) {
		return nil, fmt.Errorf("data: %s: %w", inputs[0].Path, err)
	}
	return tok, err
}

// textRenderer is a renderer whose rows have text.
type textRenderer interface {
	// texts returns the texts of row i, or nil if it is null or empty.
	texts(b *source.Block, i int) ([]string, error)
}

// addTexts passes the texts of a block to the trainer.
func addTexts(j job, trainer *tokenizer.Trainer) error {
	b := j.block
	defer b.Release()
	r, ok := j.renderer.(textRenderer)
	if !ok {
		return fmt.Errorf("data: %s: contains token ids, want text to train a tokenizer on", b.File.Path)
	}
	return b.Read(func() error {
		for i := range b.Rows {
			texts, err := r.texts(b, i)
			if err != nil {
				return fmt.Errorf("data: %s: %w", b.At(i), err)
			}
			for _, s := range texts {
				trainer.Add(s)
			}
		}
		return nil
	})
}

func (r *textRows) texts(b *source.Block, i int) ([]string, error) {
	s, ok, err := r.field.text(b, i)
	if err != nil || !ok {
		return nil, err
	}
	return []string{s}, nil
}

func (r *promptRows) texts(b *source.Block, i int) ([]string, error) {
	prompt, _, err := r.prompt.text(b, i)
	if err != nil {
		return nil, err
	}
	completion, ok, err := r.completion.text(b, i)
	if err != nil || !ok {
		return nil, err
	}
	return []string{prompt + completion}, nil
}
