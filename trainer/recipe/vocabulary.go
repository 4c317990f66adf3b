package recipe

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"mambatrain/data/tokenizer"
	"mambatrain/internal/fault"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn/weights"
)

// vocabularyFor returns the number of rows that the embedding and head need: those of [rowsFor] and, with
// resize_embeddings, one for each id of the tokenizer. d and t may be nil.
func (c *Config) vocabularyFor(sizes mamba.Config, d *lora.Directory, t *tokenizer.Tokenizer) (int, error) {
	rows := rowsFor(sizes.VocabSize, d, t)
	if !c.ResizeEmbeddings {
		return rows, nil
	}
	if t == nil {
		return 0, fault.Fault{Path: "resize_embeddings", Problem: fmt.Sprintf("model %s has no tokenizer.json to take the size from", c.Model)}
	}
	return max(rows, t.VocabSize()), nil
}

// Sizes returns the sizes of the run's model as found by the package function Sizes, including the rows that
// resize_embeddings adds.
func (c *Config) Sizes() (mamba.Config, error) {
	sizes, err := Sizes(c.Model)
	if err != nil || !c.ResizeEmbeddings {
		return sizes, err
	}
	dir, cached := cachedModel(c.Model)
	if has(c.Model, mamba.ConfigFile) || !cached {
		dir = c.Model
	}
	named, err := findNamedTokenizer(context.Background(), nil, c.Tokenizer)
	if err != nil {
		return sizes, err
	}
	t, err := openTokenizer(named, dir)
	if err != nil {
		return sizes, err
	}
	sizes.VocabSize, err = c.vocabularyFor(sizes, nil, t)
	return sizes, err
}

// CheckVocabulary returns an error with a suggestion if a tokenizer has ids for which a model has no row.
func CheckVocabulary(t *tokenizer.Tokenizer, rows int) error {
	if t.VocabSize() <= rows {
		return nil
	}
	return fmt.Errorf("the tokenizer has %d ids, but the model's embedding table has %d rows%s", t.VocabSize(), rows, vocabularyHint(t, rows))
}

// vocabularyHint suggests how to give a model a row for each id of its tokenizer; it returns "" if the model has them.
func vocabularyHint(t *tokenizer.Tokenizer, rows int) string {
	if t == nil || t.VocabSize() <= rows {
		return ""
	}
	return fmt.Sprintf("; training with resize_embeddings: true adds rows for all %d ids of the tokenizer", t.VocabSize())
}

// rowsFor returns the number of rows that the embedding and head need for an adapter: those that it was trained with, or
// else those of the base. Rows are dropped only if there is a tokenizer that has no ids for them: without one, an adapter
// with fewer rows may belong to another base. d and t may be nil.
func rowsFor(base int, d *lora.Directory, t *tokenizer.Tokenizer) int {
	if d == nil {
		return base
	}
	rows := d.Rows(base)
	if rows < base && (t == nil || t.VocabSize() > rows) {
		return base
	}
	return rows
}

// resizeTables gives the embedding and head in a base's files the number of rows that its adapters were trained with.
func resizeTables(base *weights.Reader, vocab, rows int) error {
	if rows == vocab {
		return nil
	}
	names := slices.DeleteFunc(slices.Clone(base.Names()), func(name string) bool {
		x, _ := base.Tensor(name)
		module := strings.TrimSuffix(name, ".weight")
		isTable := strings.HasSuffix(module, "embeddings") || strings.HasSuffix(module, "embedding") || strings.HasSuffix(module, "lm_head")
		return !isTable || len(x.Shape) != 2 || x.Shape[0] != vocab
	})
	return base.Resize(rows, names...)
}
