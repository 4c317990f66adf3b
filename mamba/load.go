package mamba

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	ag "mambatrain/autograd"
	"mambatrain/nn"
)

// GenerationConfigFile is the name of the optional file with transformers' defaults for generation.
const GenerationConfigFile = "generation_config.json"

// LoadOptions say how weights are kept in memory.
type LoadOptions struct {
	// BF16 keeps the projections and the embedding table in bfloat16. They cannot be trained then. A_log, D, norms,
	// biases and the convolution are always float32.
	BF16 bool
	// Packed keeps the projections and the table in the kernels' own layout only, each packed as soon as it is read: half
	// the memory, for a model that is run or carries adapters. See [ag.Param.PackOnly].
	Packed bool
}

// Load reads a model directory: config.json and the weights in one safetensors file or in shards with an index, in
// float32, bfloat16 or float16. Names may lack the prefix "backbone." or be those of the original state-spaces
// checkpoints. Every tensor is checked against the configuration before the first is read, and all that do not fit are
// named in one error; what the weights hold beyond the model is one of these faults.
//
// A head that is absent is the embedding table if the configuration ties them and an error if not. A head that is
// present and differs from the table is kept as it is, whatever the configuration says.
func Load(dir string, o LoadOptions) (*Model, error) {
	c, err := LoadConfig(dir)
	if err != nil {
		return nil, err
	}
	t, err := nn.OpenTensors(dir)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	m, err := load(c, t, o)
	if err != nil {
		return nil, err
	}
	m.eos, err = generationEOS(dir)
	return m, err
}

// generationEOS reads the ids that end a text from generation_config.json, which wins over config.json as in
// transformers. It returns nil where the file is absent or silent.
func generationEOS(dir string) ([]int, error) {
	path := filepath.Join(dir, GenerationConfigFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("mamba: %w", err)
	}
	var g struct {
		EOS json.RawMessage `json:"eos_token_id"`
	}
	if err := json.Unmarshal(b, &g); err != nil {
		return nil, fmt.Errorf("mamba: %s: %w", path, err)
	}
	var eos TokenIDs
	if len(g.EOS) > 0 {
		if err := eos.parse(g.EOS); err != nil {
			return nil, fmt.Errorf("mamba: %s: eos_token_id: want a whole number, a list of them or null, got %s", path, shorten(g.EOS))
		}
	}
	return eos, nil
}

func load(c Config, t *nn.Tensors, o LoadOptions) (*Model, error) {
	found, err := match(&c, t)
	if err != nil {
		return nil, err
	}
	m := build(c, func(name string, shape ...int) *ag.Param {
		if err != nil {
			return nil
		}
		as := nn.F32
		if o.BF16 && isMatrix(name, shape) {
			as = nn.BF16
		}
		var p *ag.Param
		p, err = found[name].Param(name, as)
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

// isMatrix tells the weights that may be kept in 16 bits from those that lose too much by it: A = −exp(A_log) would
// change by up to 0.7 %.
func isMatrix(name string, shape []int) bool {
	return len(shape) == 2 && !strings.HasSuffix(name, ".A_log")
}

// match finds the tensor of each parameter that c asks for and settles whether the head is tied.
func match(c *Config, t *nn.Tensors) (map[string]nn.Tensor, error) {
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	found, used := map[string]nn.Tensor{}, map[string]bool{}
	find := func(name string, shape ...int) *ag.Param {
		x, ok := lookup(t, name)
		used[x.Name] = true
		switch {
		case !ok && name == headName:
			fault("missing: %s %v; config.json says tie_word_embeddings: false, so the head needs a weight of its own", name, shape)
		case !ok:
			fault("missing: %s %v", name, shape)
		case !slices.Equal(x.Shape, shape):
			fault("shape: %s is %v in the file, %v by config.json", x.Name, x.Shape, shape)
		case x.DType != nn.F32 && x.DType != nn.BF16 && x.DType != nn.F16:
			fault("type: %s is %s, want F32, BF16 or F16", x.Name, x.DType)
		}
		found[name] = x
		return nil
	}
	if err := settleHead(c, t, used); err != nil {
		return nil, err
	}
	build(*c, find)
	for _, name := range t.Names() {
		if !used[name] {
			x, _ := t.Tensor(name)
			fault("unexpected: %s %v", name, x.Shape)
		}
	}
	if len(faults) > 0 {
		sort.Strings(faults)
		return nil, fmt.Errorf("mamba: %s: %d tensors do not fit config.json:\n  %s", t.Path(), len(faults), abridge(faults))
	}
	return found, nil
}

// settleHead clears TieWordEmbeddings when the file has a head that differs from the table, and marks one that only
// repeats the table as used.
func settleHead(c *Config, t *nn.Tensors, used map[string]bool) error {
	head, ok := t.Tensor(headName)
	if !ok || !c.TieWordEmbeddings {
		return nil
	}
	table, ok := lookup(t, tableName)
	if !ok {
		used[headName] = true
		return nil
	}
	same, err := nn.Equal(head, table)
	if err != nil {
		return fmt.Errorf("mamba: %w", err)
	}
	c.TieWordEmbeddings = same
	used[headName] = same
	return nil
}

// lookup finds a parameter's tensor under its own name, without the prefix, or under its original name.
func lookup(t *nn.Tensors, name string) (nn.Tensor, bool) {
	names := []string{name}
	if name == tableName {
		names = append(names, "backbone.embedding.weight", "embedding.weight")
	}
	for _, n := range append(names, strings.TrimPrefix(name, "backbone.")) {
		if x, ok := t.Tensor(n); ok {
			return x, true
		}
	}
	return nn.Tensor{}, false
}

// abridge joins the lines of a long report and says how many it leaves out.
func abridge(lines []string) string {
	const most = 60
	more := len(lines) - most
	if more > 0 {
		lines = append(lines[:most:most], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n  ")
}
