package tokenizer

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"mambatrain/data/tokenizer/jinja"
	"mambatrain/internal/ordered"
)

// ChatTemplate renders conversations with a tokenizer's own template, as transformers does.
type ChatTemplate struct {
	plain, tools *jinja.Template // without and with tools; often the same
	tokens       map[string]string
}

// ChatTemplateText returns the text of the template for conversations without tools, or "" if the tokenizer has none.
func (t *Tokenizer) ChatTemplateText() string { return t.settings.template(DefaultTemplate) }

// ChatTemplate returns the template for all conversations and, if there is one, the template for those with tools. It
// returns nil if the tokenizer has no chat template.
func (t *Tokenizer) ChatTemplate() (*ChatTemplate, error) {
	plain, tools := t.settings.template(DefaultTemplate), t.settings.template(toolTemplate)
	if plain == "" {
		return nil, nil
	}
	c := &ChatTemplate{tokens: t.settings.tokens}
	var err error
	if c.plain, err = parseChatTemplate("chat template", plain); err != nil {
		return nil, err
	}
	c.tools = c.plain
	if tools != "" {
		c.tools, err = parseChatTemplate("chat template "+toolTemplate, tools)
	}
	return c, err
}

// parseChatTemplate parses a template and fixes the time that it sees, so that it is the same for all conversations.
func parseChatTemplate(name, source string) (*jinja.Template, error) {
	t, err := jinja.Parse(name, source)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	now := time.Now()
	t.Now = func() time.Time { return now }
	return t, nil
}

// MarksAnswers reports whether the template marks answers with {% generation %}.
func (c *ChatTemplate) MarksAnswers() bool { return c.plain.Marks() && c.tools.Marks() }

// Mentions reports whether word appears in the template's code as a variable, attribute, or string. The template cannot
// read a message key that it does not mention.
func (c *ChatTemplate) Mentions(word string) bool {
	return c.plain.Mentions(word) || c.tools.Mentions(word)
}

// Conversation is the input of a chat template.
type Conversation struct {
	Messages            []any // objects with role and content
	Tools               any   // a list of objects, or nil
	AddGenerationPrompt bool  // end with the start of an answer
	// Variables are further variables of the template, such as enable_thinking, or nil. They take precedence over the
	// special tokens.
	Variables *ordered.Object
}

// RenderedConversation is a conversation as text.
type RenderedConversation struct {
	Text string

	template *jinja.Template
	messages *jinja.List
	result   *jinja.Result
}

// Render renders a conversation. Its values are nil, bool, int64, uint64, float64, string, []any, and *ordered.Object,
// or maps, whose keys are visited in alphabetical order. As in transformers, null keys of a message are omitted, and
// the reasoning of an assistant is passed under every name that templates use for it.
func (c *ChatTemplate) Render(ctx context.Context, conversation Conversation) (*RenderedConversation, error) {
	variables := map[string]jinja.Value{"documents": nil, "add_generation_prompt": conversation.AddGenerationPrompt}
	for name, token := range c.tokens {
		variables[name] = token
	}
	if err := setVariables(variables, conversation.Variables); err != nil {
		return nil, fmt.Errorf("chat template: %w", err)
	}
	messages, err := templateMessages(conversation.Messages)
	if err != nil {
		return nil, fmt.Errorf("chat template: %w", err)
	}
	tools, err := templateValue(conversation.Tools)
	if err != nil {
		return nil, fmt.Errorf("chat template: tools: %w", err)
	}
	variables["messages"], variables["tools"] = messages, tools
	template := c.plain
	if tools != nil {
		template = c.tools
	}
	result, err := template.Render(ctx, variables)
	if err != nil {
		return nil, err
	}
	return &RenderedConversation{result.Text, template, messages, result}, nil
}

// notVariables are parameters of transformers' apply_chat_template that are not passed to the template, or not from a row.
var notVariables = []string{
	"conversation", "messages", "tools", "chat_template", "add_generation_prompt", "continue_final_message", "tokenize", "padding",
	"truncation", "max_length", "return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs",
	"sanitize_control_tokens",
}

