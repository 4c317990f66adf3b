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

// Targets name modules as PEFT does: by a list, each item a whole path or its end after a dot ("in_proj"), or by one
// regular expression that matches whole paths, or by "all-linear", every linear layer but the head. "auto", which PEFT does
// not have, leaves the choice to the model; see [nn.Slot].
type Targets struct {
	Names   []string
	Pattern string // a regular expression, all-linear or auto; excludes Names
}

// Words that are no regular expressions.
const (
	allLinear = "all-linear"
	auto      = "auto"
)

// allLinear reports whether every linear layer but the head is meant.
func (t Targets) allLinear() bool { return strings.EqualFold(t.Pattern, allLinear) }

// moduleName is what is a name and no expression: parts of letters, digits and _ with dots between them.
var moduleName = regexp.MustCompile(`^\w+(\.\w+)*$`)

// ParseTargets reads targets from one text: all-linear, auto, names with commas or blanks between them, or a regular
// expression. A name is not taken for an expression, which would have to match the whole path.
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

// word reports whether Pattern is a word and no regular expression.
func (t Targets) word() bool { return t.allLinear() || t.Pattern == auto }

// named returns the targets that are the modules at paths and no others of the slots, by the ends of their paths if these
// will do.
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

// empty says that no module is meant.
func (t Targets) empty() bool { return t.Pattern == "" && len(t.Names) == 0 }

// String shows the targets as they are written in YAML.
func (t Targets) String() string {
	if t.Pattern != "" {
		return t.Pattern
	}
	return "[" + strings.Join(t.Names, ", ") + "]"
}

func (t Targets) sorted() Targets { return Targets{sorted(t.Names), t.Pattern} }

func sorted(names []string) []string { return slices.Sorted(slices.Values(names)) }

// matcher decides about one path and says which of the targets' patterns it was, by its place.
type matcher func(path string) (pattern int, ok bool, err error)

// compile makes the targets' matcher. all-linear and auto depend on the layers, so they match nothing here.
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

// endsIn says whether name is path or its end after a dot.
func endsIn(path, name string) bool {
	return path == name || strings.HasSuffix(path, "."+name)
}

// UnmarshalJSON reads a string, a list of strings or null.
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
		return fmt.Errorf("want a list of names, a regular expression, all-linear or auto, got %s", fault.Shorten(string(b), 60))
	}
	return nil
}

// MarshalYAML writes a string or a list of strings.
func (t Targets) MarshalYAML() (any, error) { return t.plain(), nil }

// MarshalJSON writes what UnmarshalJSON reads.
func (t Targets) MarshalJSON() ([]byte, error) { return json.Marshal(t.plain()) }

func (t Targets) plain() any {
	if t.Pattern != "" {
		return t.Pattern
	}
	return append([]string{}, t.Names...)
}

// Layers are numbers of layers; PEFT also writes a single number or null.
type Layers []int

// UnmarshalJSON reads a number, a list of numbers or null.
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

// Pattern gives modules their own value. A key is a regular expression for the end of a module's path; the first that
// matches wins, so order counts.
type Pattern[V int | float64] []PatternEntry[V]

// Entry is one line of a [Pattern].
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

// UnmarshalJSON reads an object, keeping its order, or null.
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
		if i, twice := place[e.Key]; twice { // Python keeps the place of the first and the value of the last
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

// MarshalYAML writes true as the boolean it is.
func (i Init) MarshalYAML() (any, error) {
	if i == InitTrue {
		return true, nil
	}
	return string(i), nil
}

// UnmarshalJSON reads a boolean or a name.
func (i *Init) UnmarshalJSON(b []byte) error {
	*i = Init(strings.Trim(string(b), `"`))
	return nil
}

// MarshalJSON writes true as the boolean it is.
func (i Init) MarshalJSON() ([]byte, error) {
	if i == InitTrue {
		return []byte("true"), nil
	}
	return json.Marshal(string(i))
}
