package source

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"mambatrain/internal/fault"
	"mambatrain/internal/inputfile"
)

// splitRequest names the configuration and the split of a dataset to read. "" means the default configuration; and
// train, or the only split.
type splitRequest struct{ config, split string }

// selection contains the files of a split and the settings of its card for reading them.
type selection struct {
	files     []string
	left      []string // data files of another kind, or texts about the data
	delimiter string
	encoding  string
	format    string
}

// choose returns the files in names that the request selects. format is auto or the format of the files to look for.
func (r splitRequest) choose(names []string, c card, format string) (s selection, err error) {
	folder := ""
	var splits []splitPatterns
	if len(c) > 0 {
		config, err := c.choose(r.config)
		if err != nil {
			return s, err
		}
		if splits, err = config.patterns(); err != nil {
			return s, err
		}
		if s, err = config.settings(); err != nil {
			return s, err
		}
		folder = path.Clean("./" + config.DataDir)
	}
	var split string
	var files []string
	if splits != nil {
		split, files, err = r.fromPatterns(splits, names, folder)
	} else {
		split, files, err = r.fromNames(names, folder, len(c) > 0)
	}
	if err != nil {
		return s, err
	}
	if len(files) == 0 {
		return s, fault.NotFound("split %s has no file with one of the extensions %s", split, strings.Join(endings(), ", "))
	}
	if format == "auto" || format == "" {
		s.files, s.left = oneKind(files)
	} else {
		s.files, s.left = ofFormat(files, format)
	}
	if len(s.files) == 0 {
		return s, fault.NotFound("no data files among %s", strings.Join(files, ", "))
	}
	return s, nil
}

// pick returns the split to read.
func (r splitRequest) pick(have []string) (string, error) {
	want := r.split
	if want == "" {
		want = "train"
	}
	for _, split := range []string{want, splitOf[want]} {
		if slices.Contains(have, split) {
			return split, nil
		}
	}
	if r.split == "" && len(have) == 1 {
		return have[0], nil
	}
	return "", fault.NotFound("no split %s: choose one of %s, as in path:%s", want, strings.Join(have, ", "), have[len(have)-1])
}

// fromPatterns chooses files by the patterns in a card.
func (r splitRequest) fromPatterns(splits []splitPatterns, names []string, folder string) (split string, files []string, err error) {
	var have []string
	for _, s := range splits {
		have = append(have, s.split)
	}
	if split, err = r.pick(have); err != nil {
		return "", nil, err
	}
	files, err = splits[slices.Index(have, split)].files(names, folder)
	return split, files, err
}

// fromNames chooses by the names of the files and folders in one folder, as the datasets library does if the card has
// no patterns.
func (r splitRequest) fromNames(names []string, folder string, configured bool) (split string, files []string, err error) {
	var visible []string // relative to folder
	for _, n := range names {
		if rest, ok := cutFolder(n, folder); ok && matchPath("**", rest) && isData(n) {
			visible = append(visible, rest)
		}
	}
	if r.config != "" && !configured {
		if visible, err = ofConfig(visible, r.config); err != nil {
			return "", nil, err
		}
	}
	splits := splitsByName(visible)
	var have []string
	for _, s := range splits {
		have = append(have, s.split)
	}
	if split, err = r.pick(have); err == nil {
		files = splits[slices.Index(have, split)].files
	} else if r.split != "" { // a custom split, such as "forget" in forget.jsonl
		split = r.split
		for _, n := range visible {
			if strings.Contains("/"+n, "/"+r.split) {
				files, err = append(files, n), nil
			}
		}
	}
	for i := range files {
		files[i] = path.Join(folder, files[i])
	}
	return split, files, err
}

// cutFolder returns the path of a file relative to a folder.
func cutFolder(name, folder string) (rest string, ok bool) {
	if folder == "" || folder == "." {
		return name, true
	}
	return strings.CutPrefix(name, folder+"/")
}

