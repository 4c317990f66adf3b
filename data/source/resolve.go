package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mambatrain/data/hub"
	"mambatrain/internal/fault"
)

// Input is one source: a file, a glob, a directory, or the id of a Hugging Face data set (id, id:split, id:config:split).
type Input struct {
	Path   string
	Weight float64 // how often an epoch sees each row; 0 counts as 1. Of 2.5 × n documents, n/2 are others in each epoch
}

// Config says how inputs are found and read.
type Config struct {
	// Format is auto, parquet, arrow, jsonl, json, csv, text, text:paragraph, text:line or text:file. [Rows] and [Resolve]
	// take "" for auto.
	Format          string      `yaml:"format"`
	MaxTrainSamples int         `yaml:"max_train_samples"` // rows read, from the start of the first input on; 0 = all
	Hub             *hub.Client `yaml:"-" json:"-"`        // where ids are looked for; nil = [hub.New]
}

// Validate returns all faults of the settings as a [fault.List], or nil.
func (c *Config) Validate() error {
	var l fault.List
	if !slices.Contains(formats, c.Format) {
		l.Add("format", "want one of %s, got %q", strings.Join(formats, ", "), c.Format)
	}
	if c.MaxTrainSamples < 0 {
		l.Add("max_train_samples", "want 0 or more, got %d", c.MaxTrainSamples)
	}
	return l.Err()
}

// FileSet is the files of an input. Its weight is never 0.
type FileSet struct {
	Files  []*File
	Weight float64
}

// Resolve finds the files of paths, globs, directories and Hugging Face ids.
func Resolve(ctx context.Context, inputs []Input, c Config) ([]FileSet, error) {
	out := make([]FileSet, 0, len(inputs))
	for _, in := range inputs {
		if in.Weight < 0 {
			return nil, fmt.Errorf("data: %s: weight %v, want above 0", in.Path, in.Weight)
		}
		paths, err := inputFiles(ctx, c.Hub, in.Path)
		if err != nil {
			return nil, err
		}
		r := FileSet{Weight: in.Weight}
		if r.Weight == 0 {
			r.Weight = 1
		}
		for _, path := range paths {
			f, err := newFile(path, c.Format)
			if err != nil {
				return nil, err
			}
			r.Files = append(r.Files, f)
		}
		out = append(out, r)
	}
	return out, nil
}

func newFile(path, format string) (*File, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	if format == "auto" || format == "" {
		var err error
		if format, err = formatOf(path); err != nil {
			return nil, err
		}
	}
	return &File{path, format}, nil
}

// inputFiles lists the files that path names, in order. A path that is there counts before a Hugging Face id.
func inputFiles(ctx context.Context, h *hub.Client, path string) ([]string, error) {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return directoryFiles(path, splitRequest{})
	case err == nil:
		return []string{path}, nil
	}
	if strings.ContainsAny(path, "*?[") {
		found, err := filepath.Glob(path)
		if err != nil {
			return nil, fmt.Errorf("data: %s: %w", path, err)
		}
		if len(found) == 0 {
			return nil, fault.NotFound("data: %s: no file matches", path)
		}
		return found, nil
	}
	id, request, err := parseSource(path)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(id); err == nil && info.IsDir() {
		return directoryFiles(id, request)
	}
	if !hub.IsID(id) || slices.ContainsFunc(directoryFormats, func(ending string) bool { return strings.HasSuffix(id, ending) }) {
		return nil, fault.NotFound("data: %s: no such file or directory", path)
	}
	if h == nil {
		h = hub.New()
	}
	return hubDatasetFiles(ctx, h, id, request)
}

// parseSource cuts id, id:split or id:config:split.
func parseSource(path string) (id string, r splitRequest, err error) {
	start := len(filepath.VolumeName(path))
	parts := strings.Split(path[start:], ":")
	switch len(parts) {
	case 1:
	case 2:
		r.split = parts[1]
	case 3:
		r.config, r.split = parts[1], parts[2]
	default:
		return "", r, fmt.Errorf("data: %s: want id, id:split or id:config:split", path)
	}
	return path[:start] + parts[0], r, nil
}

// convertedRevision is where Hugging Face keeps its own Parquet copy of data sets in other forms.
const convertedRevision = "refs/convert/parquet"

// hubDatasetFiles returns the files of a data set on the hub: its own, else the hub's Parquet copy.
func hubDatasetFiles(ctx context.Context, h *hub.Client, id string, r splitRequest) ([]string, error) {
	var first error
	for _, revision := range []string{"main", convertedRevision} {
		files, err := hubRevisionFiles(ctx, h, id, revision, r)
		if err == nil {
			return files, nil
		}
		if first == nil {
			first = err
		}
		if !errors.Is(err, hub.ErrNoFiles) {
			break
		}
	}
	return nil, first
}

func hubRevisionFiles(ctx context.Context, h *hub.Client, id, revision string, r splitRequest) ([]string, error) {
	const card = "README.md"
	request := hub.Request{Kind: hub.Dataset, ID: id, Revision: revision}
	request.Want = func(name string) bool { return name == card }
	readme := ""
	if dir, err := h.Fetch(ctx, request); err == nil {
		raw, _ := os.ReadFile(filepath.Join(dir, card))
		readme = string(raw)
	}
	var refused error
	if revision == convertedRevision && r.config == "" {
		r.config = "default" // each configuration has a directory there
	}
	choose := func(names []string) []string {
		var chosen []string
		chosen, refused = r.choose(names, readme)
		return chosen
	}
	request.Want = func(name string) bool { return len(dataFiles([]string{name})) > 0 }
	request.Choose = choose
	request.Enough = func(names []string) bool {
		chosen := choose(names)
		return len(chosen) > 0 && hub.AllShards(chosen)
	}
	dir, err := h.Fetch(ctx, request)
	if refused != nil {
		return nil, fmt.Errorf("data: data set %s: %w", id, refused)
	}
	if err != nil {
		return nil, err
	}
	_, names := h.Cached(request)
	chosen, err := r.choose(names, readme)
	if err != nil {
		return nil, fmt.Errorf("data: data set %s: %w", id, err)
	}
	for i, n := range chosen {
		chosen[i] = filepath.Join(dir, filepath.FromSlash(n))
	}
	return chosen, nil
}
