package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/cmd/mamba-train/internal/config"
	"mambatrain/data"
	"mambatrain/data/tokenizer"
	"mambatrain/internal/format"
	"mambatrain/trainer/recipe"
)

// dataFlag is a flag for a configuration key in the data section.
type dataFlag struct{ key, name, usage string }

// Flags of the commands that read data, grouped by what they control: rows, texts, labels, lengths, micro-batches. A
// command defines the flags whose keys it reads. Chats are not among the texts because they need a tokenizer with a chat
// template.
var (
	modelFlag = dataFlag{"model", "model", "model directory or Hugging Face id; its tokenizer is used"}
	trainFlag = dataFlag{"data.train", "data", "file, glob, directory, or Hugging Face id"}
	rowFlags  = []dataFlag{
		{"data.format", "format", "auto, parquet, arrow, jsonl, json, csv, or text"},
		{"data.encoding", "encoding", "encoding of CSV, JSON, and text files: utf-8, latin-1, windows-1252, or utf-16"},
		{"data.csv_delimiter", "csv-delimiter", "delimiter of CSV values, such as \";\"; default: detected"},
		{"data.max_row_bytes", "max-row-bytes", "maximum size of a row; a longer one is an error"},
		{"data.max_train_samples", "max-train-samples", "maximum number of rows to read; 0 = all"},
	}
	textFlags = []dataFlag{
		{"data.dataset_text_field", "field", "text column"},
		{"data.template", "template", "Go template that renders a row, instead of --field"},
		{"data.prompt", "prompt", "column or template for the text before --completion"},
		{"data.completion", "completion", "column or template for the text to train on, instead of --field"},
	}
	sourceFlags = slices.Concat(rowFlags, textFlags)
	labelFlags  = []dataFlag{
		{"data.messages", "messages", "column of chat messages, instead of --field"},
		{"data.completion_only_loss", "completion-only-loss", "exclude prompts from the loss"},
		{"data.assistant_only_loss", "assistant-only-loss", "include only the assistant's messages in the loss"},
		{"data.add_eos", "add-eos", "end each document with the end-of-text token"},
	}
	lengthFlags = []dataFlag{
		{"data.max_length", "max-length", "maximum tokens per document; 0 = no limit"},
		{"data.truncation", "truncation", "what to do with longer documents: keep_start, split, or error"},
	}
	batchFlags = []dataFlag{
		{"data.shuffle", "shuffle", "shuffle the data by seed"},
		{"data.packing", "packing", "fill each micro-batch with whole documents"},
		{"data.carry_state", "carry-state", "start each part of a split document from the final state of the part before it"},
		{"data.cache", "cache", "directory for tokenized data"},
	}
)

// oldFlags maps earlier names of flags, and the configuration's longer names, to the current ones.
var oldFlags = map[string]string{"prompt-field": "prompt", "completion-field": "completion", "dataset-text-field": "field"}

// dataFlags selects data and a tokenizer with a configuration file, --set, and flags, in increasing priority.
type dataFlags struct {
	config    string
	sets      []string
	common    []config.Flag // common flags that set keys
	tokenizer string
	values    map[string]*keyValue // by configuration key
	uses      func(key string) bool
	defaults  []string // key=value, if there is no configuration file
}

// add defines -c, --set, and the given flags. Flags default to the defaults of the configuration.
func (f *dataFlags) add(cmd *cobra.Command, flags ...dataFlag) {
	cmd.Flags().StringVarP(&f.config, "config", "c", "", "YAML file of a run, for everything not set by a flag")
	cmd.Flags().StringArrayVar(&f.sets, "set", nil, "set one configuration key, such as data.template=TEXT; may be repeated")
	cmd.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if now, old := oldFlags[name]; old {
			name = now
		}
		return pflag.NormalizedName(name)
	})
	f.uses = config.InSection("data")
	f.values = map[string]*keyValue{}
	for _, k := range config.Keys() {
		i := slices.IndexFunc(flags, func(flag dataFlag) bool { return flag.key == k.Path })
		if i < 0 {
			continue
		}
		v := &keyValue{name: flags[i].name, kind: k.Place.Kind().String()}
		if size, ok := k.Place.Interface().(format.Bytes); ok {
			v.text, v.kind = size.Exact(), "size"
		} else if v.text = fmt.Sprint(k.Place.Interface()); v.kind != "bool" && v.kind != "int" {
			v.kind, v.text = "string", strings.Trim(v.text, "[]")
		}
		short := map[string]string{"data": "d", "model": "m"}[flags[i].name]
		added := cmd.Flags().VarPF(v, flags[i].name, short, flags[i].usage)
		if v.kind == "bool" {
			added.NoOptDefVal = "true"
		}
		f.values[k.Path] = v
	}
}

