package mamba

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"mambatrain/nn"
)

// weights are a checkpoint that is open for reading, one tensor at a time.
type weights struct {
	checkpoint
	float32s func(name string) ([]float32, error)
	close    func() error
}

// openWeights opens the weights in a directory: safetensors or, where there are none, torch's files. They can be read
// until ctx ends.
func openWeights(ctx context.Context, dir string) (*weights, error) {
	w, err := openEither(dir)
	if err != nil {
		return nil, err
	}
	read := w.float32s
	w.float32s = func(name string) ([]float32, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return read(name)
	}
	return w, nil
}

func openEither(dir string) (*weights, error) {
	t, err := nn.OpenTensors(dir)
	if err == nil {
		return &weights{checkpointOf(t), func(name string) ([]float32, error) {
			x, _ := t.Tensor(name)
			return x.Float32s()
		}, t.Close}, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var w *torchWeights
	switch file, index := filepath.Join(dir, TorchFile), filepath.Join(dir, TorchIndexFile); {
	case isThere(file):
		w, err = openTorchFile(file)
	case isThere(index):
		w, err = openTorchShards(index)
	}
	if err != nil {
		return nil, err
	}
	return &weights{w.checkpoint(), w.float32s, w.Close}, nil
}

func isThere(path string) bool {
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
	w, err := openWeights(ctx, from)
	if err != nil {
		return c, err
	}
	defer w.close()
	found, err := match(&c, w.checkpoint)
	if err != nil {
		return c, err
	}
	if c.DType == "" { // an original configuration does not name a type: the weights keep theirs
		x, _ := w.tensor(found[tableName])
		c.DType = x.dtype.TorchName()
	}
	err = save(to, c, o, func(name string, shape []int, as nn.DType) nn.Source {
		return nn.Source{Name: name, Shape: shape, DType: as, Values: func() (any, error) { return w.float32s(found[name]) }}
	})
	if err != nil {
		return c, fmt.Errorf("mamba: convert: %w", err)
	}
	return c, nil
}
