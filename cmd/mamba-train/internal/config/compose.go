package config

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Compose writes a configuration file from the texts of keys, each as it is written after --set. A section that may be
// absent is present if one of its keys has a text, or it has one itself, as in lora={}. Keys come in the order of the
// reference. What is no key, or has a text that is no YAML, is reported as [Load] does and left out.
func Compose(texts map[string]string) ([]byte, error) {
	s := newSchema()
	var faults faultList
	root := &yaml.Node{Kind: yaml.MappingNode}
	for _, path := range s.paths {
		section, _, _ := strings.Cut(path, ".")
		if _, empty := texts[section]; empty && s.sections[section] && value(root, section) == nil {
			root.Content = append(root.Content, textNode(section), &yaml.Node{Kind: yaml.MappingNode})
		}
		text, given := texts[path]
		if !given {
			continue
		}
		node, err := s.parse(path, text)
		if err != nil {
			faults.add("", path, "%v", err)
			continue
		}
		place(root, path, node)
	}
	for _, path := range slices.Sorted(maps.Keys(texts)) {
		if s.settings[path] == nil && !slices.Contains(optionalSections, path) {
			section, key := split(path)
			faults.add("", path, "%s", s.unknown(section, key))
		}
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return nil, err
	}
	return out.Bytes(), faults.err()
}

// split returns the section of a path and the key in it.
func split(path string) (section, key string) {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

// place adds a value to a document, below its section.
func place(root *yaml.Node, path string, node *yaml.Node) {
	section, key := split(path)
	if section != "" {
		in := value(root, section)
		if in == nil {
			in = &yaml.Node{Kind: yaml.MappingNode}
			root.Content = append(root.Content, textNode(section), in)
		}
		root = in
	}
	root.Content = append(root.Content, textNode(key), node)
}

// Texts returns the keys that a configuration file names, each with the text that [Compose] makes the same value of, and the
// faults of form that the file has.
func Texts(file []byte, name string) (map[string]string, error) {
	s := newSchema()
	var faults faultList
	found := s.read(file, name, &faults)
	texts := map[string]string{}
	for section, present := range found.sections {
		if present && slices.Contains(optionalSections, section) {
			texts[section] = "{}"
		}
	}
	for path, node := range found.nodes {
		text, err := s.text(path, node)
		if err != nil {
			faults.add(name, path, "%v", err)
			continue
		}
		texts[path] = text
	}
	return texts, faults.err()
}

// text writes a value on one line, such that parse reads it back.
func (s schema) text(path string, n *yaml.Node) (string, error) {
	n = resolve(n)
	if again, err := s.parse(path, n.Value); err == nil && n.Kind == yaml.ScalarNode && again.Kind == yaml.ScalarNode && again.Value == n.Value && again.Tag == n.Tag {
		return n.Value, nil
	}
	b, err := yaml.Marshal(flow(n))
	return strings.TrimSpace(string(b)), err
}

// flow returns a copy of a value in the style of JSON, without comments, anchors and aliases.
func flow(n *yaml.Node) *yaml.Node {
	n = resolve(n)
	c := &yaml.Node{Kind: n.Kind, Tag: n.Tag, Value: n.Value, Style: yaml.FlowStyle}
	if n.Kind == yaml.ScalarNode {
		c.Style = n.Style &^ (yaml.LiteralStyle | yaml.FoldedStyle)
	}
	for _, child := range n.Content {
		c.Content = append(c.Content, flow(child))
	}
	return c
}
