package lora

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"mambatrain/internal/fault"
	"mambatrain/internal/pyjson"
	"mambatrain/nn"
)

// Targets select modules as PEFT does: by a list of full paths or suffixes after a dot ("in_proj"), by a regular
// expression that matches full paths, or by "all-linear", every linear layer except the head. "auto", which PEFT does
// not have, leaves the choice to the model; see [nn.Slot].
type Targets struct {
	Names   []string
	Pattern string // a regular expression, all-linear, or auto; excludes Names
}

// Keywords, which are not regular expressions.
const (
	allLinear = "all-linear"
	auto      = "auto"
)

// allLinear reports whether t selects every linear layer except the head.
func (t Targets) allLinear() bool { return strings.EqualFold(t.Pattern, allLinear) }

// moduleName matches names that are not regular expressions: components of letters, digits, and _, separated by dots.
var moduleName = regexp.MustCompile(`^\w+(\.\w+)*$`)

// ParseTargets parses targets from a string: all-linear, auto, names separated by commas or spaces, or a regular
// expression. A name is not treated as an expression, which would have to match the full path.
func ParseTargets(text string) Targets {
	spelled := strings.ToLower(strings.ReplaceAll(strings.TrimSpace(text), "_", "-"))
	if spelled == allLinear || spelled == auto {
		return Targets{Pattern: spelled}
	}
	names := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
	if len(names) > 0 && !slices.ContainsFunc(names, func(name string) bool { return !moduleName.MatchString(name) }) {
		return Targets{Names: names}
	}
	return Targets{Pattern: text}
}

// word reports whether Pattern is a keyword rather than a regular expression.
func (t Targets) word() bool { return t.allLinear() || t.Pattern == auto }

// named returns targets that select exactly the modules at paths among the slots, by suffix if that is unambiguous.
func named(paths []string, slots []nn.Slot) Targets {
	var ends []string
	for _, path := range paths {
		if end := path[strings.LastIndexByte(path, '.')+1:]; !slices.Contains(ends, end) {
			ends = append(ends, end)
		}
	}
	for _, s := range slots {
		hit := slices.ContainsFunc(ends, func(end string) bool { return endsIn(s.Path, end) })
		if hit && !slices.Contains(paths, s.Path) {
			return Targets{Names: paths}
		}
	}
	return Targets{Names: ends}
}

// empty reports whether t selects no modules.
func (t Targets) empty() bool { return t.Pattern == "" && len(t.Names) == 0 }

// String returns the targets in YAML syntax.
func (t Targets) String() string {
	if t.Pattern != "" {
		return t.Pattern
	}
	return "[" + strings.Join(t.Names, ", ") + "]"
}

func (t Targets) sorted() Targets { return Targets{sorted(t.Names), t.Pattern} }

func sorted(names []string) []string { return slices.Sorted(slices.Values(names)) }

// matcher reports whether a path matches, and the index of the pattern that matched.
type matcher func(path string) (pattern int, ok bool, err error)

// compile returns a matcher for the targets. all-linear and auto depend on the layers, so they match nothing here.
func (t Targets) compile() (matcher, error) {
	if t.Pattern == "" || t.word() {
		return func(path string) (int, bool, error) {
			i := slices.IndexFunc(t.Names, func(name string) bool { return endsIn(path, name) })
			return i, i >= 0, nil
		}, nil
	}
	left := matchTime
	e, err := compile(t.Pattern, "", "", &left)
	if err != nil {
		return nil, err
	}
	return func(path string) (int, bool, error) {
		ok, err := e.match(path)
		return 0, ok, err
	}, nil
}

// unmatched returns the names or the expression in t that match none of the paths.
func (t Targets) unmatched(paths []string) ([]string, error) {
	if t.Pattern == "" {
		return slices.DeleteFunc(slices.Clone(t.Names), func(name string) bool {
			return slices.ContainsFunc(paths, func(path string) bool { return endsIn(path, name) })
		}), nil
	}
	match, err := t.compile()
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		if _, ok, err := match(path); ok || err != nil {
			return nil, err
		}
	}
	return []string{t.Pattern}, nil
}

