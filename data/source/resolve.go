package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"mambatrain/data/hub"
	"mambatrain/internal/atomicfile"
	"mambatrain/internal/fault"
	"mambatrain/internal/format"
	"mambatrain/internal/inputfile"
)

// Input is one source: a file, a glob, a directory, or the id of a Hugging Face dataset (id, id:split, id:config:split).
type Input struct {
	Path string
	// Weight is how often an epoch uses each row; 0 means 1. With 2.5, each epoch uses another half of the documents a
	// third time, or the same half if they are packed or carry their state.
	Weight float64
}

// Config specifies how inputs are found and read.
type Config struct {
	// Format is auto, parquet, arrow, jsonl, json, csv, text, text:paragraph, text:line, or text:file. [Rows] and [Resolve]
	// take "" for auto.
	Format string `yaml:"format"`
	// Encoding applies to CSV, JSON, and text: utf-8, latin-1, windows-1252, or utf-16, by any of Python's names for
	// them. [Rows] and [Resolve] take "" for utf-8.
	Encoding        string       `yaml:"encoding"`
	CSVDelimiter    string       `yaml:"csv_delimiter"`     // "" = detect
	MaxRowBytes     format.Bytes `yaml:"max_row_bytes"`     // longer rows are an error; 0 = [DefaultMaxRowBytes]
	MaxTrainSamples int          `yaml:"max_train_samples"` // rows to read, starting with the first input; 0 = all
	Hub             *hub.Client  `yaml:"-" json:"-"`        // where ids are looked up; nil = [hub.New]
	Warn            func(error)  `yaml:"-" json:"-"`        // called with what is read but probably not intended; may be nil
}

// Validate returns all faults in the settings as a [fault.List], or nil.
func (c *Config) Validate() error {
	var l fault.List
	l.OneOf("format", c.Format, formats...)
	if c.Encoding == "" || canonicalEncoding(c.Encoding) == "" {
		l.OneOf("encoding", c.Encoding, encodings...)
	}
	if problem := checkDelimiter(c.CSVDelimiter); problem != "" {
		l.Add("csv_delimiter", "%s", problem)
	}
	if c.MaxRowBytes < 1 || c.MaxRowBytes > math.MaxInt32 {
		l.Add("max_row_bytes", "want a size above 0 and below 2GiB, got %q", c.MaxRowBytes.Exact())
	}
	if c.MaxTrainSamples < 0 {
		l.Add("max_train_samples", "want 0 or more, got %d", c.MaxTrainSamples)
	}
	return l.Err()
}

func (c *Config) warn(format string, args ...any) {
	if c.Warn != nil {
		c.Warn(fmt.Errorf(format, args...))
	}
}

// FileSet contains the files of an input. Its weight is never 0.
type FileSet struct {
	Files  []*File
	Weight float64
}

// Resolve finds the files of paths, globs, directories, and Hugging Face ids.
func Resolve(ctx context.Context, inputs []Input, c Config) ([]FileSet, error) {
	out := make([]FileSet, 0, len(inputs))
	for _, in := range inputs {
		if in.Weight < 0 {
			return nil, fmt.Errorf("data: %s: weight must be positive, got %v", in.Path, in.Weight)
		}
		s, err := c.find(ctx, in.Path)
		if err != nil {
			return nil, err
		}
		if kindOf[endingOf(s.files[0])] != "text" {
			s.left = slices.DeleteFunc(s.left, isAboutData) // nobody expects these to be read, so do not warn about them
		}
		if len(s.left) > 0 {
			c.warn("data: %s: reading %s; skipping %s", in.Path, countFiles(s.files), shortList(s.left))
		}
		set := FileSet{Weight: in.Weight}
		if set.Weight == 0 {
			set.Weight = 1
		}
		for _, path := range s.files {
			f, err := c.file(path, s)
			if err != nil {
				return nil, err
			}
			set.Files = append(set.Files, f)
		}
		out = append(out, set)
	}
	return out, nil
}

