package lora

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dlclark/regexp2/v2"
	"go.yaml.in/yaml/v3"
)

// Targets name modules as PEFT does: by a list, each item a whole path or its end after a dot ("in_proj"), or by one
// regular expression that matches whole paths, or by "all-linear", every linear layer but the head.
type Targets struct {
	Names   []string
	Pattern string // a regular expression or all-linear; excludes Names
}

const allLinear = "all-linear"

// allLinear reports whether every linear layer but the head is meant.
func (t Targets) allLinear() bool { return strings.EqualFold(t.Pattern, allLinear) }

// Empty says that no module is meant.
func (t Targets) Empty() bool { return t.Pattern == "" && len(t.Names) == 0 }

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
type matcher func(path string) (pattern int, ok bool)

// compile makes the targets' matcher. all-linear depends on the kind of layer, so it matches nothing here.
func (t Targets) compile() (matcher, error) {
	if t.Pattern == "" || t.allLinear() {
		return func(path string) (int, bool) {
			i := slices.IndexFunc(t.Names, func(name string) bool { return endsIn(path, name) })
			return i, i >= 0
		}, nil
	}
	re, err := compile(t.Pattern)
	if err != nil {
		return nil, err
	}
	return func(path string) (int, bool) { return 0, matches(re, path) }, nil
}

// endsIn says whether name is path or its end after a dot.
func endsIn(path, name string) bool {
	return path == name || strings.HasSuffix(path, "."+name)
}

// compile reads a regular expression that has to match a whole path. The syntax is that of Python, where lookaround is
// common, and not Go's.
func compile(expr string) (*regexp2.Regexp, error) {
	_, err := regexp2.Compile(expr) // by itself first: a message about it must not show what is put around it
	var re *regexp2.Regexp
	if err == nil {
		re, err = regexp2.Compile(`\A(?:` + expr + `)\z`)
	}
	if err != nil {
		return nil, fmt.Errorf("%q is not a regular expression: %w", expr, err)
	}
	re.MatchTimeout = time.Second
	return re, nil
}

// matches says whether re matches; an expression that does not come to an end does not.
func matches(re *regexp2.Regexp, path string) bool {
	ok, err := re.MatchString(path)
	return ok && err == nil
}

// UnmarshalJSON reads a string, a list of strings or null.
func (t *Targets) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*t = Targets{}
	switch v.(type) {
	case nil:
		return nil
	case string:
		return json.Unmarshal(b, &t.Pattern)
	case []any:
		return json.Unmarshal(b, &t.Names)
	}
	return fmt.Errorf("want a list of names, a regular expression or all-linear, got %v", v)
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

func (p Pattern[V]) lookup(path string) (v V, ok bool) {
	for _, e := range p {
		if re, err := compile(`(?:.*\.)?(?:` + e.Key + `)`); err == nil && matches(re, path) {
			return e.Value, true
		}
	}
	return v, false
}

func (p Pattern[V]) check() error {
	var errs []error
	for _, e := range p {
		if _, err := compile(e.Key); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
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
		return fmt.Errorf("want an object, got %v", open)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		e := PatternEntry[V]{Key: key.(string)}
		if err := dec.Decode(&e.Value); err != nil {
			return fmt.Errorf("%s: %w", e.Key, err)
		}
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
