package data

import (
	"fmt"

	"mambatrain/data/source"
)

// chat makes a document from a prompt and a completion that are lists of messages. As in trl, it ends as the chat template
// does, and the tokens of the prompt are those of a question that waits for its answer.
func (r *promptRows) chat(b *source.Block, i int, d *rowBuffer, prompt []any) (bool, error) {
	if r.completion.column == "" {
		return false, fmt.Errorf("column %q is a list of messages: data.completion must name a column of messages, too", r.prompt.column)
	}
	template, err := r.template()
	if err != nil {
		return false, err
	}
	completion, err := b.Columns[r.completion.column].Value(i)
	if err != nil || completion == nil {
		return false, err
	}
	var c conversation
	if err := c.add(template, r.prompt.column, prompt); err != nil {
		return false, err
	}
	if err := c.add(template, r.completion.column, completion); err != nil {
		return false, err
	}
	if len(prompt) == 0 || len(c.Messages) == len(prompt) {
		return false, nil
	}
	d.shareGPT = c.shareGPT
	if err := c.readContext(b, i); err != nil {
		return false, err
	}
	whole, err := renderChat(template, c.Conversation)
	if err != nil {
		return false, err
	}
	d.tokens = r.tok.AppendText(d.tokens, whole.Text)
	if len(d.tokens) == 0 || !r.completionOnly {
		return len(d.tokens) > 0, nil
	}
	d.labels = append(d.labels, d.tokens...)
	c.Messages, c.AddGenerationPrompt = c.Messages[:len(prompt)], true
	question, err := renderChat(template, c.Conversation)
	if err != nil {
		return false, err
	}
	d.scratch = r.tok.AppendText(d.scratch[:0], question.Text)
	d.ignorePrompt()
	return true, nil
}
