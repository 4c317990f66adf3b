package data

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
		paths, err := inputFiles(ctx, in.Path)
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

// inputFiles lists the files that path names, in order.
func inputFiles(ctx context.Context, path string) ([]string, error) {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return directoryFiles(path, "")
	case err == nil:
		return []string{path}, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("data: %w", err)
	}
	if strings.ContainsAny(path, "*?[") {
		found, err := filepath.Glob(path)
		if err != nil {
			return nil, fmt.Errorf("data: %s: %w", path, err)
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("data: %s: no file matches", path)
		}
		return found, nil
	}
	return nil, fmt.Errorf("data: %s: no such file or directory", path)
}

// directoryFormats are the endings looked for in a directory; the first that is there counts, the rest is company.
var directoryFormats = []string{".parquet", ".arrow", ".jsonl", ".jsonl.gz", ".csv", ".tsv", ".txt", ".json"}

// directoryFiles lists the data files of a directory and those below it.
func directoryFiles(dir, split string) ([]string, error) {
	byEnding := map[string][]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.HasPrefix(e.Name(), ".") && path != dir {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		for _, ending := range directoryFormats {
			if !e.IsDir() && strings.HasSuffix(e.Name(), ending) {
				byEnding[ending] = append(byEnding[ending], path)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	for _, ending := range directoryFormats {
		if files := byEnding[ending]; len(files) > 0 {
			slices.Sort(files)
			return files, nil
		}
	}
	return nil, fmt.Errorf("data: %s: no file ends in %s", dir, strings.Join(directoryFormats, ", "))
}
