package recipe

import (
	"cmp"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"mambatrain/data/source"
)

// Sources is a list of data inputs. In YAML it is one path or id, {path, weight}, or a list of these.
type Sources []source.Input

// MarshalYAML returns the shortest form.
func (s Sources) MarshalYAML() (any, error) {
	if len(s) == 0 {
		return "", nil
	}
	forms := make([]any, len(s))
	for i, in := range s {
		if forms[i] = in.Path; in.Weight != 1 && in.Weight != 0 {
			forms[i] = weightedInput(in)
		}
	}
	if len(forms) == 1 {
		return forms[0], nil
	}
	return forms, nil
}

// weights lists the weights of the sources, or returns "1" if all of them are 1, however many sources name the data.
func (s Sources) weights() string {
	list, weighted := make([]string, len(s)), false
	for i, in := range s {
		weight := cmp.Or(in.Weight, 1)
		list[i], weighted = fmt.Sprint(weight), weighted || weight != 1
	}
	if !weighted {
		return "1"
	}
	return strings.Join(list, ", ")
}

type weightedInput struct {
	Path   string  `yaml:"path"`
	Weight float64 `yaml:"weight"`
}

// EvalSets is a list of datasets to evaluate on. A single set may be unnamed.
type EvalSets []NamedSources

// NamedSources is a dataset to evaluate on.
type NamedSources struct {
	Name    string
	Sources Sources
}

// MarshalYAML returns the sets in order.
func (e EvalSets) MarshalYAML() (any, error) {
	if len(e) == 0 {
		return "", nil
	}
	if len(e) == 1 && e[0].Name == "" {
		return e[0].Sources.MarshalYAML()
	}
	m := &yaml.Node{Kind: yaml.MappingNode}
	for _, set := range e {
		var v yaml.Node
		if err := v.Encode(set.Sources); err != nil {
			return nil, err
		}
		var name yaml.Node
		name.SetString(set.Name)
		m.Content = append(m.Content, &name, &v)
	}
	return m, nil
}