// endsIn reports whether name is path or a suffix of it after a dot.
func endsIn(path, name string) bool {
	return path == name || strings.HasSuffix(path, "."+name)
}

// UnmarshalJSON parses a string, a list of strings, or null.
func (t *Targets) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*t = Targets{}
	list, isList := v.([]any)
	for _, item := range list {
		name, ok := item.(string)
		if isList = isList && ok; !isList {
			break
		}
		t.Names = append(t.Names, name)
	}
	if pattern, ok := v.(string); ok {
		t.Pattern = pattern
	} else if !isList && v != nil {
		return fmt.Errorf("want a list of names, a regular expression, all-linear, or auto, got %s", fault.Shorten(string(b), 60))
	}
	return nil
}

// MarshalYAML writes a string or a list of strings.
func (t Targets) MarshalYAML() (any, error) { return t.plain(), nil }

// MarshalJSON writes the form that UnmarshalJSON parses.
func (t Targets) MarshalJSON() ([]byte, error) { return json.Marshal(t.plain()) }

func (t Targets) plain() any {
	if t.Pattern != "" {
		return t.Pattern
	}
	return append([]string{}, t.Names...)
}

// Layers are layer numbers. PEFT also writes a single number or null.
type Layers []int

// UnmarshalJSON parses a number, a list of numbers, or null.
func (l *Layers) UnmarshalJSON(b []byte) error {
	var one *int
	if err := json.Unmarshal(b, &one); err == nil {
		*l = nil
		if one != nil {
			*l = Layers{*one}
		}
		return nil
	}
	var list []int
	if err := json.Unmarshal(b, &list); err != nil {
		return fmt.Errorf("want a list of layer numbers: %w", err)
	}
	*l = list
	return nil
}

// Pattern assigns values to modules. A key is a regular expression for the end of a module's path. The first match
// wins, so order matters.
type Pattern[V int | float64] []PatternEntry[V]

// PatternEntry is one entry of a [Pattern].
type PatternEntry[V int | float64] struct {
	Key   string
	Value V
}

// MarshalYAML writes a map in order.
func (p Pattern[V]) MarshalYAML() (any, error) {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, e := range p {
		var key, value yaml.Node
		if err := errors.Join(key.Encode(e.Key), value.Encode(e.Value)); err != nil {
			return nil, err
		}
		n.Content = append(n.Content, &key, &value)
	}
	if len(n.Content) == 0 {
		n.Style = yaml.FlowStyle
	}
	return n, nil
}

// UnmarshalJSON parses an object, preserving its order, or null.
func (p *Pattern[V]) UnmarshalJSON(b []byte) error {
	*p = nil
	dec := json.NewDecoder(bytes.NewReader(b))
	switch open, err := dec.Token(); {
	case err != nil:
		return err
	case open == nil:
		return nil
	case open != json.Delim('{'):
		return fmt.Errorf("want an object, got %s", fault.Shorten(string(b), 60))
	}
	place := map[string]int{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		e := PatternEntry[V]{Key: key.(string)}
		if err := dec.Decode(&e.Value); err != nil {
			return fmt.Errorf("%s: %w", fault.Shorten(e.Key, 60), pyjson.Explain(nil, err))
		}
		if i, twice := place[e.Key]; twice { // Python keeps the position of the first and the value of the last
			(*p)[i] = e
			continue
		}
		place[e.Key] = len(*p)
		*p = append(*p, e)
	}
	_, err := dec.Token()
	return err
}

// MarshalJSON writes an object in order.
func (p Pattern[V]) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, e := range p {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(e.Key)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%s:%v", key, e.Value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// MarshalYAML writes true as a boolean.
func (i Init) MarshalYAML() (any, error) {
	if i == InitTrue {
		return true, nil
	}
	return string(i), nil
}

// UnmarshalJSON parses a boolean or a name.
func (i *Init) UnmarshalJSON(b []byte) error {
	*i = Init(strings.Trim(string(b), `"`))
	return nil
}

// MarshalJSON writes true as a boolean.
func (i Init) MarshalJSON() ([]byte, error) {
	if i == InitTrue {
		return []byte("true"), nil
	}
	return json.Marshal(string(i))
}
