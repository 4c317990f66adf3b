package data

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"mambatrain/data/source"
	"mambatrain/data/tokenizer"
	"mambatrain/internal/label"
)

// A renderer turns a row into tokens and labels. All goroutines share it.
type renderer interface {
	// needs lists the columns it reads, given the available ones. The error names a missing column.
	needs(path string, have []string) ([]string, error)
	// row appends the tokens of row i to d.tokens, and its labels to d.labels if they may differ. It returns false if
	// the row is null or empty.
	row(b *source.Block, i int, d *rowBuffer) (bool, error)
	// masks reports whether labels may differ from tokens.
	masks() bool
}

// rowBuffer is the buffer for the current row.
type rowBuffer struct {
	row            int // index within the source
	tokens, labels []int32
	scratch        []int32
	spans          []tokenizer.Span
	shareGPT       bool // the row was a conversation in ShareGPT format
}

// newRenderer chooses how rows are read: as token ids if there is a column of them, otherwise by the settings.
func newRenderer(path string, have []string, tok *tokenizer.Tokenizer, c *Config, j *joints) (renderer, error) {
	if slices.Contains(have, idColumn) {
		if keys := c.renderKeys(); len(keys) > 0 {
			return nil, fmt.Errorf("data: %s: has an input_ids column, which is used as it is: data.%s cannot be combined with it", path, keys[0])
		}
		return &idRows{have, c.CompletionOnlyLoss}, nil
	}
	if tok == nil {
		return nil, fmt.Errorf("data: %s: no input_ids column, and no tokenizer to compute it from text", path)
	}
	if c.Messages != "" {
		return newChatRows(tok, c)
	}
	end, err := endOfText(tok, c)
	if err != nil {
		return nil, err
	}
	switch {
	case c.Completion != "":
		prompt, err := parseField("prompt", c.Prompt)
		if err != nil {
			return nil, err
		}
		completion, err := parseField("completion", c.Completion)
		if err != nil {
			return nil, err
		}
		template := sync.OnceValues(func() (*tokenizer.ChatTemplate, error) { return chatTemplate(tok, "prompt") })
		return &promptRows{tok, prompt, completion, end, c.CompletionOnlyLoss, j, template}, nil
	case c.Template != "":
		t, err := parseTemplate("template", c.Template)
		if err != nil {
			return nil, err
		}
		return &textRows{tok, field{key: "template", template: t}, end}, nil
	}
	return &textRows{tok, field{key: "dataset_text_field", column: c.DatasetTextField}, end}, nil
}

// endOfText returns the id that ends documents, or −1 if none is added.
func endOfText(tok *tokenizer.Tokenizer, c *Config) (int32, error) {
	if !c.AddEOS {
		return -1, nil
	}
	id, ok := tok.EOS()
	if !ok {
		return 0, fmt.Errorf("data.add_eos: the tokenizer has no end-of-text token: set eos_token in tokenizer_config.json, or add_eos: false")
	}
	return int32(id), nil
}

// field is a column or a template applied to the row.
type field struct {
	key      string
	column   string
	template *rowTemplate
}

// parseField parses text that contains {{ as a template; any other text is a column name. "" is an empty text in every row.
func parseField(key, text string) (field, error) {
	if !strings.Contains(text, "{{") {
		return field{key: key, column: text}, nil
	}
	t, err := parseTemplate(key, text)
	return field{key: key, template: t}, err
}

func (f *field) needs(path string, have []string) ([]string, error) {
	names := []string{f.column}
	if f.column == "" {
		names = nil
	}
	if f.template != nil {
		names = f.template.fields
	}
	for _, name := range names {
		if !slices.Contains(have, name) {
			return nil, fmt.Errorf("%w (data.%s)", source.NoColumn(path, name, have), f.key)
		}
	}
	if f.template != nil && f.template.whole {
		return have, nil
	}
	return names, nil
}

