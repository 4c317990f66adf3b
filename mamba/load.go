package mamba

import (
	"fmt"
	"path/filepath"
	"strings"

	ag "mambatrain/autograd"
	"mambatrain/nn/weights"
)

// LoadOptions control how weights are stored in memory.
type LoadOptions struct {
	// Precision is the form of the projections and the table. They can be trained only in float32. A_log, D, norms,
	// biases, and the convolution are always float32.
	Precision Precision
	// Packed stores the projections and the table only in the kernels' own layout, and packs each as soon as it is
	// read. That halves the memory of a model that is only run or trained with adapters. See [ag.Param.PackOnly].
	Packed bool
	// VocabSize, if not 0, is the number of rows of the table and the head instead of the file's. New rows are the mean
	// of the old ones; see [weights.Reader.Resize]. [New] draws them like the others.
	VocabSize int
}

// Load reads a model directory: config.json and the weights in one safetensors file or in shards with an index, in
// float32, bfloat16, or float16. It also reads GGUF files, whose blocks are memory-mapped unless o requests another
// form. Names may lack the prefix "backbone." or be those of the original state-spaces checkpoints. Every tensor is
// checked against the configuration before any is read. All tensors that do not match, or that are not part of the
// model, are reported in one error.
//
// If the configuration ties the head to the embedding table, either may be missing; otherwise, that is an error. A head
// that is present and differs from the table is used even if the configuration ties them.
func Load(dir string, o LoadOptions) (*Model, error) {
	c, err := LoadConfig(dir)
	if err != nil {
		return nil, err
	}
	t, err := weights.Open(dir)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	m, err := load(c, t, o)
	if err != nil {
		return nil, err
	}
	if IsGGUF(dir) {
		dir = filepath.Dir(dir)
	}
	m.generation, err = loadGeneration(dir)
	return m, err
}

// CheckWeights returns an error if, by their header, the weights do not match the configuration.
func CheckWeights(c Config, t *weights.Reader) error {
	_, err := match(&c, safetensorsCheckpoint(t))
	return err
}

func load(c Config, t *weights.Reader, o LoadOptions) (*Model, error) {
	if err := o.Precision.Validate(); err != nil {
		return nil, err
	}
	found, err := match(&c, safetensorsCheckpoint(t))
	if err != nil {
		return nil, err
	}
	if c.DType == "" { // unspecified: use that of the weights
		x, _ := t.Tensor(found[tableName])
		c.DType = x.DType.TorchName()
	}
	if o.VocabSize > 0 && o.VocabSize != c.VocabSize {
		if err := resize(&c, t, found, o.VocabSize); err != nil {
			return nil, fmt.Errorf("mamba: %w", err)
		}
	}
	m := build(c, func(name string, shape ...int) *ag.Param {
		if err != nil {
			return nil
		}
		var p *ag.Param
		x, _ := t.Tensor(found[name])
		p, err = x.Param(name, c.kept(o.Precision, name, shape))
		if err == nil && o.Packed && isMatrix(name, shape) {
			p.PackOnly()
		}
		return p
	})
	if err != nil {
		return nil, fmt.Errorf("mamba: %w", err)
	}
	return m, nil
}

// resize gives the table, and an untied head, the given number of rows.
func resize(c *Config, t *weights.Reader, found map[string]string, rows int) error {
	if rows > maxSize {
		return fmt.Errorf("a vocabulary of %d is larger than any model's", rows)
	}
	names := []string{found[tableName]}
	if !c.TieWordEmbeddings {
		names = append(names, found[headName])
	}
	c.VocabSize = rows
	return t.Resize(rows, names...)
}

// isMatrix reports whether a weight may be stored with fewer bits. Others lose too much: A = −exp(A_log) would change
// by up to 0.7 %.
func isMatrix(name string, shape []int) bool {
	return len(shape) == 2 && !strings.HasSuffix(name, ".A_log")
}
