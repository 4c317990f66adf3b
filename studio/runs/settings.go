package runs

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"mambatrain/configs"
)

// Setting is a configuration key of a run.
type Setting struct {
	Key     string `json:"key"`
	Value   string `json:"value"`
	Default string `json:"default"`
	Help    string `json:"help"` // from the reference configuration
	Differs bool   `json:"differs"`
}

// ConfigFile is the name of a run's configuration in its output directory and in each checkpoint.
const ConfigFile = "config.yaml"

// Settings returns the configuration of a run along with the defaults. Runs of other programs have none.
func (l *Library) Settings(id string) ([]Setting, error) {
	b, err := l.read(id, ConfigFile)
	if errors.Is(err, fs.ErrNotExist) {
		return []Setting{}, nil
	}
	if err != nil {
		return nil, err
	}
	list, err := flatten(b)
	if err != nil {
		return nil, fmt.Errorf("runs: %s: %w", ConfigFile, err)
	}
	for i, s := range list {
		reference := defaults()[s.Key]
		list[i].Default, list[i].Help = reference.Value, reference.Help
		list[i].Differs = s.Value != reference.Value
	}
	return list, nil
}

// defaults returns the settings of the reference configuration by key.
var defaults = sync.OnceValue(func() map[string]Setting {
	list, err := flatten(configs.Reference)
	if err != nil {
		panic(err) // covered by a test
	}
	m := map[string]Setting{}
	for _, s := range list {
		m[s.Key] = s
	}
	return m
})

// flatten returns the keys of a configuration, each with its value on one line.
func flatten(text []byte) (list []Setting, err error) {
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, err
	}
	if len(root.Content) == 0 {
		return nil, nil
	}
	return appendSettings(nil, "", root.Content[0]), nil
}

// sections are the keys whose children are listed as separate settings.
var sections = []string{"data", "train", "lora", "distributed"}

func appendSettings(list []Setting, prefix string, n *yaml.Node) []Setting {
	for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if prefix == "" && slices.Contains(sections, key.Value) {
			list = appendSettings(list, key.Value+".", value)
			continue
		}
		help := strings.TrimSpace(strings.TrimLeft(value.LineComment+key.LineComment, "# "))
		list = append(list, Setting{Key: prefix + key.Value, Value: oneLine(value), Help: help})
	}
	return list
}

// oneLine writes a value as a user could type it. Equal numbers are written the same way.
func oneLine(n *yaml.Node) string {
	switch n.Kind {
	case yaml.ScalarNode:
		var x float64
		if (n.Tag == "!!float" || n.Tag == "!!int") && n.Decode(&x) == nil {
			return fmt.Sprint(x)
		}
		return n.Value
	case yaml.SequenceNode:
		var items []string
		for _, item := range n.Content {
			items = append(items, oneLine(item))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case yaml.MappingNode:
		var items []string
		for i := 0; i+1 < len(n.Content); i += 2 {
			items = append(items, n.Content[i].Value+": "+oneLine(n.Content[i+1]))
		}
		return "{" + strings.Join(items, ", ") + "}"
	}
	return ""
}

// Card returns the model card of a run, or "" if there is none.
func (l *Library) Card(id string) (string, error) {
	b, err := l.read(id, "README.md")
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(b), err
}

// maxText limits how much of a text file is read.
const maxText = 1 << 20

// read returns a text file of a run, taken from the newest checkpoint if it is not in the output directory yet.
func (l *Library) read(id, name string) ([]byte, error) {
	r, err := l.find(id)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	names := []string{name}
	for _, step := range r.checkpoints {
		names = append(names, path.Join(fmt.Sprintf("checkpoint-%d", step), name))
	}
	l.mu.Unlock()
	for _, name := range names {
		b, err := r.text(name, maxText)
		if !errors.Is(err, fs.ErrNotExist) {
			return b, err
		}
	}
	return nil, fs.ErrNotExist
}