// text returns the field of row i, or false if it is null.
func (f *field) text(b *source.Block, i int) (string, bool, error) {
	if f.template != nil {
		s, ok, err := f.template.render(b, i)
		if err != nil {
			err = fmt.Errorf("data.%s: %w", f.key, err)
		}
		return s, ok, err
	}
	if f.column == "" {
		return "", true, nil
	}
	s, ok, err := b.Columns[f.column].Text(i)
	if err != nil {
		err = fmt.Errorf("column %q %w", f.column, err)
	}
	return s, ok, err
}

// messages returns the list in the column of row i, or nil if the value is not a list.
func (f *field) messages(b *source.Block, i int) ([]any, error) {
	if f.column == "" {
		return nil, nil
	}
	v, err := b.Columns[f.column].Value(i)
	if err != nil {
		return nil, fmt.Errorf("column %q %w", f.column, err)
	}
	list, _ := v.([]any)
	return list, nil
}

// textRows makes a document from one text. All its tokens count.
type textRows struct {
	tok   *tokenizer.Tokenizer
	field field
	end   int32
}

func (r *textRows) masks() bool { return false }

func (r *textRows) needs(path string, have []string) ([]string, error) {
	return r.field.needs(path, have)
}

func (r *textRows) row(b *source.Block, i int, d *rowBuffer) (bool, error) {
	s, ok, err := r.field.text(b, i)
	if err != nil || !ok || s == "" {
		return false, err
	}
	d.tokens = endWith(r.tok.AppendEncode(d.tokens, s), r.end)
	return true, nil
}

// endWith appends end unless end is negative or ids already ends with it.
func endWith(ids []int32, end int32) []int32 {
	if end < 0 || len(ids) > 0 && ids[len(ids)-1] == end {
		return ids
	}
	return append(ids, end)
}

// promptRows makes a document from a prompt and a completion, tokenized as one text. If only the completion counts, the
// common prefix with the tokens of the prompt alone is ignored: a token that spans the boundary belongs to the
// completion. If both are lists of messages, as in trl, the chat template renders them.
type promptRows struct {
	tok                *tokenizer.Tokenizer
	prompt, completion field
	end                int32
	completionOnly     bool
	joints             *joints
	template           func() (*tokenizer.ChatTemplate, error) // for messages
}

func (r *promptRows) masks() bool { return r.completionOnly }

func (r *promptRows) needs(path string, have []string) ([]string, error) {
	prompt, err := r.prompt.needs(path, have)
	if err != nil {
		return nil, err
	}
	completion, err := r.completion.needs(path, have)
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(prompt, completion, contextColumns(have))))), err
}

func (r *promptRows) row(b *source.Block, i int, d *rowBuffer) (bool, error) {
	if messages, err := r.prompt.messages(b, i); err != nil {
		return false, err
	} else if messages != nil {
		return r.chat(b, i, d, messages)
	}
	prompt, _, err := r.prompt.text(b, i)
	if err != nil {
		return false, err
	}
	completion, ok, err := r.completion.text(b, i)
	if err != nil || !ok || prompt+completion == "" {
		return false, err
	}
	r.joints.look(b, i, d.row, prompt, completion)
	d.tokens = endWith(r.tok.AppendEncode(d.tokens, prompt+completion), r.end)
	if !r.completionOnly {
		return true, nil
	}
	d.labels = append(d.labels, d.tokens...)
	if prompt == "" {
		return true, nil
	}
	d.scratch = r.tok.AppendEncode(d.scratch[:0], prompt)
	d.ignorePrompt()
	return true, nil
}

// ignorePrompt excludes the tokens at the beginning that equal those of the prompt, which are in scratch, from the loss.
func (d *rowBuffer) ignorePrompt() {
	for k := range min(len(d.scratch), len(d.tokens)) {
		if d.scratch[k] != d.tokens[k] {
			break
		}
		d.labels[k] = label.Ignored
	}
}

// The columns of token ids. labels gives the label of each token; the masks, named as in trl, exclude tokens.
const (
	idColumn             = "input_ids"
	labelColumn          = "labels"
	attentionColumn      = "attention_mask"
	completionMaskColumn = "completion_mask"
	assistantMaskColumn  = "assistant_masks"
)

