package mamba

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sort"

	"mambatrain/nn"
)

// The names of a checkpoint's weights in torch's own format: one file, or the index of several.
const (
	TorchFile      = "pytorch_model.bin"
	TorchIndexFile = "pytorch_model.bin.index.json"
)

// torchWeights are the files of a checkpoint in torch's format.
type torchWeights struct {
	path   string // of the file, or of the index
	names  []string
	byName map[string]*torchFile
	files  []*torchFile
}

// openTorchShards opens every file that the index names and checks that each tensor is where the index says.
func openTorchShards(path string) (*torchWeights, error) {
	index, err := nn.ReadIndex(path)
	if err != nil {
		return nil, err
	}
	w := &torchWeights{path: path, byName: map[string]*torchFile{}}
	for _, shard := range index.Shards() {
		if err := w.add(filepath.Join(filepath.Dir(path), shard)); err != nil {
			return nil, errors.Join(err, w.Close())
		}
	}
	err = index.Check(func(name string) string {
		if f := w.byName[name]; f != nil {
			return filepath.Base(f.path)
		}
		return ""
	})
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// openTorchFile opens a checkpoint that is one file.
func openTorchFile(path string) (*torchWeights, error) {
	w := &torchWeights{path: path, byName: map[string]*torchFile{}}
	if err := w.add(path); err != nil {
		return nil, err
	}
	return w, nil
}

// add opens a file and takes its tensors in.
func (w *torchWeights) add(path string) error {
	f, err := openTorch(path)
	if err != nil {
		return err
	}
	w.files = append(w.files, f)
	for _, name := range f.names {
		if w.byName[name] != nil {
			return fmt.Errorf("mamba: %s: tensor %s: is in another shard too", path, name)
		}
		w.byName[name] = f
		w.names = append(w.names, name)
	}
	sort.Strings(w.names)
	return nil
}

// Close closes the files.
func (w *torchWeights) Close() error {
	var errs []error
	for _, f := range w.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

func (w *torchWeights) checkpoint() checkpoint {
	return checkpoint{
		path: w.path, names: w.names, equal: w.equal,
		tensor: func(name string) (stored, bool) {
			if f := w.byName[name]; f != nil {
				return f.describe(name), true
			}
			return stored{}, false
		},
	}
}

// equal compares two tensors. A tied head usually is the table's very storage.
func (w *torchWeights) equal(a, b string) (bool, error) {
	f, g := w.byName[a], w.byName[b]
	x, y := f.tensors[a], g.tensors[b]
	if !slices.Equal(x.size, y.size) {
		return false, nil
	}
	if f == g && x.storage == y.storage && x.offset == y.offset && slices.Equal(x.stride, y.stride) {
		return true, nil
	}
	v, err := f.float32s(a)
	if err != nil {
		return false, err
	}
	u, err := g.float32s(b)
	if err != nil {
		return false, err
	}
	return slices.Equal(v, u), nil
}

// float32s reads a tensor in row-major order.
func (w *torchWeights) float32s(name string) ([]float32, error) { return w.byName[name].float32s(name) }
