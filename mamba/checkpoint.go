package mamba

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mambatrain/internal/fault"
	"mambatrain/internal/quant"
	"mambatrain/mamba/torchfile"
	"mambatrain/nn/weights"
)

// checkpoint is what loading, converting, and exporting need from a weight file in any format.
type checkpoint struct {
	path     string
	names    []string
	tensor   func(name string) (tensorInfo, bool)
	equal    func(a, b string) (bool, error) // whether two tensors have equal elements
	float32s func(name string) ([]float32, error)
	blocks   func(name string, as quant.Type) ([]byte, error) // see [weights.Entry]; nil if the format has none
	close    func() error
}

// tensorInfo describes one tensor of a checkpoint.
type tensorInfo struct {
	name  string
	dtype weights.DType
	shape []int
}

// openCheckpoint opens the weights in a directory: safetensors files or, if there are none, torch files. They can be
// read until ctx is done.
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
	if !errors.Is(err, weights.ErrNoWeights) {
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
	if path := filepath.Join(dir, ConsolidatedFile); exists(path) {
		r, err := weights.Open(path)
		if err != nil {
			return checkpoint{}, err
		}
		return safetensorsCheckpoint(r), nil
	}
	return checkpoint{}, err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func safetensorsCheckpoint(r *weights.Reader) checkpoint {
	return checkpoint{
		path: r.Path(), names: r.Names(), close: r.Close,
		tensor: func(name string) (tensorInfo, bool) {
			x, ok := r.Tensor(name)
			return tensorInfo{x.Name, x.DType, x.Shape}, ok
		},
		equal: func(a, b string) (bool, error) {
			x, _ := r.Tensor(a)
			y, _ := r.Tensor(b)
			return weights.Equal(x, y)
		},
		float32s: func(name string) ([]float32, error) {
			x, _ := r.Tensor(name)
			return x.Float32s()
		},
	}
}

// entriesCheckpoint returns a checkpoint backed by entries. It can be read until ctx is done.
func entriesCheckpoint(ctx context.Context, entries []weights.Entry) checkpoint {
	byName := map[string]weights.Entry{}
	t := checkpoint{path: "the model"}
	for _, e := range entries {
		t.names = append(t.names, e.Name)
		byName[e.Name] = e
	}
	t.tensor = func(name string) (tensorInfo, bool) {
		e, ok := byName[name]
		return tensorInfo{e.Name, e.DType, e.Shape}, ok
	}
	t.float32s = func(name string) ([]float32, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return byName[name].Float32s()
	}
	t.equal = func(a, b string) (bool, error) {
		x, err := t.float32s(a)
		if err != nil {
			return false, err
		}
		y, err := t.float32s(b)
		return slices.Equal(x, y), err
	}
	t.blocks = func(name string, as quant.Type) ([]byte, error) {
		if byName[name].Blocks == nil {
			return nil, nil
		}
		return byName[name].Blocks(as)
	}
	return t
}

// source returns the source of a tensor's values.
func (t checkpoint) source(name string) source {
	s := source{float32s: func() ([]float32, error) { return t.float32s(name) }}
	if t.blocks != nil {
		s.blocks = func(as quant.Type) ([]byte, error) { return t.blocks(name, as) }
	}
	return s
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

// match finds the checkpoint's name for each parameter of c and determines whether the head is tied.
func match(c *Config, t checkpoint) (map[string]string, error) {
	var faults fault.List
	settings := ConfigFile
	if IsGGUF(t.path) {
		settings = "its keys"
	}
	found, used := map[string]string{}, map[string]bool{}
	find := func(name string, shape []int) {
		x, ok := t.lookup(name)
		if !ok && name == tableName && c.TieWordEmbeddings { // the files may contain the table as the head
			x, ok = t.lookup(headName)
		}
		used[x.name] = true
		switch {
		case !ok && name == headName:
			faults.Add("missing", "%s %v; %s says tie_word_embeddings: false, so the head needs its own weight", name, shape, settings)
		case !ok:
			faults.Add("missing", "%s %v", name, shape)
		case !slices.Equal(x.shape, shape):
			faults.Add("shape", "%s is %v in the file, but %v according to %s", x.name, x.shape, shape, settings)
		case !x.dtype.IsFloating():
			faults.Add("type", "%s is %s, want F32, BF16, or F16", x.name, x.dtype)
		}
		found[name] = x.name
	}
	if err := t.settleHead(c, used); err != nil {
		return nil, err
	}
	for _, want := range layout(*c) {
		find(want.name, want.shape)
	}
	for _, name := range t.names {
		if !used[name] {
			x, _ := t.tensor(name)
			faults.Add("unexpected", "%s %v", name, x.shape)
		}
	}
	if len(faults) > 0 {
		slices.SortFunc(faults, func(a, b fault.Fault) int {
			return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Problem, b.Problem))
		})
		return nil, fmt.Errorf("mamba: %s: %d tensors do not match %s:\n  %s", t.path, len(faults), settings, faults.Report())
	}
	return found, nil
}

// settleHead clears TieWordEmbeddings if the checkpoint's head differs from the table. A head that equals the table
// is marked as used.
func (t checkpoint) settleHead(c *Config, used map[string]bool) error {
	head, ok := t.lookup(headName)
	if !ok || !c.TieWordEmbeddings {
		return nil
	}
	table, ok := t.lookup(tableName)
	if !ok {
		used[head.name] = true
		return nil
	}
	if !head.dtype.IsFloating() || !table.dtype.IsFloating() { // match reports the types
		c.TieWordEmbeddings = false
		return nil
	}
	same, err := t.equal(head.name, table.name)
	if err != nil {
		return fmt.Errorf("mamba: %w", err)
	}
	c.TieWordEmbeddings = same
	used[head.name] = same
	return nil
}

// lookup finds a parameter's tensor under its own name, without the prefix "backbone.", under its original name, or
// under Mistral's, which adds the prefix "model.".
func (t checkpoint) lookup(name string) (tensorInfo, bool) {
	names := []string{name}
	if name == tableName {
		names = append(names, "backbone.embedding.weight")
	}
	for _, n := range names {
		for _, n := range []string{n, strings.TrimPrefix(n, "backbone."), "model." + n} {
			if x, ok := t.tensor(n); ok {
				return x, true
			}
		}
	}
	return tensorInfo{}, false
}