// CheckOutput returns an error if output is one of the input files.
func CheckOutput(inputs []FileSet, output string) error {
	for _, set := range inputs {
		for _, f := range set.Files {
			if atomicfile.Overwrites(output, f.Path) {
				return fault.Fault{Path: "output", Problem: output + " is an input of this command and would be overwritten; choose another name"}
			}
		}
	}
	return nil
}

// countFiles returns the number and kind of the files, such as "2 csv files".
func countFiles(files []string) string {
	return format.Counted(len(files), strings.TrimSpace(kindOf[endingOf(files[0])]+" file"))
}

// shortList lists the first few names and counts the others.
func shortList(names []string) string {
	const limit = 5
	if len(names) <= limit {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s, and %d more", strings.Join(names[:limit], ", "), len(names)-limit)
}

// file returns a file of a selection with its settings: those of c, otherwise those of the card.
func (c *Config) file(path string, s selection) (*File, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	f := &File{Path: path, Format: c.Format, MaxRowBytes: c.MaxRowBytes}
	if f.Format == "auto" || f.Format == "" {
		var err error
		if f.Format, err = formatOf(path); err != nil {
			return nil, err
		}
		if f.Format == "text" && s.format != "" {
			f.Format = s.format
		}
	}
	encoding := c.Encoding
	if canonicalEncoding(encoding) == "utf-8" && s.encoding != "" {
		encoding = s.encoding
	}
	if f.Encoding = canonicalEncoding(encoding); f.Encoding == "" {
		return nil, fmt.Errorf("data: %s: unknown encoding %q: set data.encoding to one of %s", path, encoding, strings.Join(encodings, ", "))
	}
	if f.Delimiter = unescapeTab(cmp.Or(c.CSVDelimiter, s.delimiter)); f.Delimiter == "" && endingOf(path) == ".tsv" {
		f.Delimiter = "\t"
	}
	return f, nil
}

// find lists the files that path names, in order. An existing path takes precedence over a Hugging Face id.
func (c *Config) find(ctx context.Context, path string) (s selection, err error) {
	path = strings.TrimPrefix(path, "hf://datasets/")
	if strings.Contains(path, "://") {
		return s, fault.NotFound("data: %s: URLs are not supported: download the file, or name a dataset as owner/name", path)
	}
	info, err := os.Stat(path)
	_, missing := os.Lstat(path)
	switch {
	case err == nil && info.IsDir():
		return folderFiles(path, splitRequest{}, c.Format)
	case err == nil:
		return selection{files: []string{path}}, nil
	case missing == nil || !errors.Is(err, fs.ErrNotExist): // a dangling link, or an unreadable path
		return s, fmt.Errorf("data: %w", err)
	case hasPattern(path):
		return c.globFiles(path)
	}
	id, request, err := parseSource(path)
	if err != nil {
		return s, err
	}
	if info, err := os.Stat(id); err == nil && info.IsDir() {
		return folderFiles(id, request, c.Format)
	}
	if !hub.IsID(id) || kindOf[endingOf(id)] != "" {
		return s, fault.NoFile("data: %s: no such file or directory", path)
	}
	h := c.Hub
	if h == nil {
		h = hub.New()
	}
	return hubDatasetFiles(ctx, h, id, request, c.Format)
}

// globFiles lists the files that match a pattern. It skips files not of the most common kind, and texts about the data
// unless the pattern names them.
func (c *Config) globFiles(pattern string) (s selection, err error) {
	found, err := glob(pattern)
	if errors.Is(err, path.ErrBadPattern) {
		return s, fault.NotFound("data: %s: %v", pattern, err)
	}
	if err != nil {
		return s, fmt.Errorf("data: %s: %w", pattern, err)
	}
	if len(found) == 0 {
		return s, fault.NoFile("data: %s: no file matches", pattern)
	}
	var data []string
	for _, name := range found {
		if (isBookkeeping(name) || isAboutData(name)) && !namedBy(pattern, name) {
			s.left = append(s.left, name)
		} else {
			data = append(data, name)
		}
	}
	kept, left := data, []string(nil)
	if c.Format == "auto" || c.Format == "" {
		kept, left = oneKind(data)
	}
	if len(kept) == 0 { // no known ending
		kept, left = data, nil
	}
	if s.files, s.left = kept, append(s.left, left...); len(s.files) == 0 {
		return s, fault.NotFound("data: %s: no data files among %s", pattern, shortList(s.left))
	}
	return s, nil
}

// namedBy reports whether a pattern explicitly names a file that otherwise is not data: LICENSE*, */README.md.
func namedBy(pattern, name string) bool {
	pattern, name = path.Base(filepath.ToSlash(pattern)), path.Base(filepath.ToSlash(name))
	before, _, _ := strings.Cut(pattern, "*")
	return pattern == name || aboutDataName.MatchString(before)
}

// parseSource splits id, id:split, or id:config:split.
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
		return "", r, fault.NotFound("data: %s: want id, id:split, or id:config:split", path)
	}
	return path[:start] + parts[0], r, nil
}

