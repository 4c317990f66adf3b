package data

import (
	"fmt"
	"slices"
	"strings"

	"mambatrain/internal/label"
)

// chatRows makes a document of a conversation, rendered by the tokenizer's own chat template: that puts the special
// tokens, so none is added here, not even the end of text. With assistant_only_loss the labels are the tokens that the
// template marks by {% generation %}.
type chatRows struct {
	tok       *Tokenizer
	template  *chatTemplate
	column    string
	assistant bool
}

func newChatRows(tok *Tokenizer, o *Options) (renderer, error) {
	if tok.ChatTemplate() == "" {
		return nil, fmt.Errorf("data.messages: the tokenizer has no chat template: want chat_template in tokenizer_config.json, or chat_template.jinja")
	}
	template, err := parseChatTemplate(tok)
	if err != nil {
		return nil, err
	}
	if o.AssistantOnlyLoss && !template.marks.Load() {
		return nil, fmt.Errorf("data.assistant_only_loss: the chat template marks no answers: want {%% generation %%} … {%% endgeneration %%} around them")
	}
	return &chatRows{tok, template, o.Messages, o.AssistantOnlyLoss}, nil
}

func (r *chatRows) masks() bool { return r.assistant }

func (r *chatRows) needs(path string, have []string) ([]string, error) {
	if !slices.Contains(have, r.column) {
		return nil, fmt.Errorf("%w (data.messages)", columnError(path, r.column, have))
	}
	names := []string{r.column}
	if slices.Contains(have, toolsColumn) {
		names = append(names, toolsColumn)
	}
	return names, nil
}

// toolsColumn holds the tools that a conversation may call, for templates that list them.
const toolsColumn = "tools"

func (r *chatRows) row(b *block, i int, d *document) (bool, error) {
	v, err := b.columns[r.column].value(i)
	if err != nil || v == nil {
		return false, err
	}
	messages, ok := v.([]any)
	if !ok {
		return false, fmt.Errorf("column %q is %s, want a list of messages", r.column, kindOf(v))
	}
	for k, m := range messages {
		if _, ok := m.(map[string]any); !ok {
			return false, fmt.Errorf("column %q: message %d is %s, want an object with role and content", r.column, k, kindOf(m))
		}
	}
	if len(messages) == 0 {
		return false, nil
	}
	values := map[string]any{"messages": messages}
	if c, ok := b.columns[toolsColumn]; ok {
		if values["tools"], err = c.value(i); err != nil {
			return false, err
		}
	}
	text, answers, err := r.template.render(values)
	if err != nil || text == "" {
		return false, err
	}
	r.tokenise(d, text, answers)
	return len(d.tokens) > 0, nil
}

// tokenise fills d. A token that reaches into an answer counts whole.
func (r *chatRows) tokenise(d *document, text string, answers []Span) {
	e := r.tok.newEncoding(d.tokens)
	e.track = r.assistant
	e.text(text)
	r.tok.words.Put(e.words)
	d.tokens = e.ids
	if !r.assistant {
		return
	}
	next := 0
	for k, span := range e.spans {
		for next < len(answers) && answers[next].End <= span.Start {
			next++
		}
		own := int32(label.Ignored)
		if next < len(answers) && answers[next].Start < span.End {
			own = d.tokens[k]
		}
		d.labels = append(d.labels, own)
	}
}

// ApplyChatTemplate renders a conversation with the tokenizer's chat template, ready for an answer: each message is an
// object with role and content, as in JSON.
func (t *Tokenizer) ApplyChatTemplate(messages []map[string]any) (string, error) {
	template, err := parseChatTemplate(t)
	if err != nil {
		return "", err
	}
	list := make([]any, len(messages))
	for i, m := range messages {
		list[i] = m
	}
	text, _, err := template.render(map[string]any{"messages": list, "add_generation_prompt": true})
	return text, err
}

// answerWriter collects what a template writes and where its answers stand.
type answerWriter struct {
	strings.Builder
	answers []Span
}