// ofConfig returns the files in folders named after a configuration. Without such a folder, "default" selects all files.
func ofConfig(names []string, config string) ([]string, error) {
	var within []string
	for _, n := range names {
		if slices.Contains(strings.Split(path.Dir(n), "/"), config) {
			within = append(within, n)
		}
	}
	if len(within) == 0 && config != "default" {
		return nil, fault.NotFound("no configuration %q among %s", config, strings.Join(names, ", "))
	}
	if len(within) == 0 {
		return names, nil
	}
	return within, nil
}

// splitWords are the words in file and folder names that indicate a split, in the order in which the datasets library
// looks for them.
var splitWords = []struct {
	split string
	words []string
}{
	{"train", []string{"train", "training"}},
	{"validation", []string{"validation", "valid", "dev", "val"}},
	{"test", []string{"test", "testing", "eval", "evaluation"}},
}

// splitOf maps a word to its split.
var splitOf = map[string]string{}

func init() {
	for _, s := range splitWords {
		for _, word := range s.words {
			splitOf[word] = s.split
		}
	}
}

// shard matches the name of part of a split on the hub: data/train-00000-of-00002.parquet.
var shard = regexp.MustCompile(`^data/([^/]+)-\d{5}-of-\d{5}[^/]*\.[^/]*$`)

// splitFiles are the files of a split.
type splitFiles struct {
	split string
	files []string
}

// splitsByName sorts files into splits: by the names of shards in the folder data, otherwise by folders, otherwise by
// file names. If no name indicates a split, all files are train.
func splitsByName(names []string) (splits []splitFiles) {
	add := func(split, name string) {
		i := slices.IndexFunc(splits, func(s splitFiles) bool { return s.split == split })
		if i < 0 {
			i, splits = len(splits), append(splits, splitFiles{split: split})
		}
		if !slices.Contains(splits[i].files, name) {
			splits[i].files = append(splits[i].files, name)
		}
	}
	for _, n := range names {
		if m := shard.FindStringSubmatch(n); m != nil {
			add(m[1], n)
		}
	}
	for _, where := range []struct {
		parts func(name string) []string
		forms []wordForm
	}{
		{func(name string) []string { return strings.Split(path.Dir(name), "/") }, []wordForm{isWord, beginsWith, endsWith, hasWithin}},
		{func(name string) []string { return []string{path.Base(name)} }, []wordForm{beginsWith, hasWithin}},
	} {
		if len(splits) > 0 {
			return splits
		}
		for _, s := range splitWords {
			for _, word := range s.words {
				for _, form := range where.forms {
					for _, n := range names {
						if slices.ContainsFunc(where.parts(n), func(part string) bool { return form(part, word) }) {
							add(s.split, n)
						}
					}
				}
			}
		}
	}
	if len(splits) == 0 {
		splits = []splitFiles{{"train", names}}
	}
	return splits
}

// wordForm reports whether a name contains a word in some way.
type wordForm func(name, word string) bool

func isWord(name, word string) bool { return name == word }

func beginsWith(name, word string) bool {
	return len(name) > len(word) && strings.HasPrefix(name, word) && isSeparator(name[len(word)])
}

func endsWith(name, word string) bool {
	return len(name) > len(word) && strings.HasSuffix(name, word) && isSeparator(name[len(name)-len(word)-1])
}

func hasWithin(name, word string) bool {
	for i := 1; i+len(word) < len(name); i++ {
		if isSeparator(name[i-1]) && beginsWith(name[i:], word) {
			return true
		}
	}
	return false
}

func isSeparator(c byte) bool { return strings.IndexByte("-._ 0123456789", c) >= 0 }

// folderFiles returns the files below a folder that the request selects.
func folderFiles(dir string, r splitRequest, format string) (s selection, err error) {
	s, saved, err := savedFiles(dir, r)
	if saved || err != nil {
		return s, wrapFolder(dir, err)
	}
	names, err := listTree(dir)
	if err != nil {
		return s, fmt.Errorf("data: %w", err)
	}
	if !slices.ContainsFunc(names, isData) {
		return s, fault.NotFound("data: %s: no file with extension %s", dir, strings.Join(endings(), ", "))
	}
	c, err := folderCard(dir)
	if err == nil {
		s, err = r.choose(withoutUnsaved(dir, names), c, format)
	}
	for i, n := range s.files {
		s.files[i] = filepath.Join(dir, filepath.FromSlash(n))
	}
	return s, wrapFolder(dir, err)
}

