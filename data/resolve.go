package data

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mambatrain/internal/fault"
)

// resolvedInput is an Input as files.
type resolvedInput struct {
	files  []*sourceFile
	weight float64
}

// resolve turns paths, globs, directories and Hugging Face ids into files.
func resolve(ctx context.Context, inputs []Input, o *Options) ([]resolvedInput, error) {
	out := make([]resolvedInput, 0, len(inputs))
	for _, in := range inputs {
		if in.Weight < 0 {
			return nil, fmt.Errorf("data: %s: weight %v, want above 0", in.Path, in.Weight)
		}
		paths, err := inputFiles(ctx, o.Hub, in.Path)
		if err != nil {
			return nil, err
		}
		r := resolvedInput{weight: in.Weight}
		if r.weight == 0 {
			r.weight = 1
		}
		for _, path := range paths {
			f, err := newSourceFile(path, o.Format)
			if err != nil {
				return nil, err
			}
			r.files = append(r.files, f)
		}
		out = append(out, r)
	}
	return out, nil
}

func newSourceFile(path, format string) (*sourceFile, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	if format == "auto" || format == "" {
		if format, err = formatOf(path); err != nil {
			return nil, err
		}
	}
	return &sourceFile{path: path, format: format, size: info.Size()}, nil
}

// inputFiles lists the files that path names, in order. A path that is there counts before a Hugging Face id.
func inputFiles(ctx context.Context, h *Hub, path string) ([]string, error) {
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
	if !IsHubID(id) || slices.ContainsFunc(directoryFormats, func(ending string) bool { return strings.HasSuffix(id, ending) }) {
		return nil, fault.NotFound("data: %s: no such file or directory", path)
	}
	if h == nil {
		h = NewHub()
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
func hubDatasetFiles(ctx context.Context, h *Hub, id string, r splitRequest) ([]string, error) {
	var fault error
	for _, revision := range []string{"main", convertedRevision} {
		files, err := hubRevisionFiles(ctx, h, id, revision, r)
		if err == nil {
			return files, nil
		}
		if fault == nil {
			fault = err
		}
		var none *noFilesError
		if !errors.As(err, &none) {
			break
		}
	}
	return nil, fault
}

func hubRevisionFiles(ctx context.Context, h *Hub, id, revision string, r splitRequest) ([]string, error) {
	const card = "README.md"
	request := HubRequest{Kind: HubDataset, ID: id, Revision: revision}
	request.Want = func(name string) bool { return name == card }
	readme := ""
	if dir, err := h.Fetch(ctx, request); err == nil {
		raw, _ := os.ReadFile(filepath.Join(dir, card))
		readme = string(raw)
	}
	var fault error
	if revision == convertedRevision && r.config == "" {
		r.config = "default" // each configuration has a directory there
	}
	choose := func(names []string) []string {
		var chosen []string
		chosen, fault = r.choose(names, readme)
		return chosen
	}
	request.Want = func(name string) bool { return len(dataFiles([]string{name})) > 0 }
	request.Choose = choose
	request.Enough = func(names []string) bool {
		chosen := choose(names)
		return len(chosen) > 0 && AllShards(chosen)
	}
	dir, err := h.Fetch(ctx, request)
	if fault != nil {
		return nil, fmt.Errorf("data: data set %s: %w", id, fault)
	}
	if err != nil {
		return nil, err
	}
	_, names := h.repository(&request).cached()
	chosen, err := r.choose(names, readme)
	if err != nil {
		return nil, fmt.Errorf("data: data set %s: %w", id, err)
	}
	for i, n := range chosen {
		chosen[i] = filepath.Join(dir, filepath.FromSlash(n))
	}
	return chosen, nil
}
