package weights

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// Index says in which file each tensor of a checkpoint in shards is.
type Index struct {
	path  string
	files map[string]string // by tensor
}

// ReadIndex reads an index as transformers writes it, of safetensors files or of torch's.
func ReadIndex(path string) (*Index, error) {
	b, err := readSmall(path, maxHeader)
	if err != nil {
		return nil, fmt.Errorf("weights: %w", err)
	}
	var raw struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, fmt.Errorf("weights: %s: %w", path, err)
	}
	if len(raw.WeightMap) == 0 {
		return nil, fmt.Errorf("weights: %s: weight_map is missing or empty", path)
	}
	for name, file := range raw.WeightMap {
		if file != filepath.Base(file) || !filepath.IsLocal(file) {
			return nil, fmt.Errorf("weights: %s: tensor %s: %q is not a plain file name", path, name, file)
		}
	}
	return &Index{path, raw.WeightMap}, nil
}

// Shards lists the files, which stand beside the index, in alphabetical order.
func (x *Index) Shards() []string {
	return slices.Compact(slices.Sorted(maps.Values(x.files)))
}

// Check compares the index with the shards: where returns the file that holds a tensor, "" for none. The error names every
// tensor that is not where the index says.
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
	return fmt.Errorf("weights: %s: tensors that are not where the index says:\n  %s", x.path, strings.Join(missing, "\n  "))
}

// readSmall reads a whole file of at most limit bytes.
func readSmall(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: longer than %d bytes", path, limit)
	}
	return b, err
}