func wrapFolder(dir string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("data: %s: %w", dir, err)
}

// maxCard is the maximum size of a dataset card in bytes.
const maxCard = 16 << 20

// folderCard reads the card of a folder. Its configs may also be in .huggingface.yaml, which takes precedence.
func folderCard(dir string) (c card, err error) {
	for _, file := range []struct {
		name  string
		parse func(string) (card, error)
	}{{".huggingface.yaml", parseConfigs}, {"README.md", parseCard}} {
		raw, err := inputfile.Read(filepath.Join(dir, file.name), maxCard)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			c, err = file.parse(string(raw))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file.name, err)
		}
		if len(c) > 0 {
			return c, nil
		}
	}
	return nil, nil
}

// savedFiles returns the files of a folder written by the datasets library's save_to_disk: the files that state.json
// names, for the requested split if there are several.
func savedFiles(dir string, r splitRequest) (s selection, saved bool, err error) {
	var splits struct{ Splits []string }
	if readJSON(filepath.Join(dir, "dataset_dict.json"), &splits) && len(splits.Splits) > 0 {
		split, err := r.pick(splits.Splits)
		if err != nil {
			return s, true, err
		}
		if !filepath.IsLocal(split) {
			return s, true, fmt.Errorf("dataset_dict.json: %q is not a valid split name", split)
		}
		dir, r.split = filepath.Join(dir, split), ""
	} else {
		splits.Splits = nil
	}
	names, saved, err := savedNames(dir)
	if err == nil && !saved && splits.Splits != nil {
		err = fmt.Errorf("%s: no state.json that lists the files", filepath.Base(dir))
	}
	if err == nil && r.split != "" && saved {
		err = fault.NotFound("is a single split, saved by save_to_disk; omit :%s", r.split)
	}
	for _, n := range names {
		s.files = append(s.files, filepath.Join(dir, n))
	}
	return s, saved || splits.Splits != nil, err
}

// savedNames returns the files named by the state.json of a saved split.
func savedNames(dir string) (names []string, saved bool, err error) {
	var state struct {
		Files []struct {
			Filename string
		} `json:"_data_files"`
		Indices []any `json:"_indices_data_files"`
	}
	if !readJSON(filepath.Join(dir, "state.json"), &state) || len(state.Files) == 0 {
		return nil, false, nil
	}
	if len(state.Indices) > 0 {
		return nil, true, errors.New("state.json names an indices file, which is not supported: call flatten_indices() and save the dataset again")
	}
	for _, f := range state.Files {
		if !filepath.IsLocal(f.Filename) {
			return nil, true, fmt.Errorf("state.json: %q is not a file in the folder", f.Filename)
		}
		names = append(names, f.Filename)
	}
	return names, true, nil
}

// readJSON reads a small JSON file. It returns false if the file does not exist or does not parse.
func readJSON(path string, into any) bool {
	raw, err := inputfile.Read(path, inputfile.MaxConfig)
	return err == nil && json.Unmarshal(raw, into) == nil
}

// withoutUnsaved drops Arrow files that the state.json in the same folder does not name: caches and overwritten data.
func withoutUnsaved(dir string, names []string) (kept []string) {
	saved := map[string][]string{} // by folder
	for _, n := range names {
		if path.Base(n) == "state.json" {
			if files, ok, err := savedNames(filepath.Join(dir, filepath.FromSlash(path.Dir(n)))); ok && err == nil {
				saved[path.Dir(n)] = files
			}
		}
	}
	for _, n := range names {
		if files, ok := saved[path.Dir(n)]; !ok || kindOf[endingOf(n)] != "arrow" || slices.Contains(files, path.Base(n)) {
			kept = append(kept, n)
		}
	}
	return kept
}
