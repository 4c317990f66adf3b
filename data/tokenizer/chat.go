package tokenizer

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"mambatrain/data/tokenizer/jinja"
)

// ChatTemplate is a Jinja template with what transformers gives it: the special tokens by name, and tools, documents and
// add_generation_prompt, which are None or false unless Render is given others.
type ChatTemplate struct {
	template  *jinja.Template
	variables map[string]jinja.Value
}

// ChatTemplate returns the template of chat_template.jinja or tokenizer_config.json, nil if the tokenizer has none.
func (t *Tokenizer) ChatTemplate() (*ChatTemplate, error) {
	if t.settings.chatTemplate == "" {
		return nil, nil
	}
	template, err := jinja.Parse("chat template", t.settings.chatTemplate)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	variables := map[string]jinja.Value{"add_generation_prompt": false, "tools": nil, "documents": nil}
	for name, token := range t.settings.tokens {
		variables[name] = token
	}
	return &ChatTemplate{template, variables}, nil
}

// MarksAnswers reports whether the template marks answers by {% generation %}.
func (c *ChatTemplate) MarksAnswers() bool { return c.template.Marks() }

// Render returns the text and where the template marks answers in it. The values are those that a template names, such as
// messages, tools and add_generation_prompt: nil, bool, int64, float64, string, []any and map[string]any. A template that
// prints a key which a message lacks, and reads nothing else of that message than its role, is refused: the text would
// silently lack it.
func (c *ChatTemplate) Render(values map[string]any) (text string, answers []Span, err error) {
	variables := maps.Clone(c.variables)
	for name, v := range values {
		if variables[name], err = templateValue(v); err != nil {
			return "", nil, fmt.Errorf("chat template: %s: %w", name, err)
		}
	}
	result, err := c.template.Render(context.Background(), variables)
	if err != nil {
		return "", nil, err
	}
	if m := result.Missing; m != nil && !c.reads(m.Dict) {
		return "", nil, fmt.Errorf("chat template: line %d prints %q, which is missing: there are %q", m.Line, m.Key, m.Dict.Keys())
	}
	spans, err := result.Spans()
	if err != nil {
		return "", nil, err
	}
	for _, s := range spans {
		answers = append(answers, Span{s[0], s[1]})
	}
	return result.Text, answers, nil
}

// reads reports whether the template names a key of d other than the role. A message that only calls tools has no content
// to miss.
func (c *ChatTemplate) reads(d *jinja.Dict) bool {
	return slices.ContainsFunc(d.Keys(), func(key string) bool {
		return key != "role" && c.template.Mentions(key) || key == "tool_calls"
	})
}

// templateValue converts a value of a row. Keys of an object are in alphabetical order, since a row does not keep theirs.
func templateValue(v any) (jinja.Value, error) {
	switch v := v.(type) {
	case nil, bool, float64, string:
		return v, nil
	case int64:
		if v < math.MinInt || v > math.MaxInt {
			return nil, fmt.Errorf("%d is out of range", v)
		}
		return int(v), nil
	case []any:
		list := &jinja.List{Items: make([]jinja.Value, len(v))}
		for i := range v {
			item, err := templateValue(v[i])
			if err != nil {
				return nil, err
			}
			list.Items[i] = item
		}
		return list, nil
	case map[string]any:
		dict := jinja.NewDict()
		for _, key := range slices.Sorted(maps.Keys(v)) {
			value, err := templateValue(v[key])
			if err != nil {
				return nil, err
			}
			dict.Set(key, value)
		}
		return dict, nil
	}
	return nil, fmt.Errorf("a %T cannot be given to a template", v)
}
