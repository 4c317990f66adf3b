package mamba

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"mambatrain/nn"
)

// SaveOptions say how weights are written.
type SaveOptions struct {
	// DType is the type of the projections and the table in the file; "" is the one that the configuration names.
	// A_log, D, norms and biases are written in float32 whatever it is: readers that want them shorter round them.
	DType nn.DType
	// ShardBytes cuts the weights into files of at most so many bytes; 0 never cuts.
	ShardBytes int64
	// Metadata is free text for the header of the weight files.
	Metadata map[string]string
}

// Save writes config.json and the weights to dir, which is made if it does not exist, as transformers reads them.
// Adapters are not written. config.json comes last, so that a directory without it is one that was not finished; after
// an error nothing that Save wrote into a new directory is left.
func (m *Model) Save(dir string, o SaveOptions) (err error) {
	c := m.Config
	c.TieWordEmbeddings = m.Tied()
	if o.DType == "" {
		if o.DType, err = nn.ParseDType(orFloat32(c.DType)); err != nil {
			return fmt.Errorf("mamba: save: %w", err)
		}
	}
	c.DType = o.DType.TorchName()
	sources := make([]nn.Source, len(m.params))
	for i, p := range m.params {
		as := o.DType
		if len(p.Shape()) < 2 || !isMatrix(p.Name, p.Shape()) && len(p.Shape()) == 2 {
			as = nn.F32
		}
		sources[i] = nn.FromParam(p, as)
	}
	return intoDir(dir, func() error {
		if err := nn.SaveShards(dir, sources, o.Metadata, o.ShardBytes); err != nil {
			return err
		}
		return c.Save(dir)
	})
}

func orFloat32(dtype string) string {
	if dtype == "" {
		return "float32"
	}
	return dtype
}

// intoDir makes dir and fills it; a directory that was not there before is removed if filling it fails.
func intoDir(dir string, fill func() error) error {
	_, err := os.Stat(dir)
	fresh := errors.Is(err, os.ErrNotExist)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("mamba: save: %w", err)
	}
	if err := fill(); err != nil {
		if fresh {
			os.RemoveAll(filepath.Clean(dir))
		}
		return err
	}
	return nil
}
