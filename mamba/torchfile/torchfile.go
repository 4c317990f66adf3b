// Package torchfile reads checkpoints written by torch.save: a zip archive with a pickle that describes the tensors,
// or several such files with an index. The reader can only build tensors and runs no code from the file.
package torchfile

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"mambatrain/nn/weights"
)

// File names of a checkpoint's weights in torch's format: a single file, or the index of several.
const (
	ModelFile = "pytorch_model.bin"
	IndexFile = "pytorch_model.bin.index.json"
)

// Reader is an open checkpoint: a single file or several shards. Only the descriptions of the tensors are in memory.
type Reader struct {
	path     string // of the file, or of the index
	names    []string
	byName   map[string]*archive
	archives []*archive
}

// Tensor is one tensor of an open checkpoint.
type Tensor struct {
	Name string
	// DType is torch's name for the storage, such as LongStorage, if Float32s cannot read its type.
	DType weights.DType
	Shape []int

	in *archive
}

// Open opens a file written by torch.save or, given its index, a checkpoint in several files. It checks each tensor
// against the bytes of its file, and the index against the files. All files remain open until Close.
func Open(path string) (*Reader, error) {
	r := &Reader{path: path, byName: map[string]*archive{}}
	add := r.add
	if strings.HasSuffix(path, ".json") {
		add = r.addShards
	}
	if err := add(path); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	sort.Strings(r.names)
	return r, nil
}

// addShards opens every file in the index and checks that each tensor is in the file that the index names.
func (r *Reader) addShards(path string) error {
	index, err := weights.ReadIndex(path)
	if err != nil {
		return err
	}
	for _, shard := range index.Shards() {
		if err := r.add(filepath.Join(filepath.Dir(path), shard)); err != nil {
			return err
		}
	}
	return index.Check(func(name string) string {
		if a := r.byName[name]; a != nil {
			return filepath.Base(a.path)
		}
		return ""
	})
}

// add opens a file and lists its tensors.
func (r *Reader) add(path string) error {
	a, err := openArchive(path)
	if err != nil {
		return err
	}
	r.archives = append(r.archives, a)
	for _, name := range a.names {
		if r.byName[name] != nil {
			return fmt.Errorf("torchfile: %s: tensor %s: is also in another shard", path, name)
		}
		r.byName[name] = a
		r.names = append(r.names, name)
	}
	return nil
}

// Close closes the files.
func (r *Reader) Close() error {
	var errs []error
	for _, a := range r.archives {
		errs = append(errs, a.file.Close())
	}
	return errors.Join(errs...)
}

// Path returns the file that was opened: the single file or the index.
func (r *Reader) Path() string { return r.path }

// Names returns the names of the tensors in alphabetical order.
func (r *Reader) Names() []string { return r.names }

// Tensor returns the tensor with the given name in the file.
func (r *Reader) Tensor(name string) (Tensor, bool) {
	a := r.byName[name]
	if a == nil {
		return Tensor{}, false
	}
	return a.tensor(name), true
}

// Float32s reads the tensor in row-major order.
func (x Tensor) Float32s() ([]float32, error) { return x.in.float32s(x.Name) }

// Equal reports whether two tensors have the same shape and elements. A tied head usually shares the table's storage
// and is then not read.
func Equal(x, y Tensor) (bool, error) {
	a, b := x.in.views[x.Name], y.in.views[y.Name]
	if !slices.Equal(a.size, b.size) {
		return false, nil
	}
	if x.in == y.in && a.storage == b.storage && a.offset == b.offset && slices.Equal(a.stride, b.stride) {
		return true, nil
	}
	v, err := x.Float32s()
	if err != nil {
		return false, err
	}
	u, err := y.Float32s()
	return slices.Equal(v, u), err
}
