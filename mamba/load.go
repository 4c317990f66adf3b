package mamba

import (
	"fmt"
	"path/filepath"
	"strings"

	ag "mambatrain/autograd"
	"mambatrain/nn/weights"
)

// LoadOptions say how weights are kept in memory.
type LoadOptions struct {
	// Precision is the form of the projections and the table. They can be trained in float32 only. A_log, D, norms, biases and
	// the convolution are always float32.
	Precision Precision
	// Packed keeps the projections and the table in the kernels' own layout only, each packed as soon as it is read: half
	// the memory, for a model that is run or carries adapters. See [ag.Param.PackOnly].
	Packed bool
	// VocabSize, if it is more than the file's, grows table and head to so many rows. New rows are the mean of the old ones,
	// see [weights.Reader.Grow].
	VocabSize int
}

// Load reads a model directory: config.json and the weights in one safetensors file or in shards with an index, in
// float32, bfloat16 or float16; or a GGUF file, whose blocks stay in the file and are mapped unless o asks for another form. Names
// may lack the prefix "backbone." or be those of the original state-spaces checkpoints. Every tensor is checked against the configuration before the first is read, and all that do not fit are
// named in one error; what the weights hold beyond the model is one of these faults.
//
// A head that is absent is the embedding table if the configuration ties them and an error if not. A head that is
// present and differs from the table is kept as it is, whatever the configuration says.
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

// CheckWeights returns an error if the weights are not those of a model with the configuration, from their header.
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
	if c.DType == "" { // not said: the weights tell
		x, _ := t.Tensor(found[tableName])
		c.DType = x.DType.TorchName()
	}
	if o.VocabSize > c.VocabSize {
		if err := grow(&c, t, found, o.VocabSize); err != nil {
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

// grow makes the table, and a separate head, larger.
func grow(c *Config, t *weights.Reader, found map[string]string, rows int) error {
	if rows > maxSize {
		return fmt.Errorf("a vocabulary of %d is larger than any model's", rows)
	}
	names := []string{found[tableName]}
	if !c.TieWordEmbeddings {
		names = append(names, found[headName])
	}
	c.VocabSize = rows
	return t.Grow(rows, names...)
}

// isMatrix tells the weights that may be kept in fewer bits from those that lose too much by it: A = −exp(A_log) would
// change by up to 0.7 %.
func isMatrix(name string, shape []int) bool {
	return len(shape) == 2 && !strings.HasSuffix(name, ".A_log")
}
