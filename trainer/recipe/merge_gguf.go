package recipe

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"mambatrain/internal/fault"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn/weights"
)

// WriteGGUF writes the merged model as a GGUF file. Matrices are quantized if the type in o has blocks; those that the
// adapters do not change keep their existing blocks. describe completes o for the tokenizer in a directory. The
// differences due to merging and due to quantizing are measured separately.
func (m *Merge) WriteGGUF(ctx context.Context, file string, o mamba.GGUFOptions, describe func(dir string, o *mamba.GGUFOptions) error) (r MergeReport, err error) {
	adapted, exact, err := m.mergedLogits(ctx)
	if err != nil {
		return r, err
	}
	merged, err := lora.MergeFiles(m.tensors, m.options(weights.F32), m.adapters...)
	if err != nil {
		return r, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(file), "tokenizer-")
	if err != nil {
		return r, fmt.Errorf("merge: %w", err)
	}
	defer os.RemoveAll(dir)
	c := m.mergedConfig(merged)
	if err := c.Save(dir); err != nil {
		return r, err
	}
	if err := CopyModelFiles(dir, m.adapters[0].Path, m.Base); err != nil {
		return r, err
	}
	if err := describe(dir, &o); err != nil {
		return r, err
	}
	var notFinite []string
	o.NotFinite = func(name string) { notFinite = append(notFinite, name) }
	r = MergeReport{Changed: len(merged.Changed), UntiedHead: merged.Untied}
	if r.Tensors, err = mamba.WriteGGUF(ctx, c, until(ctx, merged.Entries), dir, file, o); err != nil {
		return r, err
	}
	if len(notFinite) > 0 {
		return r, fmt.Errorf("merge: %s; nothing was written", NotFinite(notFinite, r.Tensors))
	}
	if adapted == nil {
		return r, nil
	}
	if exact == nil {
		exact = adapted
	} else if r.Difference, err = m.compare(adapted, exact, weights.F32); err != nil {
		return r, err
	}
	written, err := load(file, mamba.LoadOptions{Packed: true}, 0)
	if err != nil {
		return r, err
	}
	got, err := m.probe(ctx, written)
	if err != nil {
		return r, err
	}
	d, err := lora.LargestDifference(exact, got)
	r.Quantization = &d
	return r, err
}

// mergedLogits returns the probe logits of the adapted model, and those of the same model with the adapter merged into
// its weights in float32. Both are nil for several adapters or a share other than 1. merged is also nil if the model in
// float32 does not fit in memory.
func (m *Merge) mergedLogits(ctx context.Context) (adapted, merged []float32, err error) {
	model, adapter, err := m.adapt(ctx)
	if err != nil || adapter == nil {
		return nil, nil, err
	}
	if adapted, err = m.probe(ctx, model); err != nil {
		return nil, nil, err
	}
	if checkFootprint(m.config, mamba.LoadOptions{Precision: mamba.Float32, VocabSize: m.rows}, 0) != nil {
		return adapted, nil, nil
	}
	if err := adapter.Merge(); err != nil {
		return nil, nil, err
	}
	merged, err = m.probe(ctx, model)
	return adapted, merged, err
}

// mergedConfig returns the configuration of the merged model.
func (m *Merge) mergedConfig(merged *lora.MergedModel) mamba.Config {
	c := m.config
	c.VocabSize = m.rows
	c.TieWordEmbeddings = m.tie != lora.Tie{} && !merged.Untied
	return c
}

// checkUnquantized returns a fault if the merged model was quantized: its weights are no longer the exact result of
// applying the adapters to the base.
func (m *Merge) checkUnquantized(merged string) error {
	if !mamba.IsGGUF(merged) {
		return nil
	}
	c, err := mamba.LoadConfig(merged)
	if err != nil {
		return err
	}
	if blocks := c.Blocks(mamba.Stored); blocks != "" {
		return fault.Fault{Problem: fmt.Sprintf("unmerge: %s was quantized (%s) after the merge, and that rounding cannot be undone; the original weights are still in %s", merged, blocks, m.Base)}
	}
	return nil
}
