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

// The names of a model's weights in its directory.
const (
	ModelFile = "model.safetensors"
	// IndexFile lists the tensors of weights that are cut into several files.
	IndexFile = "model.safetensors.index.json"
)

// Reader is a checkpoint opened for reading: one safetensors file or the shards of one. Only headers are in memory.
// It may be used by several goroutines.
type Reader struct {
	// Metadata is the free text of the files' headers; later shards win.
	Metadata map[string]string

	path   string
	names  []string
	byName map[string]Tensor
	files  []io.Closer
}

// Open opens a safetensors file, a sharded checkpoint by its index file, a directory that holds either under its usual name,
// or a GGUF file. Offsets and shapes are checked against each other and against the sizes of the files. All files are
// open until Close. The error of a directory without weights matches [ErrNoWeights].
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

// locate finds the weights in a directory, preferring a single file as the peers do.
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
		hint = "; " + filepath.Base(m[0]) + " is a torch file, which has to be converted first (mamba-train convert)"
	}
	return "", noWeights(fmt.Sprintf("weights: %s: neither %s nor %s is there%s", path, ModelFile, IndexFile, hint))
}

// ErrNoWeights is what the error of a directory without weights matches.
var ErrNoWeights = errors.New("no weights")

// noWeights is the text of such an error.
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

// Path is the file that was opened: the safetensors file or the index of the shards.
func (r *Reader) Path() string { return r.path }

// Names lists the tensors in alphabetical order.
func (r *Reader) Names() []string { return r.names }

// Tensor looks a tensor up by its name in the file.
func (r *Reader) Tensor(name string) (Tensor, bool) {
	x, ok := r.byName[name]
	return x, ok
}

// Bytes is the size of all tensors in the files.
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
			return fmt.Errorf("weights: %s: tensor %s: is in another shard too", path, x.Name)
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

// openShards opens every file that the index names and checks that each tensor is where the index says.
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

// ReadInto fills parameters with the tensors of the same names in a checkpoint, which [Open] finds at path. The checkpoint
// may have others.
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
