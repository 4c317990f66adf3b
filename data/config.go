package data

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"mambatrain/data/source"
)

// Config say how rows become documents. The fields are the keys of the configuration's `data` section.
type Config struct {
	source.Config
	DatasetTextField   string // a column
	Template           string // text/template over the row, instead of the column
	Prompt             string // column or template; its tokens are not counted
	Completion         string // column or template
	CompletionOnlyLoss bool
	Messages           string // column of chat messages
	AssistantOnlyLoss  bool
	MaxLength          int    // tokens of a document; 0 = no limit
	Truncation         string // keep_start, split, error
	AddEOS             bool   // end each document with the end-of-text token, where it does not already; chats end as their template says
	Shuffle            bool
	Packing            bool
	CarryState         bool
	Cache              string // directory of tokenised data
}

// Default returns the documented defaults.
func Default() Config {
	return Config{
		Config: source.Config{Format: "auto"}, DatasetTextField: "text", CompletionOnlyLoss: true,
		MaxLength: 1024, Truncation: "keep_start", AddEOS: true, Shuffle: true,
	}
}

// Check returns every fault of the options at once, each with its key.
func (o *Config) Check() error {
	var faults []error
	fault := func(key, format string, args ...any) {
		faults = append(faults, fmt.Errorf("data.%s: "+format, append([]any{key}, args...)...))
	}
	if !slices.Contains(source.Formats, o.Format) {
		fault("format", "want one of %s, got %q", strings.Join(source.Formats, ", "), o.Format)
	}
	if !slices.Contains([]string{"keep_start", "split", "error"}, o.Truncation) {
		fault("truncation", "want keep_start, split or error, got %q", o.Truncation)
	}
	if o.MaxTrainSamples < 0 {
		fault("max_train_samples", "want 0 or more, got %d", o.MaxTrainSamples)
	}
	if o.MaxLength < 0 || o.MaxLength == 1 {
		fault("max_length", "want 2 or more, or 0 for no limit, got %d", o.MaxLength)
	}
	if o.Completion == "" && o.Prompt != "" {
		fault("completion", "want a column or template beside prompt")
	}
	ways := o.ways()
	if len(ways) > 1 {
		fault(ways[0], "given with %s: a row can be rendered in one way only", strings.Join(ways[1:], " and "))
	}
	if o.AssistantOnlyLoss && o.Messages == "" {
		fault("assistant_only_loss", "needs messages")
	}
	if o.CarryState && o.Truncation != "split" {
		fault("carry_state", "needs truncation: split, got %s", o.Truncation)
	}
	if o.CarryState && o.Packing {
		fault("carry_state", "not with packing: the parts of a document follow each other over micro-batches")
	}
	for _, t := range []struct{ key, text string }{{"template", o.Template}, {"prompt", o.Prompt}, {"completion", o.Completion}} {
		if _, err := parseField(t.key, t.text); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// ways lists the keys that say how a row is rendered, the text column's default aside.
func (o *Config) ways() (keys []string) {
	for _, way := range []struct{ key, value string }{
		{"template", o.Template}, {"completion", o.Completion}, {"messages", o.Messages},
	} {
		if way.value != "" {
			keys = append(keys, way.key)
		}
	}
	return keys
}
