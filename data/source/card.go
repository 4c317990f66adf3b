package source

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"mambatrain/internal/fault"
)

// card describes files according to the dataset card, README.md: the configs section of its front matter.
type card []cardConfig

// cardConfig is a configuration in a card. It has those settings of the datasets library's readers that are supported here.
type cardConfig struct {
	Name      string    `yaml:"config_name"`
	Default   bool      `yaml:"default"`
	DataFiles yaml.Node `yaml:"data_files"`
	DataDir   string    `yaml:"data_dir"`

	Separator string `yaml:"sep"`
	Delimiter string `yaml:"delimiter"`
	Encoding  string `yaml:"encoding"`
	SampleBy  string `yaml:"sample_by"`

	Others map[string]yaml.Node `yaml:",inline"`
}

// unreadable are settings that change the meaning of a configuration's files and are not supported here.
var unreadable = []string{
	"field", "header", "names", "column_names", "skiprows", "skipfooter", "nrows", "comment", "quotechar", "quoting", "escapechar",
	"lineterminator", "skipinitialspace", "usecols", "columns", "filters",
}

// parseCard parses a card. Lines may end in CRLF, and there may be a byte order mark.
func parseCard(readme string) (card, error) {
	readme = strings.TrimPrefix(strings.ReplaceAll(readme, "\r\n", "\n"), string(byteOrderMark))
	rest, ok := strings.CutPrefix(strings.TrimLeft(readme, " \t\n"), "---\n")
	if !ok {
		return nil, nil
	}
	matter, _, ok := strings.Cut("\n"+rest, "\n---")
	if !ok || !strings.Contains(matter, "\nconfigs:") {
		return nil, nil
	}
	return parseConfigs(matter)
}

// parseConfigs parses the configs section of a YAML document.
func parseConfigs(text string) (card, error) {
	var document struct {
		Configs card `yaml:"configs"`
	}
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		return nil, fmt.Errorf("configs: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	for _, c := range document.Configs {
		if c.Name == "" {
			return nil, errors.New("configs: each configuration needs a config_name")
		}
	}
	return document.Configs, nil
}

// choose returns the configuration with the given name, or the default one for "".
func (c card) choose(name string) (*cardConfig, error) {
	chosen := -1
	var have []string
	for i, config := range c {
		have = append(have, config.Name)
		if config.Name != name && (name != "" || !config.Default && config.Name != "default" && len(c) > 1) {
			continue
		}
		if chosen >= 0 {
			return nil, fmt.Errorf("the card has two default configurations, %s and %s", c[chosen].Name, config.Name)
		}
		chosen = i
	}
	if chosen < 0 {
		what := "the card names no default configuration"
		if name != "" {
			what = fmt.Sprintf("no configuration %q", name)
		}
		return nil, fault.NotFound("%s: choose one, as in id:configuration:split: %s", what, strings.Join(have, ", "))
	}
	for _, key := range unreadable {
		if _, ok := c[chosen].Others[key]; ok {
			return nil, fmt.Errorf("the card's configuration %s sets %s, which is not supported: list the files instead", c[chosen].Name, key)
		}
	}
	return &c[chosen], nil
}

// settings returns how to read the configuration's files.
func (c *cardConfig) settings() (s selection, err error) {
	s.delimiter, s.encoding = cmp.Or(c.Delimiter, c.Separator), c.Encoding
	switch c.SampleBy {
	case "":
	case "line", "paragraph":
		s.format = "text:" + c.SampleBy
	case "document":
		s.format = "text:file"
	default:
		return s, fmt.Errorf("the card's configuration %s has sample_by: %s, want line, paragraph, or document", c.Name, c.SampleBy)
	}
	return s, nil
}

// splitPatterns are the file patterns of a split.
type splitPatterns struct {
	split    string
	patterns []string
}

// patterns parses data_files: a pattern, a list of patterns, a list of {split, path}, or a map from splits to patterns.
func (c *cardConfig) patterns() (list []splitPatterns, err error) {
	wrong := fmt.Errorf("data_files of configuration %s: want a pattern, a list of patterns, or a list of {split, path}", c.Name)
	switch n := &c.DataFiles; n.Kind {
	case 0:
		return nil, nil
	case yaml.ScalarNode, yaml.SequenceNode:
		if all, ok := oneOrMany(n); ok {
			return []splitPatterns{{"train", all}}, nil
		}
		for _, item := range n.Content {
			var entry struct {
				Split string
				Path  yaml.Node
			}
			if item.Kind != yaml.MappingNode || item.Decode(&entry) != nil || entry.Split == "" {
				return nil, wrong
			}
			paths, ok := oneOrMany(&entry.Path)
			if !ok {
				return nil, wrong
			}
			list = append(list, splitPatterns{entry.Split, paths})
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			paths, ok := oneOrMany(n.Content[i+1])
			if !ok {
				return nil, wrong
			}
			list = append(list, splitPatterns{n.Content[i].Value, paths})
		}
	default:
		return nil, wrong
	}
	for i := range list {
		if slices.ContainsFunc(list[:i], func(other splitPatterns) bool { return other.split == list[i].split }) {
			return nil, fmt.Errorf("data_files of configuration %s name the split %s twice", c.Name, list[i].split)
		}
	}
	return list, nil
}

// oneOrMany parses a string or a list of strings.
func oneOrMany(n *yaml.Node) (list []string, ok bool) {
	if n.Kind == yaml.ScalarNode {
		return []string{n.Value}, n.Tag == "!!str" && n.Value != ""
	}
	if n.Kind != yaml.SequenceNode {
		return nil, false
	}
	for _, item := range n.Content {
		if item.Kind != yaml.ScalarNode {
			return nil, false
		}
		list = append(list, item.Value)
	}
	return list, len(list) > 0
}

// files returns the files that match the patterns of a split, in the order of the patterns. A file that matches two
// patterns appears twice, as in the datasets library.
func (s splitPatterns) files(names []string, folder string) (found []string, err error) {
	for _, pattern := range s.patterns {
		if strings.Contains(pattern, "://") {
			return nil, fmt.Errorf("the card names %s, but URLs are not supported", pattern)
		}
		whole := path.Join(folder, pattern)
		some := false
		for _, n := range names {
			if matchPath(whole, n) && (isData(n) || path.Base(whole) == path.Base(n)) {
				found, some = append(found, n), true
			}
		}
		if !some && !hasPattern(pattern) {
			return nil, fault.NotFound("the card names %s, but there is no such file", pattern)
		}
	}
	return found, nil
}
