package data

import (
	"slices"
	"strings"

	"mambatrain/data/source"
	"mambatrain/internal/fault"
)

// Config specifies how rows become documents. Its fields are the keys of the configuration's data section.
type Config struct {
	source.Config      `yaml:",inline"`
	DatasetTextField   string `yaml:"dataset_text_field"` // a column
	Template           string `yaml:"template"`           // text/template applied to the row, instead of a column
	Prompt             string `yaml:"prompt"`             // column or template; its tokens are not counted
	Completion         string `yaml:"completion"`         // column or template
	CompletionOnlyLoss bool   `yaml:"completion_only_loss"`
	Messages           string `yaml:"messages"` // column of chat messages
	AssistantOnlyLoss  bool   `yaml:"assistant_only_loss"`
	MaxLength          int    `yaml:"max_length"` // tokens per document; 0 = no limit
	Truncation         string `yaml:"truncation"` // keep_start, split, error
	AddEOS             bool   `yaml:"add_eos"`    // end each document with the end-of-text token if missing; chats end as their template does
	Shuffle            bool   `yaml:"shuffle"`
	Packing            bool   `yaml:"packing"`
	CarryState         bool   `yaml:"carry_state"`
	Cache              string `yaml:"cache" path:"true"` // directory for tokenized data
}

// Default returns the documented defaults.
func Default() Config {
	return Config{
		Config:           source.Config{Format: "auto", Encoding: "utf-8", MaxRowBytes: source.DefaultMaxRowBytes},
		DatasetTextField: defaultTextField, CompletionOnlyLoss: true,
		MaxLength: 1024, Truncation: "keep_start", AddEOS: true, Shuffle: true,
	}
}

// defaultTextField is the column that is read if nothing else is set.
const defaultTextField = "text"

// Validate returns all faults in the settings as a [fault.List], or nil.
func (c *Config) Validate() error {
	var l fault.List
	l.Include("", c.Config.Validate())
	l.OneOf("truncation", c.Truncation, "keep_start", "split", "error")
	if c.MaxLength < 0 || c.MaxLength == 1 {
		l.Add("max_length", "want 2 or more, or 0 for no limit, got %d", c.MaxLength)
	}
	keys := c.renderKeys()
	if c.Completion == "" && c.Prompt != "" {
		if keys = append(keys, "prompt"); len(keys) == 1 {
			l.Add("completion", "is required: prompt is a column or template for the text before it")
		}
	}
	if c.DatasetTextField != "" && c.DatasetTextField != defaultTextField && len(keys) > 0 {
		keys = append([]string{"dataset_text_field"}, keys...)
	}
	if len(keys) > 1 {
		l.Add(keys[0], "given with %s: a row can be rendered in only one way", strings.Join(keys[1:], " and "))
	}
	if c.AssistantOnlyLoss && c.Messages == "" {
		l.Add("assistant_only_loss", "requires messages")
	}
	if c.CarryState && c.Truncation != "split" {
		l.Add("carry_state", "requires truncation: split, got %s", c.Truncation)
	}
	if c.CarryState && c.Packing {
		l.Add("carry_state", "cannot be combined with packing: the parts of a document are in consecutive micro-batches")
	}
	for _, t := range []struct{ key, text string }{{"template", c.Template}, {"prompt", c.Prompt}, {"completion", c.Completion}} {
		if _, err := parseField(t.key, t.text); err != nil {
			l.Add(t.key, "%v", err)
		}
	}
	return l.Err()
}

// check is Validate with full key paths.
func (c *Config) check() error {
	var l fault.List
	l.Include("data", c.Validate())
	return l.Err()
}

// renderKeys lists the keys set that select how a row is rendered, except the text column, which has a default.
func (c *Config) renderKeys() (keys []string) {
	for _, k := range []struct{ key, value string }{
		{"template", c.Template}, {"completion", c.Completion}, {"messages", c.Messages},
	} {
		if k.value != "" {
			keys = append(keys, k.key)
		}
	}
	return keys
}

// columns lists the columns that may be read from a file that has at least the given ones, or sets all if any column may be.
func (c *Config) columns(have []string) (names []string, all bool) {
	switch {
	case slices.Contains(have, idColumn):
		return []string{labelColumn, attentionColumn, completionMaskColumn, assistantMaskColumn}, false
	case c.Messages != "":
		return []string{c.Messages, toolsColumn, variablesColumn}, false
	case c.Completion == "" && c.Template == "":
		return []string{c.DatasetTextField}, false
	}
	for _, f := range []struct{ key, text string }{{"prompt", c.Prompt}, {"completion", c.Completion}, {"template", c.Template}} {
		field, err := parseField(f.key, f.text)
		switch {
		case err != nil || f.text == "":
		case field.template != nil:
			names, all = append(names, field.template.fields...), all || field.template.whole
		case f.key != "template":
			names = append(names, field.column)
		}
	}
	if c.Completion != "" {
		names = append(names, toolsColumn, variablesColumn)
	}
	return names, all
}
