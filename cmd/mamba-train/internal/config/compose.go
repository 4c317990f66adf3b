package config

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"mambatrain/internal/fault"
)

// Compose writes a configuration file. texts maps each key to a value as it would be written after --set. An optional
// section is present if one of its keys is given, or the section itself, as in lora={}. Keys are written in the order of
// the reference. Unknown keys and values that are not valid YAML are left out and reported as by [Load].
func Compose(texts map[string]string) ([]byte, error) {
	s := newSchema()
	var faults fault.List
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
			faults.Add(path, "%v", err)
			continue
		}
		place(root, path, node)
	}
	for _, path := range slices.Sorted(maps.Keys(texts)) {
		if s.settings[path] == nil && !slices.Contains(optionalSections, path) {
			section, key := split(path)
			faults.Add(path, "%s", s.unknown(section, key))
		}
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return nil, err
	}
	return out.Bytes(), faults.Err()
}

// split splits a path into its section and its key.
func split(path string) (section, key string) {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

// place adds a value to a document, in its section.
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

// Texts returns the keys in a configuration file, each with a text from which [Compose] makes the same value, and the
// faults in the form of the file.
func Texts(file []byte, name string) (map[string]string, error) {
	s := newSchema()
	var faults fault.List
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
			faults.AddFrom(name, path, "%v", err)
			continue
		}
		texts[path] = text
	}
	return texts, faults.Err()
}

// text formats a value on one line so that parse reads it back.
func (s schema) text(path string, n *yaml.Node) (string, error) {
	n = resolve(n)
	if again, err := s.parse(path, n.Value); err == nil && n.Kind == yaml.ScalarNode && again.Kind == yaml.ScalarNode && again.Value == n.Value && again.Tag == n.Tag {
		return n.Value, nil
	}
	b, err := yaml.Marshal(flow(n))
	return strings.TrimSpace(string(b)), err
}

// flow returns a copy of a value in JSON style, without comments, anchors, or aliases.
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
