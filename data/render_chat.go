package data

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"mambatrain/data/source"
	"mambatrain/data/tokenizer"
	"mambatrain/internal/format"
	"mambatrain/internal/label"
	"mambatrain/internal/ordered"
)

// chatRows makes a document from a conversation, rendered by the tokenizer's chat template. The template inserts the
// special tokens, so none is added here, not even the end of text. With assistant_only_loss, only the tokens that the
// template marks with {% generation %} are labels.
type chatRows struct {
	tok       *tokenizer.Tokenizer
	template  *tokenizer.ChatTemplate
	column    string
	assistant bool
}

func newChatRows(tok *tokenizer.Tokenizer, c *Config) (renderer, error) {
	template, err := chatTemplate(tok, "messages")
	if err != nil {
		return nil, err
	}
	if c.AssistantOnlyLoss && !template.MarksAnswers() {
		return nil, fmt.Errorf("data.assistant_only_loss: the chat template does not mark answers: want {%% generation %%} … {%% endgeneration %%} around them")
	}
	return &chatRows{tok, template, c.Messages, c.AssistantOnlyLoss}, nil
}

// chatTemplate returns the tokenizer's chat template. key is the setting that needs it.
func chatTemplate(tok *tokenizer.Tokenizer, key string) (*tokenizer.ChatTemplate, error) {
	template, err := tok.ChatTemplate()
	if err == nil && template == nil {
		err = fmt.Errorf("data.%s: the tokenizer has no chat template: create %s", key, filepath.Join(tok.Dir(), tokenizer.ChatTemplateFile))
	}
	return template, err
}

func (r *chatRows) masks() bool { return r.assistant }

func (r *chatRows) needs(path string, have []string) ([]string, error) {
	if !slices.Contains(have, r.column) {
		return nil, fmt.Errorf("%w (data.messages)", source.NoColumn(path, r.column, have))
	}
	return append(contextColumns(have), r.column), nil
}

// Columns named as in trl: the tools that a conversation may call, for templates that list them, and an object of further
// variables of the template.
const (
	toolsColumn     = "tools"
	variablesColumn = "chat_template_kwargs"
)

// contextColumns lists the columns that a template may read in addition to the messages.
func contextColumns(have []string) (names []string) {
	for _, name := range []string{toolsColumn, variablesColumn} {
		if slices.Contains(have, name) {
			names = append(names, name)
		}
	}
	return names
}

func (r *chatRows) row(b *source.Block, i int, d *rowBuffer) (bool, error) {
	c, err := r.conversation(b, i)
	d.shareGPT = c.shareGPT
	if err != nil || len(c.Messages) == 0 {
		return false, err
	}
	rendered, err := renderChat(r.template, c.Conversation)
	if err != nil || rendered.Text == "" {
		return false, err
	}
	var answers []tokenizer.Span
	if r.assistant {
		if answers, err = rendered.Answers(); err != nil {
			return false, err
		}
	}
	r.tokenize(d, rendered.Text, answers)
	return len(d.tokens) > 0, nil
}

// conversation is the conversation of a row, and whether it was in ShareGPT format.
type conversation struct {
	tokenizer.Conversation
	shareGPT bool
}

// conversation reads row i. It has no messages if the row is null or empty.
func (r *chatRows) conversation(b *source.Block, i int) (c conversation, err error) {
	v, err := readJSON(b.Columns[r.column], i)
	if err != nil || v == nil {
		return c, err
	}
	if err := c.add(r.template, r.column, v); err != nil {
		return c, err
	}
	return c, c.readContext(b, i)
}

// add adds the messages that are the value of a column.
func (c *conversation) add(template *tokenizer.ChatTemplate, column string, v any) (err error) {
	messages, ok := v.([]any)
	if !ok {
		return fmt.Errorf("column %q is %s, want a list of messages", column, source.KindOf(v))
	}
	for k, m := range messages {
		if _, ok := m.(*ordered.Object); !ok {
			return fmt.Errorf("column %q: message %d is %s, want an object with role and content", column, k, source.KindOf(m))
		}
	}
	changed := false
	if !template.Mentions("from") {
		if messages, changed, err = fromShareGPT(messages); err != nil {
			return fmt.Errorf("column %q: %w", column, err)
		}
	}
	c.Messages = append(c.Messages, messages...)
	c.shareGPT = c.shareGPT || changed
	return nil
}

