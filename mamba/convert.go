package mamba

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"mambatrain/mamba/torchfile"
	"mambatrain/nn/weights"
)

// openCheckpoint opens the weights in a directory: safetensors or, where there are none, torch's files. They can be read
// until ctx ends.
func openCheckpoint(ctx context.Context, dir string) (checkpoint, error) {
	t, err := openEither(dir)
	if err != nil {
		return t, err
	}
	read := t.float32s
	t.float32s = func(name string) ([]float32, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return read(name)
	}
	return t, nil
}

func openEither(dir string) (checkpoint, error) {
	r, err := weights.Open(dir)
	if err == nil {
		return safetensorsCheckpoint(r), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return checkpoint{}, err
	}
	for _, name := range []string{torchfile.ModelFile, torchfile.IndexFile} {
		if path := filepath.Join(dir, name); exists(path) {
			r, err := torchfile.Open(path)
			if err != nil {
				return checkpoint{}, err
			}
			return torchCheckpoint(r), nil
		}
	}
	return checkpoint{}, err
}

func torchCheckpoint(r *torchfile.Reader) checkpoint {
	return checkpoint{
		path: r.Path(), names: r.Names(), close: r.Close,
		tensor: func(name string) (tensorInfo, bool) {
			x, ok := r.Tensor(name)
			return tensorInfo{x.Name, x.DType, x.Shape}, ok
		},
		equal: func(a, b string) (bool, error) {
			x, _ := r.Tensor(a)
			y, _ := r.Tensor(b)
			return torchfile.Equal(x, y)
		},
		float32s: func(name string) ([]float32, error) {
			x, _ := r.Tensor(name)
			return x.Float32s()
		},
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Convert reads the checkpoint in directory from and writes it to directory to as transformers reads it, one tensor in
// memory at a time. The checkpoint may be an original one of state-spaces (config.json with d_model, n_layer and ssm_cfg,
// weights in pytorch_model.bin) or a Hugging Face one, whose type and shards o changes. Torch's files, one or several with
// an index, are read by a reader that can build tensors only and runs nothing. It returns the configuration that was read.
//
// What is not Mamba-1, and every tensor that does not fit the configuration, is refused as by [Load].
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
	err = save(to, c, o, func(name string, shape []int, as weights.DType) weights.Entry {
		return weights.Entry{Name: name, Shape: shape, DType: as, Values: func() (any, error) { return t.float32s(found[name]) }}
	})
	if err != nil {
		return c, fmt.Errorf("mamba: convert: %w", err)
	}
	return c, nil
}
