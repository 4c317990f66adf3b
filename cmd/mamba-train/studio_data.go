package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mambatrain/cmd/mamba-train/internal/config"
	"mambatrain/data"
	"mambatrain/data/hub"
	"mambatrain/data/tokenizer"
	"mambatrain/studio"
	"mambatrain/studio/runs"
	"mambatrain/trainer/recipe"
)

const (
	shownRows = 8    // documents shown with their text
	readRows  = 2000 // documents read for their lengths
)

// studioData returns a reader of the training data of runs. It opens nothing outside the folders and downloads nothing,
// because a run's configuration may come from anyone.
func studioData(folders []string) studio.DataReader {
	return func(ctx context.Context, dir string) (*studio.Data, error) {
		file := filepath.Join(dir, runs.ConfigFile)
		if err := isInside(file, folders); err != nil {
			return nil, err
		}
		c, err := config.Load(config.Source{File: file})
		if err != nil {
			return nil, err
		}
		if err := staysInside(c, folders); err != nil {
			return nil, err
		}
		offline := hub.New()
		offline.Offline = true
		readable := append(slices.Clone(folders), offline.Cache)
		t, err := loadTokenizer(ctx, offline, c, readable)
		if err != nil {
			return nil, err
		}
		o := c.Data.Config
		o.Hub, o.Cache = offline, ""
		files, err := filesOf(ctx, c.Data.Train, o.Config)
		if err != nil {
			return nil, err
		}
		if err := areInside(files, readable); err != nil { // links, and folders that a pattern matches
			return nil, err
		}
		all := o.MaxTrainSamples
		if all == 0 || all > readRows {
			o.MaxTrainSamples = readRows
		}
		d, err := data.Open(ctx, c.Data.Train, t, o)
		if err != nil {
			return nil, err
		}
		defer d.Close()
		report, err := d.Report(c.Train.PerDeviceTrainBatchSize, uint64(c.Seed))
		if err != nil {
			return nil, err
		}
		shown := &studio.Data{Documents: report.Documents, Partial: o.MaxTrainSamples != all && report.Rows == readRows}
		for _, b := range report.Histogram {
			shown.Histogram = append(shown.Histogram, studio.LengthBin(b))
		}
		b := firstDocuments(d, shownRows)
		for i := range b.Documents() {
			shown.Rows = append(shown.Rows, dataRow(b.Document(i), t))
		}
		return shown, nil
	}
}

// loadTokenizer reads the tokenizer of a run from files in the folders. It returns nil for a model without one.
func loadTokenizer(ctx context.Context, h *hub.Client, c *recipe.Config, folders []string) (*tokenizer.Tokenizer, error) {
	var path string
	var err error
	if c.Tokenizer != "" {
		path, err = recipe.FindTokenizer(ctx, h, c.Tokenizer)
	} else {
		path, err = recipe.FindModel(ctx, h, c.Model, "")
	}
	if err != nil {
		return nil, err
	}
	if err := areInside(recipe.TokenizerFiles(path), folders); err != nil {
		return nil, err
	}
	return recipe.LoadTokenizer(ctx, h, path)
}

// dataRow formats a document. If it consists of ids and there is no tokenizer, the ids are shown.
func dataRow(b data.Batch, t *tokenizer.Tokenizer) studio.DataRow {
	row := studio.DataRow{Row: b.Rows[0], Tokens: len(b.Tokens), Labels: b.Counted()}
	if t == nil {
		row.Segments = []studio.DataSegment{{Text: fmt.Sprint(b.Tokens), Counted: true}}
		return row
	}
	for _, s := range b.Segments(t) {
		row.Segments = append(row.Segments, studio.DataSegment{Text: s.Text, Counted: s.Counted})
	}
	return row
}

// staysInside returns an error if a configuration's model or data are outside the folders. Names that are not files are
// resolved in the hub's cache.
func staysInside(c *recipe.Config, folders []string) error {
	paths := []string{c.Model}
	if c.Tokenizer != "" {
		paths = append(paths, c.Tokenizer)
	}
	for _, in := range c.Data.Train {
		paths = append(paths, in.Path)
	}
	for _, p := range paths {
		if err := isInside(p, folders); err != nil {
			return err
		}
	}
	return nil
}

// areInside returns an error if one of the files that exist is outside the folders.
func areInside(files, folders []string) error {
	for _, file := range files {
		if err := isInside(file, folders); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// isInside returns an error if a path, checked after resolving symbolic links, is outside the folders. If it is a pattern,
// only the folder before its first pattern character is checked.
func isInside(path string, folders []string) error {
	if i := strings.IndexAny(path, "*?["); i >= 0 {
		if _, err := os.Lstat(path); err != nil { // otherwise, it is not a pattern
			path = filepath.Dir(path[:i] + "x")
		}
	}
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(path) && filepath.IsLocal(path) {
		return nil // a name on the hub, or empty
	}
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil {
		return err
	}
	for _, f := range folders {
		if f, err := filepath.EvalSymlinks(f); err == nil {
			if f, err = filepath.Abs(f); err == nil && (real == f || strings.HasPrefix(real, strings.TrimSuffix(f, string(os.PathSeparator))+string(os.PathSeparator))) {
				return nil
			}
		}
	}
	return fmt.Errorf("%s is outside the folders that the studio may read: start the studio in the folder with the data, or use mamba-train data inspect", path)
}