// setVariables adds further variables, which may be nil.
func setVariables(variables map[string]jinja.Value, further *ordered.Object) error {
	if further == nil {
		return nil
	}
	for _, name := range further.Keys() {
		v, _ := further.Get(name)
		if slices.Contains(notVariables, name) {
			return fmt.Errorf("%q cannot be set as a variable", name)
		}
		value, err := templateValue(v)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		variables[name] = value
	}
	return nil
}

// Answers returns the spans that the template marks as answers.
func (r *RenderedConversation) Answers() ([]Span, error) {
	spans, err := r.result.Spans()
	answers := make([]Span, len(spans))
	for i, s := range spans {
		answers[i] = Span{s[0], s[1]}
	}
	return answers, err
}

// CheckKeys returns an error for a message without a key that the template needs: the role, or a key that it prints,
// which Jinja2 would print as an empty string. Only the content of a message that calls tools may be missing.
func (r *RenderedConversation) CheckKeys() error {
	for i, m := range r.messages.Items {
		d := m.(*jinja.Dict)
		if _, ok := d.Get("role"); !ok && r.template.Mentions("role") {
			return lacking(i, d, "role", "reads")
		}
		for _, missing := range r.result.Missing {
			if missing.Dict != d {
				continue
			}
			if _, calls := d.Get("tool_calls"); calls && missing.Key == "content" {
				continue
			}
			return lacking(i, d, missing.Key, "prints in line "+strconv.Itoa(missing.Line))
		}
	}
	return nil
}

func lacking(i int, d *jinja.Dict, key, how string) error {
	return fmt.Errorf("message %d has no %q, which the chat template %s: it has %s", i, key, how, strings.Join(d.Keys(), ", "))
}

// templateMessages prepares messages as transformers does.
func templateMessages(messages []any) (*jinja.List, error) {
	list := &jinja.List{}
	for i, m := range messages {
		v, err := templateValue(m)
		if err != nil {
			return nil, fmt.Errorf("message %d: %w", i, err)
		}
		d, ok := v.(*jinja.Dict)
		if !ok {
			return nil, fmt.Errorf("message %d is not an object", i)
		}
		list.Items = append(list.Items, templateMessage(d))
	}
	return list, nil
}

// thoughts are the keys under which templates look for the reasoning of an assistant. The first one present wins.
var thoughts = []string{"reasoning_content", "thinking", "reasoning"}

// templateMessage omits null keys and sets the reasoning under all its names.
func templateMessage(d *jinja.Dict) *jinja.Dict {
	var thought jinja.Value
	for _, key := range slices.Backward(thoughts) {
		if v, _ := d.Get(key); v != nil {
			thought = v
		}
	}
	m := jinja.NewDict()
	if thought != nil {
		m.Set("thinking", thought)
	}
	for _, key := range d.Keys() {
		if v, _ := d.Get(key); v != nil {
			m.Set(key, v)
		}
	}
	if thought != nil {
		m.Set("reasoning_content", thought)
	}
	return m
}

// templateValue converts a value from a row.
func templateValue(v any) (jinja.Value, error) {
	switch v := v.(type) {
	case nil, bool, float64, string:
		return v, nil
	case int64:
		if v < math.MinInt || v > math.MaxInt {
			return nil, fmt.Errorf("%d is out of range", v)
		}
		return int(v), nil
	case uint64:
		if v > math.MaxInt {
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
	case *ordered.Object:
		return templateDict(v.Keys(), func(key string) any { value, _ := v.Get(key); return value })
	case map[string]any:
		return templateDict(slices.Sorted(maps.Keys(v)), func(key string) any { return v[key] })
	}
	return nil, fmt.Errorf("cannot pass a %T to a template", v)
}

func templateDict(keys []string, value func(key string) any) (jinja.Value, error) {
	d := jinja.NewDict()
	for _, key := range keys {
		v, err := templateValue(value(key))
		if err != nil {
			return nil, err
		}
		d.Set(key, v)
	}
	return d, nil
}
