package config

import (
	"fmt"
	"iter"
	"math"
	"reflect"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"mambatrain/internal/fault"
	"mambatrain/internal/format"
	"mambatrain/lora"
	"mambatrain/trainer"
	"mambatrain/trainer/recipe"
)

// resolve follows aliases.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// pairs iterates over the keys and values of a mapping.
func pairs(n *yaml.Node) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(k, v *yaml.Node) bool) {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if !yield(n.Content[i], resolve(n.Content[i+1])) {
				return
			}
		}
	}
}

// value returns the value of a key in a mapping, or nil if there is none.
func value(n *yaml.Node, key string) *yaml.Node {
	for k, v := range pairs(n) {
		if k.Value == key {
			return v
		}
	}
	return nil
}

// repeated reports keys that occur twice in a mapping or in a nested mapping.
func repeated(n *yaml.Node, faults *fault.List) {
	for _, child := range n.Content {
		repeated(child, faults)
	}
	if n.Kind != yaml.MappingNode {
		return
	}
	first := map[string]int{}
	for key := range pairs(n) {
		if line, ok := first[key.Value]; ok {
			faults.Add("", "%s: %s", key.Value, duplicate(line))
			continue
		}
		first[key.Value] = key.Line
	}
}

// duplicate returns the problem of a key that was set before.
func duplicate(line int) string { return fmt.Sprintf("duplicate key, first set on line %d", line) }

// addEntry adds the faults of a map entry. The entry's name is put into the problem and not into the path, because it may
// contain dots.
func addEntry(l *fault.List, name string, err error) {
	var faults fault.List
	faults.Include("", err)
	for _, f := range faults {
		l.Add("", "%s: %v", name, f)
	}
}

func textNode(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}

// isNull reports whether a value is absent, as in "key:" or "key: null".
func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// mismatch returns an error with the expected and the actual value.
func mismatch(want string, n *yaml.Node) error {
	if isNull(n) {
		return fmt.Errorf("want %s, got nothing: omit the key to use its default", want)
	}
	hint := ""
	if n.Kind == yaml.ScalarNode && n.Tag != "!!str" && want == "text" {
		hint = `: put it in quotes`
	}
	return fmt.Errorf("want %s, got %s%s", want, describe(n), hint)
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	const limit = 60
	v := n.Value
	if len(v) > limit {
		v = v[:limit] + "…"
	}
	if n.Tag == "!!str" {
		return strconv.Quote(v)
	}
	return v
}

// texts reads a list of strings.
func texts(n *yaml.Node) ([]string, error) {
	if n.Kind != yaml.SequenceNode {
		return nil, mismatch("a list of strings", n)
	}
	list := make([]string, len(n.Content))
	for i, item := range n.Content {
		item = resolve(item)
		if item.Kind != yaml.ScalarNode || item.Tag != "!!str" {
			return nil, fault.Fault{Path: fmt.Sprintf("[%d]", i), Problem: mismatch("text", item).Error()}
		}
		list[i] = item.Value
	}
	return list, nil
}

// hasShortForm reports whether a type's values may be written as a single string and also as a list, a map, or a number.
func hasShortForm(t reflect.Type) bool {
	switch t {
	case reflect.TypeFor[recipe.Sources](), reflect.TypeFor[recipe.EvalSets](), reflect.TypeFor[format.Bytes]():
		return true
	}
	return false
}

// decode decodes a node into dst, a configuration value. Types must match exactly: fractions are not truncated to integers,
// and strings are not parsed as numbers.
func decode(n *yaml.Node, dst reflect.Value) error {
	n = resolve(n)
	var faults fault.List
	if repeated(n, &faults); len(faults) > 0 {
		return faults
	}
	if isNull(n) && hasShortForm(dst.Type()) {
		return mismatch("a value", n)
	}
	switch p := dst.Addr().Interface().(type) {
	case *recipe.Sources:
		return readSources(n, p)
	case *recipe.EvalSets:
		return readEvalSets(n, p)
	case *format.Bytes:
		return readBytes(n, p)
	case *[]string:
		list, err := texts(n)
		*p = list
		return err
	case *[]trainer.SamplePrompt:
		return readSamplePrompts(n, p)
	case *lora.Targets:
		return readTargets(n, p)
	case *lora.Pattern[int]:
		return readPattern(n, p)
	case *lora.Pattern[float64]:
		return readPattern(n, p)
	case *lora.Layers:
		return readLayers(n, p)
	case *lora.Init:
		return readInit(n, p)
	case *map[string]any:
		return decodeWords(n, p)
	default:
		return decodeScalar(n, p)
	}
}

// decodeScalar decodes a boolean, a number, a string, or a duration into what p points to.
func decodeScalar(n *yaml.Node, p any) error {
	want := map[reflect.Kind]string{
		reflect.Bool: "true or false", reflect.Int: "a whole number", reflect.Float64: "a number", reflect.String: "text",
	}[reflect.TypeOf(p).Elem().Kind()]
	if n.Kind != yaml.ScalarNode {
		return mismatch(want, n)
	}
	var err error
	switch p := p.(type) {
	case *time.Duration:
		if *p, err = time.ParseDuration(n.Value); err != nil {
			return mismatch("a duration such as 10m or 90s", n)
		}
		return nil
	case *bool:
		if n.Tag == "!!bool" {
			return n.Decode(p)
		}
	case *int:
		if n.Tag == "!!int" && n.Decode(p) == nil {
			return nil
		}
	case *float64:
		if (n.Tag == "!!int" || n.Tag == "!!float") && n.Decode(p) == nil && !math.IsNaN(*p) {
			return nil
		}
	case *string:
		if n.Tag == "!!str" {
			*p = n.Value
			return nil
		}
	default:
		return fmt.Errorf("%T is not a configuration type", p)
	}
	return mismatch(want, n)
}

func readLayers(n *yaml.Node, p *lora.Layers) error {
	if n.Kind != yaml.SequenceNode {
		return mismatch("a list of whole numbers", n)
	}
	*p = make(lora.Layers, len(n.Content))
	var faults fault.List
	for i, item := range n.Content {
		faults.Include(fmt.Sprintf("[%d]", i), decodeScalar(resolve(item), &(*p)[i]))
	}
	return faults.Err()
}

// decodeWords decodes a mapping from names to numbers, strings, or booleans.
func decodeWords(n *yaml.Node, p *map[string]any) error {
	if n.Kind != yaml.MappingNode {
		return mismatch("a mapping of names to values", n)
	}
	*p = map[string]any{}
	var faults fault.List
	for k, v := range pairs(n) {
		var x any
		if v.Kind != yaml.ScalarNode || v.Decode(&x) != nil {
			addEntry(&faults, k.Value, mismatch("a number, a string, true, or false", v))
		}
		(*p)[k.Value] = x
	}
	return faults.Err()
}
