package mamba

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"mambatrain/internal/atomicfile"
	"mambatrain/nn/weights"
)

// SaveOptions say how weights are written.
type SaveOptions struct {
	// DType is the type of the projections and the table in the file; "" is the one that the configuration names.
	// A_log, D, norms and biases are written in float32 whatever it is: readers that want them shorter round them.
	DType weights.DType
	// ShardBytes cuts the weights into files of at most so many bytes; 0 never cuts.
	ShardBytes int64
	// Metadata is free text for the header of the weight files.
	Metadata map[string]string
	// NotFinite, unless nil, is called with the name of each tensor that gets NaN or infinite numbers.
	NotFinite func(name string)
}

// Save writes config.json and the weights to dir, which is made if it does not exist, as transformers reads them.
// Adapters are not written. config.json comes last, so that a directory without it is one that was not finished; after
// an error nothing that Save wrote into a new directory is left.
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

// save writes c and the given tensors, the i-th as source returns it in the type that it has in the file.
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
		if isMatrix(t.name, t.shape) || len(t.shape) == 3 { // the convolution, which is not sensitive
			as = o.DType
		}
		sources = append(sources, source(i, as))
	}
	if o.NotFinite != nil {
		sources = weights.Watched(sources, o.NotFinite)
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

// intoDir makes dir and moves what fill writes there in the place of an earlier model; a directory that was not there before
// is removed if that fails.
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