// readContext reads what the template may read in addition to the messages.
func (c *conversation) readContext(b *source.Block, i int) (err error) {
	if column, ok := b.Columns[toolsColumn]; ok {
		if c.Tools, err = readJSON(column, i); err != nil {
			return fmt.Errorf("column %q: %w", toolsColumn, err)
		}
		if _, ok := c.Tools.(string); ok {
			return fmt.Errorf("column %q is text, want a list of tools", toolsColumn)
		}
	}
	if column, ok := b.Columns[variablesColumn]; ok {
		v, err := readJSON(column, i)
		if c.Variables, ok = v.(*ordered.Object); err == nil && !ok && v != nil {
			err = fmt.Errorf("is %s, want an object", source.KindOf(v))
		}
		if err != nil {
			return fmt.Errorf("column %q: %w", variablesColumn, err)
		}
	}
	return nil
}

// renderChat renders a conversation as text.
func renderChat(template *tokenizer.ChatTemplate, c tokenizer.Conversation) (*tokenizer.RenderedConversation, error) {
	rendered, err := template.Render(context.Background(), c)
	if err == nil {
		err = rendered.CheckKeys()
	}
	return rendered, err
}

// chatColumns are the usual names of chat columns.
var chatColumns = []string{"messages", "conversations", "prompt"}

// findColumn selects the first of chatColumns in have.
func (r *chatRows) findColumn(have []string) {
	for _, name := range chatColumns {
		if slices.Contains(have, name) {
			r.column = name
			return
		}
	}
}

// ReadConversations reads the conversations of the inputs in order, from the column messages, conversations, or prompt,
// and calls use with each one, which is valid until use returns. Errors from use are returned with the file and row.
func ReadConversations(ctx context.Context, inputs []source.Input, tok *tokenizer.Tokenizer, c source.Config, use func(tokenizer.Conversation) error) error {
	sets, err := source.Resolve(ctx, inputs, c)
	if err != nil {
		return err
	}
	o := Default()
	o.Config, o.Messages = c, chatColumns[0]
	converted := 0
	for _, set := range sets {
		p := pipeline{files: set.Files, tok: tok, config: &o, chats: true, joints: new(joints)}
		err := p.read(ctx, func(j job) error { return useConversations(j, &converted, use) })
		if err != nil {
			return err
		}
	}
	if converted > 0 && c.Warn != nil {
		c.Warn(fmt.Errorf("%s in ShareGPT format: from and value are read as role and content", format.Counted(converted, "conversation")))
	}
	return nil
}

func useConversations(j job, converted *int, use func(tokenizer.Conversation) error) error {
	b := j.block
	defer b.Release()
	r := j.renderer.(*chatRows)
	return b.Read(func() error {
		for i := range b.Rows {
			c, err := r.conversation(b, i)
			if err == nil && len(c.Messages) == 0 {
				err = fmt.Errorf("column %q has no messages", r.column)
			}
			if c.shareGPT {
				*converted++
			}
			if err == nil {
				err = use(c.Conversation)
			}
			if err != nil {
				return fmt.Errorf("data: %s: %w", b.At(i), err)
			}
		}
		return nil
	})
}

// readJSON reads a value, parsing it if it is a string of JSON, as in files without nested columns.
func readJSON(c source.Column, i int) (any, error) {
	v, err := c.Value(i)
	if text, ok := v.(string); ok && err == nil {
		if parsed, err := source.ParseJSON([]byte(text)); err == nil {
			return parsed, nil
		}
	}
	return v, err
}

// tokenize fills d. A token that overlaps an answer counts as a whole.
func (r *chatRows) tokenize(d *rowBuffer, text string, answers []tokenizer.Span) {
	if !r.assistant {
		d.tokens = r.tok.AppendText(d.tokens, text)
		return
	}
	d.tokens, d.spans = r.tok.AppendSpans(d.tokens, d.spans[:0], text)
	next := 0
	for k, span := range d.spans {
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
