package data

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Input is one source: a file, a glob, a directory, or the id of a Hugging Face data set (id, id:split, id:config:split).
type Input struct {
	Path   string
	Weight float64 // how often an epoch sees each row; 0 counts as 1. Of 2.5 × n documents, n/2 are others in each epoch
}

// Options say how rows become documents. The fields are the keys of the configuration's `data` section.
type Options struct {
	Format             string // auto, parquet, arrow, jsonl, json, csv, text (text:paragraph, text:line, text:file)
	MaxTrainSamples    int    // rows read, from the start of the first source on; 0 = all
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
	Hub                *Hub   `json:"-"` // where ids are looked for; nil = [NewHub]
}

// DefaultOptions returns the documented defaults.
func DefaultOptions() Options {
	return Options{
		Format: "auto", DatasetTextField: "text", CompletionOnlyLoss: true,
		MaxLength: 1024, Truncation: "keep_start", AddEOS: true, Shuffle: true,
	}
}

// Check returns every fault of the options at once, each with its key.
func (o *Options) Check() error {
	var faults []error
	fault := func(key, format string, args ...any) {
		faults = append(faults, fmt.Errorf("data.%s: "+format, append([]any{key}, args...)...))
	}
	if !slices.Contains(formats, o.Format) {
		fault("format", "want one of %s, got %q", strings.Join(formats, ", "), o.Format)
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
func (o *Options) ways() (keys []string) {
	for _, way := range []struct{ key, value string }{
		{"template", o.Template}, {"completion", o.Completion}, {"messages", o.Messages},
	} {
		if way.value != "" {
			keys = append(keys, way.key)
		}
	}
	return keys
}