// convertedRevision is the branch with Hugging Face's Parquet copy of datasets in other formats.
const convertedRevision = "refs/convert/parquet"

// hubDatasetFiles returns the files of a dataset on the hub: the original files, or else the hub's Parquet copy.
func hubDatasetFiles(ctx context.Context, h *hub.Client, id string, r splitRequest, format string) (selection, error) {
	var first error
	for _, revision := range []string{"main", convertedRevision} {
		s, err := hubRevisionFiles(ctx, h, id, revision, r, format)
		if err == nil {
			return s, nil
		}
		if first == nil {
			first = err
		}
		if !errors.Is(err, hub.ErrNoFiles) {
			break
		}
	}
	return selection{}, first
}

func hubRevisionFiles(ctx context.Context, h *hub.Client, id, revision string, r splitRequest, format string) (s selection, err error) {
	request := hub.Request{Kind: hub.Dataset, ID: id, Revision: revision}
	c, err := hubCard(ctx, h, request)
	if err != nil {
		return s, err
	}
	if revision == convertedRevision && r.config == "" {
		r.config = "default" // each configuration has a directory in this branch
	}
	var refused error
	choose := func(r splitRequest, names []string) []string {
		s, refused = r.choose(names, c, format)
		return s.files
	}
	request.Want = isData
	request.Choose = func(names []string) []string { return choose(r, names) }
	request.Enough = func(names []string) bool {
		r := r
		if r.split == "" && !h.Offline {
			r.split = "train" // the repository may have splits other than the cached one
		}
		chosen := choose(r, names)
		return len(chosen) > 0 && hub.AllShards(chosen)
	}
	dir, err := h.Fetch(ctx, request)
	if refused != nil {
		return s, fmt.Errorf("data: dataset %s: %w", id, refused)
	}
	if errors.Is(err, fault.ErrNotFound) && !errors.Is(err, hub.ErrNoFiles) {
		return s, fmt.Errorf("data: %s is not a file or directory here, and downloading it failed: %w", id, err)
	}
	if err != nil {
		return s, err
	}
	for i, n := range s.files {
		s.files[i] = filepath.Join(dir, filepath.FromSlash(n))
	}
	return s, nil
}

// hubCard returns the card of a dataset on the hub, or nil if it has none.
func hubCard(ctx context.Context, h *hub.Client, request hub.Request) (card, error) {
	const name = "README.md"
	request.Want = func(file string) bool { return file == name }
	dir, err := h.Fetch(ctx, request)
	if errors.Is(err, fault.ErrNotFound) {
		return nil, nil // the data will report the same error, or it is cached
	}
	if err != nil {
		return nil, err
	}
	raw, err := inputfile.Read(filepath.Join(dir, name), maxCard)
	var c card
	if err == nil {
		c, err = parseCard(string(raw))
	}
	if err != nil {
		return nil, fmt.Errorf("data: dataset %s: %s: %w", request.ID, name, err)
	}
	return c, nil
}
