package source

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"mambatrain/internal/fault"
)

// splitRequest says which files of a data set are meant: those of a split, of a configuration. "" = train, or all
// files where their names tell no split; and the default configuration.
type splitRequest struct{ config, split string }

// splitWords are the words by which file names tell their split, as the datasets library knows them.
var splitWords = map[string]string{
	"train": "train", "training": "train",
	"test": "test", "testing": "test", "eval": "test", "evaluation": "test",
	"validation": "validation", "valid": "validation", "dev": "validation", "val": "validation",
}

var nameWords = regexp.MustCompile(`[A-Za-z]+`)

// splitOf returns the split that a path tells: its file name first, then its directories from the innermost; "" for none.
func splitOf(name string) string {
	parts := strings.Split(name, "/")
	for _, part := range slices.Backward(parts) {
		for _, word := range nameWords.FindAllString(part, -1) {
			if split, ok := splitWords[strings.ToLower(word)]; ok {
				return split
			}
		}
	}
	return ""
}

// choose returns the files of names that the request means, in order. readme may hold a data set card, whose configs
// section says which file belongs where.
func (r splitRequest) choose(names []string, readme string) ([]string, error) {
	if names = dataFiles(names); len(names) == 0 {
		return nil, nil
	}
	if found, ok, err := r.fromCard(names, readme); ok || err != nil {
		return found, err
	}
	if r.config != "" {
		within := slices.DeleteFunc(slices.Clone(names), func(n string) bool {
			return !slices.Contains(strings.Split(path.Dir(n), "/"), r.config)
		})
		if len(within) > 0 {
			names = within
		} else if r.config != "default" {
			return nil, fault.NotFound("no configuration %q among %s", r.config, strings.Join(names, ", "))
		}
	}
	want := r.split
	if want == "" {
		want = "train"
	}
	if word, ok := splitWords[want]; ok {
		want = word
	}
	have := map[string][]string{}
	for _, n := range names {
		split := splitOf(n)
		if split == "" && strings.Contains("/"+n, "/"+r.split) && r.split != "" {
			split = want // a split of a name of its own, such as "forget" in forget-00000-of-00001.parquet
		}
		have[split] = append(have[split], n)
	}
	switch {
	case len(have[want]) > 0:
		return have[want], nil
	case r.split == "" || r.split == "train" && len(have) == 1 && len(have[""]) > 0:
		return names, nil // files that tell no split are train
	}
	return nil, fault.NotFound("no split %q among %s", r.split, strings.Join(names, ", "))
}

// directoryFormats are the endings looked for in a directory or repository; the first that is there counts, the rest is
// company.
var directoryFormats = []string{".parquet", ".arrow", ".jsonl", ".jsonl.gz", ".ndjson", ".csv", ".csv.gz", ".tsv", ".txt", ".json"}

// dataFiles keeps the files of the first of directoryFormats that is there, sorted.
func dataFiles(names []string) (found []string) {
	for _, ending := range directoryFormats {
		for _, n := range names {
			if strings.HasSuffix(n, ending) && !strings.HasPrefix(path.Base(n), ".") && !bookkeeping[path.Base(n)] {
				found = append(found, n)
			}
		}
		if len(found) > 0 {
			slices.Sort(found)
			return found
		}
	}
	return nil
}

// bookkeeping are files that stand beside data without being any.
var bookkeeping = map[string]bool{
	"dataset_info.json": true, "dataset_infos.json": true, "dataset_dict.json": true, "state.json": true,
	"config.json": true, "tokenizer.json": true, "tokenizer_config.json": true, "requirements.txt": true,
}

// cardConfig is an entry of the card's configs section.
type cardConfig struct {
	Name      string    `yaml:"config_name"`
	Default   bool      `yaml:"default"`
	DataFiles yaml.Node `yaml:"data_files"`
}

