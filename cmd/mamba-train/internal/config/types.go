package config

import (
	"errors"
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v3"

	"mambatrain/data/source"
	"mambatrain/internal/fault"
	"mambatrain/internal/format"
	"mambatrain/lora"
	"mambatrain/trainer"
	"mambatrain/trainer/recipe"
)

// readSources reads data inputs: a path or id, a {path, weight} object, or a list of these.
func readSources(n *yaml.Node, s *recipe.Sources) error {
	if n.Kind != yaml.SequenceNode {
		in, err := readInput(n)
		*s = recipe.Sources{in}
		if in.Path == "" {
			*s = nil
		}
		return err
	}
	*s = nil
	var faults fault.List
	for i, item := range n.Content {
		in, err := readInput(resolve(item))
		if err == nil && in.Path == "" {
			err = errors.New("want a path or an id, got an empty string")
		}
		faults.Include(fmt.Sprintf("[%d]", i), err)
		*s = append(*s, in)
	}
	return faults.Err()
}

// maxWeight limits the weight of a dataset, by which its number of rows is multiplied.
const maxWeight = 1e6

// readInput reads a path or a {path, weight} object.
func readInput(n *yaml.Node) (in source.Input, err error) {
	const want = "a path, an id, or {path: …, weight: …}"
	if n.Kind != yaml.MappingNode {
		if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
			return in, mismatch(want, n)
		}
		return source.Input{Path: n.Value, Weight: 1}, nil
	}
	in.Weight = 1
	for key, value := range pairs(n) {
		switch {
		case key.Value == "path" && value.Tag == "!!str":
			in.Path = value.Value
		case key.Value == "weight" && (value.Tag == "!!int" || value.Tag == "!!float"):
			if in.Weight, err = strconv.ParseFloat(value.Value, 64); err != nil || !(in.Weight > 0 && in.Weight <= maxWeight) {
				return in, fmt.Errorf("weight must be above 0 and at most %g, got %s", maxWeight, value.Value)
			}
		case key.Value == "path" || key.Value == "weight":
			return in, fmt.Errorf("%s: %w", key.Value, mismatch(map[string]string{"path": "text", "weight": "a number"}[key.Value], value))
		default:
			return in, fmt.Errorf("unknown key %q, want path or weight", key.Value)
		}
	}
	if in.Path == "" {
		return in, errors.New("path is required")
	}
	return in, nil
}

// readEvalSets reads data inputs, or a mapping from names to data inputs.
func readEvalSets(n *yaml.Node, e *recipe.EvalSets) error {
	*e = nil
	if n.Kind != yaml.MappingNode || isInput(n) {
		var s recipe.Sources
		if err := readSources(n, &s); err != nil {
			return err
		}
		if len(s) > 0 {
			*e = recipe.EvalSets{{Sources: s}}
		}
		return nil
	}
	var faults fault.List
	for key, v := range pairs(n) {
		set := recipe.NamedSources{Name: key.Value}
		if err := readSources(v, &set.Sources); err != nil {
			addEntry(&faults, key.Value, err)
		} else if len(set.Sources) == 0 || set.Name == "" {
			faults.Add("", "%q: want a name with a path or an id", key.Value)
		}
		*e = append(*e, set)
	}
	return faults.Err()
}

// isInput distinguishes a {path, weight} object from named sets.
func isInput(n *yaml.Node) bool {
	if value(n, "path") == nil {
		return false
	}
	for key := range pairs(n) {
		if key.Value != "path" && key.Value != "weight" {
			return false
		}
	}
	return true
}

// readTargets reads a list of names, or a string accepted by [lora.ParseTargets].
func readTargets(n *yaml.Node, t *lora.Targets) error {
	*t = lora.Targets{}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		*t = lora.ParseTargets(n.Value)
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		return mismatch("a list of names, a regular expression, or all-linear", n)
	}
	names, err := texts(n)
	switch {
	case len(names) == 1 && lora.ParseTargets(names[0]).Names == nil: // [all-linear] is not a list of names
		*t = lora.ParseTargets(names[0])
	case len(names) > 0:
		t.Names = names
	}
	return err
}

// readPattern reads values by module pattern, in the order of the file, because the first match wins.
func readPattern[V int | float64](n *yaml.Node, p *lora.Pattern[V]) error {
	*p = nil
	if n.Kind != yaml.MappingNode {
		return mismatch("a mapping of names to values", n)
	}
	var faults fault.List
	for key, v := range pairs(n) {
		e := lora.PatternEntry[V]{Key: key.Value}
		if err := decodeScalar(v, &e.Value); err != nil {
			addEntry(&faults, key.Value, err)
		}
		*p = append(*p, e)
	}
	return faults.Err()
}

// readInit reads peft's init_lora_weights: true or a word.
func readInit(n *yaml.Node, i *lora.Init) error {
	if n.Kind == yaml.ScalarNode && (n.Tag == "!!bool" || n.Tag == "!!str") {
		*i = lora.Init(n.Value)
		return nil
	}
	return mismatch("true, gaussian, or pissa", n)
}

// readBytes reads a size such as 4GiB.
func readBytes(n *yaml.Node, b *format.Bytes) (err error) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" && n.Tag != "!!int" {
		return mismatch("a size such as 4GiB", n)
	}
	if *b = 0; n.Value == "" {
		return nil
	}
	*b, err = format.ParseBytes(n.Value)
	return err
}

// readSamplePrompts reads a list of strings and conversations. A conversation is a list of messages.
func readSamplePrompts(n *yaml.Node, p *[]trainer.SamplePrompt) error {
	if n.Kind != yaml.SequenceNode {
		return mismatch("a list of texts or of lists of messages", n)
	}
	*p = make([]trainer.SamplePrompt, len(n.Content))
	var faults fault.List
	for i, item := range n.Content {
		item, path := resolve(item), fmt.Sprintf("[%d]", i)
		var err error
		switch item.Kind {
		case yaml.SequenceNode:
			(*p)[i].Messages, err = readMessages(item)
		case yaml.ScalarNode:
			err = decodeScalar(item, &(*p)[i].Text)
		default:
			err = mismatch("a text or a list of messages", item)
		}
		faults.Include(path, err)
	}
	return faults.Err()
}

// readMessages reads {role, content} objects.
func readMessages(n *yaml.Node) ([]trainer.Message, error) {
	if len(n.Content) == 0 {
		return nil, errors.New("want at least one message {role: …, content: …}")
	}
	list := make([]trainer.Message, len(n.Content))
	var faults fault.List
	for i, item := range n.Content {
		item, path := resolve(item), fmt.Sprintf("[%d]", i)
		if item.Kind != yaml.MappingNode {
			faults.Include(path, mismatch("a message {role: …, content: …}", item))
			continue
		}
		texts := map[string]*string{"role": &list[i].Role, "content": &list[i].Content}
		for key, value := range pairs(item) {
			if texts[key.Value] == nil {
				faults.Add(path, "unknown key %s, want role or content", key.Value)
				continue
			}
			faults.Include(path+"."+key.Value, decodeScalar(value, texts[key.Value]))
		}
		for _, key := range []string{"role", "content"} {
			if value(item, key) == nil {
				faults.Add(path, "%s is missing", key)
			}
		}
	}
	return list, faults.Err()
}
