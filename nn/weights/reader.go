package weights

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"

	ag "mambatrain/autograd"
	"mambatrain/internal/gguf"
	"mambatrain/internal/inputfile"
)

// The file names of a model's weights.
const (
	ModelFile = "model.safetensors"
	// IndexFile is the index of weights that are split into several files.
	IndexFile = "model.safetensors.index.json"
)

// Reader is a checkpoint opened for reading: a single safetensors file, shards, or a GGUF file. Only the headers are
// kept in memory. It is safe for concurrent use.
type Reader struct {
	// Metadata is the free-form text in the files' headers. Later shards take precedence.
	Metadata map[string]string

	path   string
	names  []string
	byName map[string]Tensor
	files  []io.Closer
}

// Open opens a safetensors file, the index file of a sharded checkpoint, a directory that contains either under its
// usual name, or a GGUF file. It checks offsets, shapes, and file sizes for consistency. All files stay open until
// Close. For a directory without weights, the error matches [ErrNoWeights].
func Open(path string) (*Reader, error) {
	file, err := locate(path)
	if err != nil {
		return nil, err
	}
	r := &Reader{Metadata: map[string]string{}, path: file, byName: map[string]Tensor{}}
	switch {
	case gguf.IsModel(file):
		err = r.openGGUF(file)
	case strings.HasSuffix(file, ".json"):
		err = r.openShards(file)
	default:
		err = r.openFile(file)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	sort.Strings(r.names)
	return r, nil
}

// locate finds the weights in a directory. Like the Hugging Face libraries, it prefers a single file.
func locate(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("weights: %w", err)
	}
	if !info.IsDir() {
		return path, nil
	}
	for _, name := range []string{ModelFile, IndexFile} {
		if _, err := os.Stat(filepath.Join(path, name)); err == nil {
			return filepath.Join(path, name), nil
		}
	}
	hint := ""
	if m, _ := filepath.Glob(filepath.Join(path, "*.bin")); len(m) > 0 {
		hint = "; " + filepath.Base(m[0]) + " is a PyTorch file, which must be converted first (mamba-train convert)"
	}
	return "", noWeights(fmt.Sprintf("weights: %s: contains neither %s nor %s%s", path, ModelFile, IndexFile, hint))
}

// ErrNoWeights matches the error for a directory without weights.
var ErrNoWeights = errors.New("no weights")

// noWeights is the text of that error.
type noWeights string

func (e noWeights) Error() string        { return string(e) }
func (e noWeights) Is(target error) bool { return target == ErrNoWeights }

// Close closes the files.
func (r *Reader) Close() error {
	var errs []error
	for _, f := range r.files {
		errs = append(errs, f.Close())
	}
	r.files = nil
	return errors.Join(errs...)
}

// Path returns the opened file: the safetensors file, the index of the shards, or the GGUF file.
func (r *Reader) Path() string { return r.path }

// Names returns the names of the tensors in alphabetical order.
func (r *Reader) Names() []string { return r.names }

// Tensor returns the tensor with the given name.
func (r *Reader) Tensor(name string) (Tensor, bool) {
	x, ok := r.byName[name]
	return x, ok
}

// Bytes returns the total size of all tensors in the files.
func (r *Reader) Bytes() int64 {
	n := int64(0)
	for _, x := range r.byName {
		n += x.bytes()
	}
	return n
}

func (r *Reader) openFile(path string) error {
	f, err := inputfile.Open(path)
	if err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	r.files = append(r.files, f)
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	tensors, metadata, err := readHeader(f, info.Size())
	if err != nil {
		return fmt.Errorf("weights: %s: %w", path, err)
	}
	for _, x := range tensors {
		if _, twice := r.byName[x.Name]; twice {
			return fmt.Errorf("weights: %s: tensor %s: is also in another shard", path, x.Name)
		}
		x.data, x.path = f, path
		r.byName[x.Name] = x
		r.names = append(r.names, x.Name)
	}
	for k, v := range metadata {
		r.Metadata[k] = v
	}
	return nil
}

// openShards opens every file listed in the index and checks that each tensor is in its file.
func (r *Reader) openShards(path string) error {
	index, err := ReadIndex(path)
	if err != nil {
		return err
	}
	for _, shard := range index.Shards() {
		if err := r.openFile(filepath.Join(filepath.Dir(path), shard)); err != nil {
			return err
		}
	}
	return index.Check(func(name string) string {
		if x, ok := r.byName[name]; ok {
			return filepath.Base(x.path)
		}
		return ""
	})
}

// ReadInto fills parameters with the tensors of the same names from the checkpoint at path, as found by [Open]. Other
// tensors are ignored.
func ReadInto(path string, params []*ag.Param) error {
	r, err := Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	for _, p := range params {
		x, ok := r.Tensor(p.Name)
		if !ok {
			return fmt.Errorf("weights: %s: %s is missing", r.Path(), p.Name)
		}
		if err := x.read(p); err != nil {
			return err
		}
	}
	return nil
}
