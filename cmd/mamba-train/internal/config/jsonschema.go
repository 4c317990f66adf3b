package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"mambatrain/configs"
	"mambatrain/internal/fault"
	"mambatrain/internal/format"
	"mambatrain/lora"
	"mambatrain/trainer"
	"mambatrain/trainer/recipe"
)

// draft is the newest draft of JSON Schema that yaml-language-server, and therefore most editors, support.
const draft = "http://json-schema.org/draft-07/schema#"

// valueSchema is the subset of JSON Schema needed to describe a configuration.
type valueSchema struct {
	Draft       string         `json:"$schema,omitempty"`
	Title       string         `json:"title,omitempty"`
	Description string         `json:"description,omitempty"`
	Type        any            `json:"type,omitempty"` // a name or a list of names
	Enum        []any          `json:"enum,omitempty"`
	Pattern     string         `json:"pattern,omitempty"`
	MinLength   int            `json:"minLength,omitempty"`
	Default     any            `json:"default,omitempty"`
	AnyOf       []*valueSchema `json:"anyOf,omitempty"`
	Items       *valueSchema   `json:"items,omitempty"`
	MinItems    int            `json:"minItems,omitempty"`
	Properties  properties     `json:"properties,omitempty"`
	Required    []string       `json:"required,omitempty"`
	Additional  any            `json:"additionalProperties,omitempty"` // false, or the schema of all other values
	Exclusive   *float64       `json:"exclusiveMinimum,omitempty"`
	Maximum     *float64       `json:"maximum,omitempty"`
}

// properties are the keys of an object, in the order that an editor offers them.
type properties []property

type property struct {
	name   string
	schema *valueSchema
}

// MarshalJSON writes the properties as an object, in order.
func (p properties) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	for i, one := range p {
		out.WriteByte("{,"[min(i, 1)])
		value, err := marshal(one.schema)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "%q:%s", one.name, value)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// marshal is json.Marshal without HTML escaping.
func marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return out.Bytes(), err
}

// JSONSchema returns the indented JSON Schema of a configuration file. Types come from the settings, allowed words from
// [recipe.Config.Validate], and defaults and descriptions from configs/reference.yaml. No key is required, because any key
// may come from the environment or from --set.
func JSONSchema() ([]byte, error) {
	root, err := schemaOfConfig()
	if err != nil {
		return nil, err
	}
	raw, err := marshal(root)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = json.Indent(&out, bytes.TrimSpace(raw), "", "  ")
	out.WriteByte('\n')
	return out.Bytes(), err
}

// schemaOfConfig returns the schema of all keys.
func schemaOfConfig() (*valueSchema, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(configs.Reference, &doc); err != nil {
		return nil, err
	}
	root := &valueSchema{
		Draft: draft, Title: "mamba-train", Description: "Configuration of a training run, for mamba-train train -c FILE",
		Type: "object", Additional: false,
	}
	sections := map[string]*valueSchema{"": root}
	words := wordsOfSettings()
	for _, k := range Keys() {
		section, name, nested := strings.Cut(k.Path, ".")
		place := doc.Content[0]
		if !nested {
			section, name = "", k.Path
		} else {
			if sections[section] == nil {
				sections[section] = &valueSchema{Type: []string{"object", "null"}, Additional: false, Description: help(place, section)}
				root.Properties = append(root.Properties, property{section, sections[section]})
			}
			place = value(place, section)
		}
		s := schemaOf(k.Place.Type(), words[k.Path])
		s.Description = help(place, name)
		if n := value(place, name); n != nil {
			if err := n.Decode(&s.Default); err != nil {
				return nil, err
			}
		}
		sections[section].Properties = append(sections[section].Properties, property{name, s})
	}
	return root, nil
}

// help returns the comment after a key in the reference.
func help(section *yaml.Node, key string) string {
	for k, v := range pairs(section) {
		if k.Value == key {
			return strings.TrimSpace(strings.TrimPrefix(k.LineComment+v.LineComment, "#"))
		}
	}
	return ""
}

