package mamba

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"mambatrain/internal/atomicfile"
	"mambatrain/nn/weights"
)

// SaveOptions control how weights are written.
type SaveOptions struct {
	// DType is the type of the projections and the table in the file; "" is the configuration's. A_log, D, norms, and
	// biases are always written in float32: readers that need a smaller type can round them.
	DType weights.DType
	// ShardBytes splits the weights into files of at most this many bytes; 0 writes a single file.
	ShardBytes int64
	// Metadata is free-form text for the header of the weight files.
	Metadata map[string]string
	// NotFinite, if not nil, is called with the name of each tensor that contains NaN or infinite values.
	NotFinite func(name string)
}

// Save writes config.json and the weights to dir in transformers' format, creating dir if necessary. Adapters are not
// written. config.json is written last, so a directory without it is incomplete. After an error, nothing that Save
// wrote to a new directory remains.
func (m *Model) Save(dir string, o SaveOptions) error {
	c := m.Config
	c.TieWordEmbeddings = m.Tied()
	params := m.Params()
	tensors := make([]tensorInfo, len(params))
	for i, p := range params {
		tensors[i] = tensorInfo{name: p.Name, shape: p.Shape()}
	}
	return save(dir, c, tensors, o, func(i int, as weights.DType) weights.Entry { return weights.FromParam(params[i], as) })
}

// save writes c and the given tensors. source returns the i-th tensor in the type used in the file.
func save(dir string, c Config, tensors []tensorInfo, o SaveOptions, source func(i int, as weights.DType) weights.Entry) error {
	if o.DType == "" {
		d, err := weights.ParseDType(orFloat32(c.DType))
		if err != nil {
			return fmt.Errorf("mamba: save: %w", err)
		}
		o.DType = d
	}
	c.DType = o.DType.TorchName()
	var sources []weights.Entry
	for i, t := range tensors {
		as := weights.F32
		if isMatrix(t.name, t.shape) || len(t.shape) == 3 { // the convolution is not sensitive to rounding
			as = o.DType
		}
		sources = append(sources, source(i, as))
	}
	if o.NotFinite != nil {
		sources = weights.Watch(sources, o.NotFinite)
	}
	return intoDir(dir, func(tmp string) error {
		if err := weights.SaveShards(tmp, sources, o.Metadata, o.ShardBytes); err != nil {
			return err
		}
		return c.Save(tmp)
	})
}

func orFloat32(dtype string) string {
	if dtype == "" {
		return "float32"
	}
	return dtype
}

// intoDir creates dir and moves into it what fill writes, replacing an earlier model. If that fails, a directory that
// did not exist before is removed.
func intoDir(dir string, fill func(tmp string) error) (err error) {
	_, err = os.Stat(dir)
	if fresh := errors.Is(err, os.ErrNotExist); fresh {
		defer func() {
			if err != nil {
				os.RemoveAll(filepath.Clean(dir))
			}
		}()
	}
	if err := atomicfile.MkdirAll(dir); err != nil {
		return fmt.Errorf("mamba: save: %w", err)
	}
	tmp, err := atomicfile.CreateDir(dir)
	if err != nil {
		return fmt.Errorf("mamba: save: %w", err)
	}
	defer tmp.Remove()
	if err := fill(tmp.Path); err != nil {
		return tmp.Name(dir, err)
	}
	if err := tmp.MoveInto(dir, []string{ConfigFile}, weights.IsModelFile); err != nil {
		return fmt.Errorf("mamba: save: %w", err)
	}
	return nil
}