// idRows reads token ids, with labels and masks if the file has them. Without labels, tokens where a completion mask or
// assistant mask is zero do not count. Positions where the attention mask is zero are dropped, not computed.
type idRows struct {
	have           []string
	completionOnly bool
}

// lossMasks lists the columns that mask labels.
func (r *idRows) lossMasks() (names []string) {
	if r.completionOnly && slices.Contains(r.have, completionMaskColumn) {
		names = append(names, completionMaskColumn)
	}
	if slices.Contains(r.have, assistantMaskColumn) {
		names = append(names, assistantMaskColumn)
	}
	return names
}

func (r *idRows) masks() bool { return slices.Contains(r.have, labelColumn) || len(r.lossMasks()) > 0 }

func (r *idRows) needs(path string, have []string) (names []string, err error) {
	if !slices.Contains(have, idColumn) {
		return nil, source.NoColumn(path, idColumn, have)
	}
	for _, name := range append([]string{idColumn, labelColumn, attentionColumn}, r.lossMasks()...) {
		if slices.Contains(have, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

func (r *idRows) row(b *source.Block, i int, d *rowBuffer) (ok bool, err error) {
	if d.tokens, ok, err = readInts(b, i, idColumn, d.tokens); err != nil || !ok || len(d.tokens) == 0 {
		return false, err
	}
	for _, id := range d.tokens {
		if id < 0 {
			return false, fmt.Errorf("column %q: id %d is negative", idColumn, id)
		}
	}
	if d.labels, ok, err = readInts(b, i, labelColumn, d.labels); err != nil {
		return false, err
	} else if ok && len(d.labels) != len(d.tokens) {
		return false, fmt.Errorf("%d labels for %d input_ids", len(d.labels), len(d.tokens))
	} else if !ok && r.masks() {
		d.labels = append(d.labels, d.tokens...)
		if err := d.maskLabels(b, i, r.lossMasks()); err != nil {
			return false, err
		}
	}
	mask, ok, err := d.mask(b, i, attentionColumn)
	if err != nil || !ok {
		return err == nil, err
	}
	kept := 0
	for k, m := range mask {
		if m == 0 {
			continue
		}
		d.tokens[kept] = d.tokens[k]
		if len(d.labels) > 0 {
			d.labels[kept] = d.labels[k]
		}
		kept++
	}
	d.tokens, d.labels = d.tokens[:kept], d.labels[:min(kept, len(d.labels))]
	return kept > 0, nil
}

// maskLabels excludes the tokens where one of the masks is zero from the loss.
func (d *rowBuffer) maskLabels(b *source.Block, i int, names []string) error {
	for _, name := range names {
		mask, ok, err := d.mask(b, i, name)
		if err != nil {
			return err
		}
		for k := range mask {
			if ok && mask[k] == 0 {
				d.labels[k] = label.Ignored
			}
		}
	}
	return nil
}

// mask reads a column with one number per token, or returns false if there is none.
func (d *rowBuffer) mask(b *source.Block, i int, name string) (mask []int32, ok bool, err error) {
	if d.scratch, ok, err = readInts(b, i, name, d.scratch[:0]); err != nil || !ok {
		return nil, false, err
	}
	if len(d.scratch) != len(d.tokens) {
		return nil, false, fmt.Errorf("%s has length %d, but input_ids has length %d", name, len(d.scratch), len(d.tokens))
	}
	return d.scratch, true, nil
}

// readInts appends the integers of a column to dst. It returns false if there is no such column or the value is null.
func readInts(b *source.Block, i int, name string, dst []int32) (out []int32, ok bool, err error) {
	c, ok := b.Columns[name]
	if !ok {
		return dst, false, nil
	}
	if out, ok, err = c.Ints(dst, i); err != nil {
		err = fmt.Errorf("column %q: %w", name, err)
	}
	return out, ok, err
}