// addTokenizer defines --tokenizer.
func (f *dataFlags) addTokenizer(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.tokenizer, "tokenizer", "", "tokenizer.json, a directory with one, or Hugging Face id; default: the model's")
}

// force sets the default of a flag and gives it priority over the configuration file.
func (f *dataFlags) force(cmd *cobra.Command, name, text string) {
	flag := cmd.Flags().Lookup(name)
	v := flag.Value.(*keyValue)
	v.text, v.forced, flag.DefValue = text, true, text
}

// assume changes the default of a key if there is no configuration file.
func (f *dataFlags) assume(cmd *cobra.Command, name, key, text string) {
	f.values[key].text, cmd.Flags().Lookup(name).DefValue = text, text
	f.defaults = append(f.defaults, key+"="+text)
}

// keyValue is a flag's text, parsed later by the configuration reader.
type keyValue struct {
	name          string // of the flag
	text, kind    string
	given, forced bool // on the command line; by the command
}

func (v *keyValue) String() string { return v.text }
func (v *keyValue) Type() string   { return v.kind }

func (v *keyValue) Set(text string) error {
	v.text, v.given = text, true
	return nil
}

// givenOf returns the first of the flags whose key is set on the command line, by the flag or by --set, or "" if none is.
func (f *dataFlags) givenOf(flags []dataFlag) string {
	for _, flag := range flags {
		if v := f.values[flag.key]; v != nil && v.given {
			return "--" + flag.name
		}
		for _, set := range f.sets {
			if key, _, _ := strings.Cut(set, "="); key == flag.key {
				return "--set " + key
			}
		}
	}
	return ""
}

// read reads the configuration described by the flags.
func (f *dataFlags) read() (*recipe.Config, error) {
	src := config.Source{File: f.config, Uses: f.uses}
	if f.config == "" {
		src.Defaults = f.defaults
	}
	for _, key := range slices.Sorted(maps.Keys(f.values)) {
		switch v := f.values[key]; {
		case v.given:
			src.Flags = append(src.Flags, config.Flag{Name: v.name, Key: key, Value: v.text})
		case v.forced:
			src.Sets = append(src.Sets, key+"="+v.text)
		}
	}
	src.Sets, src.Flags = append(src.Sets, f.sets...), append(src.Flags, f.common...)
	c, err := config.Load(src)
	if err != nil {
		return nil, err
	}
	field := f.values["data.dataset_text_field"]
	return c, oneRendering(field != nil && field.given, c.Data.Config)
}

// oneRendering returns an error if --field is given along with another way to render rows. [data.Config.Validate] misses
// this if --field is given its default value, which it treats as absent.
func oneRendering(field bool, c data.Config) error {
	for _, other := range []struct{ flag, value string }{{"template", c.Template}, {"completion", c.Completion}, {"messages", c.Messages}} {
		if field && other.value != "" {
			return cli.Misusef("--field with %s: a row can be rendered in only one way", other.flag)
		}
	}
	return nil
}

// load reads the configuration and the tokenizer. The tokenizer is nil if the model has none and the data does not need
// one.
func (f *dataFlags) load(ctx context.Context, a *app) (*recipe.Config, *tokenizer.Tokenizer, error) {
	c, err := f.read()
	if err != nil {
		return nil, nil, err
	}
	if name := cmp.Or(f.tokenizer, c.Tokenizer); name != "" {
		file, err := recipe.FindTokenizer(ctx, a.hub(), name)
		if err != nil {
			return nil, nil, err
		}
		t, err := tokenizer.Load(file)
		return c, t, err
	}
	if c.Model == "" {
		return c, nil, nil
	}
	t, err := recipe.LoadTokenizer(ctx, a.hub(), c.Model) // no model is needed for rows of ids
	return c, t, err
}

// open opens the dataset.
func (f *dataFlags) open(ctx context.Context, a *app) (*recipe.Config, *data.Dataset, *tokenizer.Tokenizer, error) {
	c, t, err := f.load(ctx, a)
	if err != nil {
		return nil, nil, nil, err
	}
	d, err := data.Open(ctx, c.Data.Train, t, a.dataConfig(c))
	if err == nil {
		a.sayShareGPT(d.Stats())
	}
	return c, d, t, err
}

// sayShareGPT reports that conversations were converted.
func (a *app) sayShareGPT(s data.Stats) {
	if s.ShareGPT > 0 {
		a.Say("%s in ShareGPT format: from and value are read as role and content", format.Counted(s.ShareGPT, "conversation"))
	}
}
