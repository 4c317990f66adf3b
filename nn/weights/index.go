package weights

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sort"

	"mambatrain/internal/fault"
	"mambatrain/internal/inputfile"
)

// Index maps each tensor of a sharded checkpoint to its file.
type Index struct {
	path  string
	files map[string]string // by tensor name
}

// ReadIndex reads an index file as written by transformers, for safetensors or torch files.
func ReadIndex(path string) (*Index, error) {
	x := &Index{path, map[string]string{}}
	b, err := inputfile.Read(path, inputfile.MaxConfig)
	if err != nil {
		return nil, fmt.Errorf("weights: %w", err)
	}
	if err := object(json.NewDecoder(bytes.NewReader(b)), func(dec *json.Decoder, key string) error {
		if key != "weight_map" {
			return dec.Decode(new(json.RawMessage))
		}
		return object(dec, x.add)
	}); err != nil {
		return nil, fmt.Errorf("weights: %s: %w", path, err)
	}
	if len(x.files) == 0 {
		return nil, fmt.Errorf("weights: %s: weight_map is missing or empty", path)
	}
	return x, nil
}

// add reads the file name of a tensor.
func (x *Index) add(dec *json.Decoder, name string) error {
	var file string
	if err := dec.Decode(&file); err != nil {
		return err
	}
	if _, twice := x.files[name]; twice {
		return fmt.Errorf("tensor %s: appears twice", name)
	}
	if file != filepath.Base(file) || !filepath.IsLocal(file) {
		return fmt.Errorf("tensor %s: %q is not a plain file name", name, file)
	}
	x.files[name] = file
	return nil
}

// Shards returns the names of the files, which are in the same directory as the index, in alphabetical order.
func (x *Index) Shards() []string {
	return slices.Compact(slices.Sorted(maps.Values(x.files)))
}

// Check compares the index with the shards. where returns the file that contains a tensor, or "" if none does. The
// error lists every tensor that is not in the file that the index names.
func (x *Index) Check(where func(tensor string) string) error {
	var missing []string
	for name, file := range x.files {
		if where(name) != file {
			missing = append(missing, name+" in "+file)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	sort.Strings(missing)
	var faults fault.List
	for _, m := range missing {
		faults.Add("", "%s", m)
	}
	return fmt.Errorf("weights: %s: tensors are not in the files given by the index:\n  %s", x.path, faults.Report())
}