// wordsOfSettings returns the allowed words of each setting that is limited to a list of words. It finds them by validating
// a word that no setting allows.
func wordsOfSettings() map[string][]string {
	c := withSections()
	for _, k := range keysIn(c) {
		if k.Place.Kind() == reflect.String {
			k.Place.SetString("\x00")
		}
	}
	var faults fault.List
	faults.Include("", c.Validate())
	words := map[string][]string{}
	for _, f := range faults {
		words[f.Path] = f.Choices
	}
	return words
}

// schemaOf describes what decode accepts for a type. words lists the allowed strings; if it is empty, any string is
// allowed.
func schemaOf(t reflect.Type, words []string) *valueSchema {
	text := &valueSchema{Type: "string"}
	switch t {
	case reflect.TypeFor[recipe.Sources]():
		return sourcesSchema()
	case reflect.TypeFor[recipe.EvalSets]():
		s := sourcesSchema()
		s.AnyOf = append(s.AnyOf, &valueSchema{Type: "object", Additional: sourcesSchema()})
		return s
	case reflect.TypeFor[format.Bytes]():
		return &valueSchema{Type: []string{"string", "integer"}, Pattern: `^$|^ *[0-9]`}
	case reflect.TypeFor[time.Duration]():
		return &valueSchema{Type: "string", Pattern: `^[0-9.]+(h|m|s|ms|us|µs|ns)([0-9.]+(h|m|s|ms|us|µs|ns))*$`}
	case reflect.TypeFor[[]string]():
		return &valueSchema{Type: "array", Items: text}
	case reflect.TypeFor[[]trainer.SamplePrompt]():
		return &valueSchema{Type: "array", Items: &valueSchema{AnyOf: []*valueSchema{text, messagesSchema()}}}
	case reflect.TypeFor[lora.Targets]():
		return &valueSchema{AnyOf: []*valueSchema{text, {Type: "array", Items: text}}}
	case reflect.TypeFor[lora.Pattern[int]]():
		return &valueSchema{Type: "object", Additional: &valueSchema{Type: "integer"}}
	case reflect.TypeFor[lora.Pattern[float64]]():
		return &valueSchema{Type: "object", Additional: &valueSchema{Type: "number"}}
	case reflect.TypeFor[lora.Layers]():
		return &valueSchema{Type: "array", Items: &valueSchema{Type: "integer"}}
	case reflect.TypeFor[lora.Init]():
		return &valueSchema{Enum: append([]any{true}, anys(words)...)}
	case reflect.TypeFor[map[string]any]():
		return &valueSchema{Type: "object", Additional: &valueSchema{Type: []string{"number", "string", "boolean"}}}
	}
	if len(words) > 0 {
		return &valueSchema{Enum: anys(words)}
	}
	return &valueSchema{Type: map[reflect.Kind]string{
		reflect.Bool: "boolean", reflect.Int: "integer", reflect.Float64: "number", reflect.String: "string",
	}[t.Kind()]}
}

func anys(words []string) (list []any) {
	for _, w := range words {
		list = append(list, w)
	}
	return list
}

// sourcesSchema describes a path, a {path, weight} object, or a list of these.
func sourcesSchema() *valueSchema {
	zero, maximum := 0.0, float64(maxWeight)
	input := &valueSchema{Type: "object", Required: []string{"path"}, Additional: false, Properties: properties{
		{"path", &valueSchema{Type: "string", MinLength: 1}},
		{"weight", &valueSchema{Type: "number", Exclusive: &zero, Maximum: &maximum}},
	}}
	item := &valueSchema{AnyOf: []*valueSchema{{Type: "string", MinLength: 1}, input}}
	return &valueSchema{AnyOf: []*valueSchema{{Type: "string"}, input, {Type: "array", Items: item}}}
}

// messagesSchema describes a conversation.
func messagesSchema() *valueSchema {
	text := &valueSchema{Type: "string"}
	return &valueSchema{Type: "array", MinItems: 1, Items: &valueSchema{
		Type: "object", Required: []string{"role", "content"}, Additional: false,
		Properties: properties{{"role", text}, {"content", text}},
	}}
}
