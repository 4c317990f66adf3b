package mamba

import (
	"context"
	"fmt"

	"mambatrain/nn/weights"
)

// Convert reads the checkpoint in directory from and writes it to directory to as transformers reads it, one tensor in
// memory at a time. The checkpoint may be an original one of state-spaces (config.json with d_model, n_layer and ssm_cfg,
// weights in pytorch_model.bin) or a Hugging Face one, whose type and shards o changes. Torch's files, one or several with
// an index, are read by a reader that can build tensors only and runs nothing. It returns the configuration that was read.
//
// A model of another family, and every tensor that does not fit the configuration, is refused as by [Load].
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
	if c.DType == "" { // an original configuration does not name a type: the weights keep theirs
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
