package mamba

import (
	"context"
	"fmt"

	"mambatrain/nn/weights"
)

// Convert reads the checkpoint in directory from and writes it to directory to in transformers' format, with one
// tensor in memory at a time. The checkpoint may be an original state-spaces checkpoint (config.json with d_model,
// n_layer, and ssm_cfg; weights in pytorch_model.bin) or a Hugging Face checkpoint, whose dtype and shards o changes.
// Torch files, a single one or several with an index, are read by a reader that can only build tensors and runs no
// code. Convert returns the configuration that it read.
//
// Models of other families and tensors that do not match the configuration are errors, as in [Load].
func Convert(ctx context.Context, from, to string, o SaveOptions) (Config, error) {
	c, err := LoadConfig(from)
	if err != nil {
		return c, err
	}
	t, err := openCheckpoint(ctx, from)
	if err != nil {
		return c, err
	}
	defer t.close()
	found, err := match(&c, t)
	if err != nil {
		return c, err
	}
	if c.DType == "" { // original configurations have no dtype: keep that of the weights
		x, _ := t.tensor(found[tableName])
		c.DType = x.dtype.TorchName()
	}
	tensors := layout(c)
	err = save(to, c, tensors, o, func(i int, as weights.DType) weights.Entry {
		name := tensors[i].name
		return weights.Entry{Name: name, Shape: tensors[i].shape, DType: as, Values: func() (any, error) { return t.float32s(found[name]) }}
	})
	if err != nil {
		return c, fmt.Errorf("mamba: convert: %w", err)
	}
	return c, nil
}
