package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"mambatrain/data/source"
	"mambatrain/lora"
)

// nodeReader is a configuration value with its own forms in YAML.
type nodeReader interface {
	// readNode reads the value; the error says what was wanted and what was found, without naming the key.
	readNode(n *yaml.Node) error
}

// sources are data inputs: one path or id, {path, weight}, or a list of these.
type sources []source.Input

func (s *sources) readNode(n *yaml.Node) error {
	if n.Kind != yaml.SequenceNode {
		in, err := readInput(n)
		*s = sources{in}
		if in.Path == "" {
			*s = nil
		}
		return err
	}
	*s = nil
	var errs []error
	for i, item := range n.Content {
		in, err := readInput(resolve(item))
		if err == nil && in.Path == "" {
			err = errors.New("want a path or an id, got an empty text")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("[%d]: %w", i, err))
		}
		*s = append(*s, in)
	}
	return errors.Join(errs...)
}

// maxWeight bounds the share of a data set, whose rows are counted by it.
const maxWeight = 1e6

// readInput reads a path or {path, weight}.
func readInput(n *yaml.Node) (in source.Input, err error) {
	const want = "a path, an id or {path: …, weight: …}"
	if n.Kind != yaml.MappingNode {
		if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
			return in, unwanted(want, n)
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
			return in, fmt.Errorf("%s: %w", key.Value, unwanted(map[string]string{"path": "text", "weight": "a number"}[key.Value], value))
		default:
			return in, fmt.Errorf("unknown key %q, want path and weight", key.Value)
		}
	}
	if in.Path == "" {
		return in, errors.New("path must be given")
	}
	return in, nil
}

// MarshalYAML writes the shortest form.
func (s sources) MarshalYAML() (any, error) {
	if len(s) == 0 {
		return "", nil
	}
	forms := make([]any, len(s))
	for i, in := range s {
		if forms[i] = in.Path; in.Weight != 1 {
			forms[i] = weighted(in)
		}
	}
	if len(forms) == 1 {
		return forms[0], nil
	}
	return forms, nil
}

type weighted struct {
	Path   string  `yaml:"path"`
	Weight float64 `yaml:"weight"`
}

// evalSets are the data sets to evaluate on. The only one may go without a name.
type evalSets []evalSet

type evalSet struct {
	Name    string
	Sources sources
}

func (e *evalSets) readNode(n *yaml.Node) error {
	*e = nil
	if n.Kind != yaml.MappingNode || isInput(n) {
		var s sources
		if err := s.readNode(n); err != nil {
			return err
		}
		if len(s) > 0 {
			*e = evalSets{{Sources: s}}
		}
		return nil
	}
	var errs []error
	for key, v := range pairs(n) {
		set := evalSet{Name: key.Value}
		if err := set.Sources.readNode(v); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key.Value, err))
		} else if len(set.Sources) == 0 || set.Name == "" {
			errs = append(errs, fmt.Errorf("%q: want a name and a path or an id", key.Value))
		}
		*e = append(*e, set)
	}
	return errors.Join(errs...)
}

// isInput tells {path, weight} from named sets.
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

// MarshalYAML writes the sets in their order.
func (e evalSets) MarshalYAML() (any, error) {
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
		m.Content = append(m.Content, textNode(set.Name), &v)
	}
	return m, nil
}

// readTargets reads names, or one regular expression or the word all-linear.
func readTargets(n *yaml.Node, t *lora.Targets) error {
	*t = lora.Targets{}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		t.Pattern = n.Value
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		return unwanted("a list of names, a regular expression or all-linear", n)
	}
	names, err := texts(n)
	if len(names) > 0 {
		t.Names = names
	}
	return err
}

// readPattern reads values by module pattern in the order of the file, since the first that matches wins.
func readPattern[V int | float64](n *yaml.Node, p *lora.Pattern[V]) error {
	*p = nil
	if n.Kind != yaml.MappingNode {
		return unwanted("names with their values", n)
	}
	var errs []error
	for key, v := range pairs(n) {
		e := lora.PatternEntry[V]{Key: key.Value}
		if err := decodeScalar(v, &e.Value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key.Value, err))
		}
		*p = append(*p, e)
	}
	return errors.Join(errs...)
}

// readInit reads peft's init_lora_weights: true or a word.
func readInit(n *yaml.Node, i *lora.Init) error {
	if n.Kind == yaml.ScalarNode && (n.Tag == "!!bool" || n.Tag == "!!str") {
		*i = lora.Init(n.Value)
		return nil
	}
	return unwanted("true, gaussian or pissa", n)
}

// byteSize is a number of bytes, written as 4GiB, 500MB or a plain number; 0 is written "".
type byteSize int64

var byteUnits = []struct {
	name  string
	bytes float64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1}, {"", 1},
}

// parseBytes reads a size such as 4GiB, 1.5 GB or 1000000.
func parseBytes(s string) (byteSize, error) {
	for _, u := range byteUnits {
		number, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(v >= 0) || v*u.bytes > math.MaxInt64/2 {
			break
		}
		return byteSize(v * u.bytes), nil
	}
	return 0, fmt.Errorf("want a size such as 4GiB or 500MB, got %q", s)
}

func (b *byteSize) readNode(n *yaml.Node) (err error) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" && n.Tag != "!!int" {
		return unwanted("a size such as 4GiB", n)
	}
	if *b = 0; n.Value == "" {
		return nil
	}
	*b, err = parseBytes(n.Value)
	return err
}

// MarshalYAML writes the size in the largest unit that divides it.
func (b byteSize) MarshalYAML() (any, error) {
	if b == 0 {
		return "", nil
	}
	return b.exact(), nil
}

func (b byteSize) exact() string {
	for _, u := range byteUnits {
		if n := int64(u.bytes); u.name != "" && int64(b)%n == 0 {
			return strconv.FormatInt(int64(b)/n, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// String writes the size to three digits.
func (b byteSize) String() string {
	for _, u := range byteUnits[:4] {
		if x := float64(b) / u.bytes; x >= 1 {
			return strconv.FormatFloat(x, 'f', digitsAfterPoint(x), 64) + " " + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10) + " B"
}

func digitsAfterPoint(x float64) int {
	switch {
	case x < 10:
		return 2
	case x < 100:
		return 1
	}
	return 0
}