// fromCard chooses by the data set card; ok is false where it says nothing.
func (r splitRequest) fromCard(names []string, readme string) (found []string, ok bool, err error) {
	configs := cardConfigs(readme)
	if len(configs) == 0 {
		return nil, false, nil
	}
	chosen := -1
	var have []string
	for i, c := range configs {
		have = append(have, c.Name)
		if c.Name == r.config || r.config == "" && (c.Default || c.Name == "default" || len(configs) == 1) {
			chosen = i
		}
	}
	if chosen < 0 {
		return nil, true, fault.NotFound("want one of its configurations as id:configuration:split: %s", strings.Join(have, ", "))
	}
	patterns := splitPatterns(&configs[chosen].DataFiles)
	if len(patterns) == 0 {
		return nil, false, nil
	}
	want := r.split
	if want == "" {
		if want = "train"; patterns[want] == nil && len(patterns) == 1 {
			for only := range patterns {
				want = only
			}
		}
	}
	for _, n := range names {
		if slices.ContainsFunc(patterns[want], func(p string) bool { return matchPath(p, n) }) {
			found = append(found, n)
		}
	}
	if len(found) == 0 {
		return nil, true, fault.NotFound("no file of split %q in configuration %q", want, configs[chosen].Name)
	}
	return found, true, nil
}

// cardConfigs reads the configs section of a card's front matter.
func cardConfigs(readme string) []cardConfig {
	rest, ok := strings.CutPrefix(readme, "---\n")
	if !ok {
		return nil
	}
	matter, _, ok := strings.Cut(rest, "\n---")
	if !ok {
		return nil
	}
	var card struct {
		Configs []cardConfig `yaml:"configs"`
	}
	if yaml.Unmarshal([]byte(matter), &card) != nil {
		return nil
	}
	return card.Configs
}

// splitPatterns reads data_files: a pattern, a list of patterns, or a list of {split, path}.
func splitPatterns(n *yaml.Node) map[string][]string {
	var entries []struct {
		Split string    `yaml:"split"`
		Path  yaml.Node `yaml:"path"`
	}
	if n.Decode(&entries) == nil && len(entries) > 0 && entries[0].Split != "" {
		out := map[string][]string{}
		for _, e := range entries {
			out[e.Split] = append(out[e.Split], oneOrMany(&e.Path)...)
		}
		return out
	}
	if all := oneOrMany(n); len(all) > 0 {
		return map[string][]string{"train": all}
	}
	return nil
}

func oneOrMany(n *yaml.Node) (list []string) {
	var one string
	if n.Decode(&one) == nil && one != "" {
		return []string{one}
	}
	n.Decode(&list)
	return list
}

// matchPath is path.Match with ** for any number of directories.
func matchPath(pattern, name string) bool {
	if ok, _ := path.Match(pattern, name); ok || pattern == name {
		return true
	}
	before, after, ok := strings.Cut(pattern, "**")
	if !ok || !strings.HasPrefix(name, before) {
		return false
	}
	after, rest := strings.TrimPrefix(after, "/"), name[len(before):]
	for {
		if ok, _ := path.Match(after, rest); ok || after == "" {
			return true
		}
		_, next, more := strings.Cut(rest, "/")
		if !more {
			return false
		}
		rest = next
	}
}

// directoryFiles lists the data files below dir that the request means.
func directoryFiles(dir string, r splitRequest) ([]string, error) {
	var names []string
	err := filepath.WalkDir(dir, func(p string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.HasPrefix(e.Name(), ".") && p != dir {
			if e.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if !e.IsDir() {
			name, err := filepath.Rel(dir, p)
			if err != nil {
				return err
			}
			names = append(names, filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	if len(dataFiles(names)) == 0 {
		return nil, fault.NotFound("data: %s: no file ends in %s", dir, strings.Join(directoryFormats, ", "))
	}
	readme, _ := os.ReadFile(filepath.Join(dir, "README.md"))
	chosen, err := r.choose(names, string(readme))
	if err != nil {
		return nil, fmt.Errorf("data: %s: %w", dir, err)
	}
	for i, n := range chosen {
		chosen[i] = filepath.Join(dir, filepath.FromSlash(n))
	}
	return chosen, nil
}
