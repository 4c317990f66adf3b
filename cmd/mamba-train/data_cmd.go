package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"mambatrain/data"
)

func (a *app) dataCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "data",
		Short: "Look at data, tokenise it, train a tokenizer on it",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.tokenizeCommand(), a.inspectCommand(), a.statsCommand(), a.trainTokenizerCommand())
	return cmd
}

// dataFlags name data and a tokenizer: by a configuration file, or by a flag for each key of its data section.
type dataFlags struct {
	config    string
	tokenizer string
	values    map[string]*string // by key of the configuration
}

// shortNames are flags that are called otherwise than their key.
var shortNames = map[string]string{"data.train": "data", "data.dataset_text_field": "field"}

// add adds the flags. defaults are values that differ from those of the configuration.
func (f *dataFlags) add(cmd *cobra.Command, defaults map[string]string) {
	cmd.Flags().StringVarP(&f.config, "config", "c", "", "YAML file whose data section is used")
	cmd.Flags().StringVar(&f.tokenizer, "tokenizer", "", "directory with tokenizer.json; default: the configuration's model")
	f.values = map[string]*string{}
	for _, k := range settings(withSections()) {
		key, ok := strings.CutPrefix(k.path, "data.")
		if !ok {
			continue
		}
		name, short := strings.ReplaceAll(key, "_", "-"), ""
		if other, ok := shortNames[k.path]; ok {
			name = other
		}
		if name == "data" {
			short = "d"
		}
		v := defaults[k.path]
		f.values[k.path] = &v
		cmd.Flags().StringVarP(&v, name, short, v, "as "+k.path+" of the configuration")
		if k.place.Kind().String() == "bool" {
			cmd.Flags().Lookup(name).NoOptDefVal = "true"
		}
	}
}

// load reads the configuration that the flags describe and the tokenizer; nil if the data needs none and there is none.
func (f *dataFlags) load(ctx context.Context, a *app) (*Config, *data.Tokenizer, error) {
	src := configSource{file: f.config, section: "data"}
	for _, k := range settings(withSections()) {
		if v := f.values[k.path]; v != nil && *v != "" {
			src.sets = append(src.sets, k.path+"="+*v)
		}
	}
	c, err := loadConfig(src)
	if err != nil {
		return nil, nil, err
	}
	dir := f.tokenizer
	if dir == "" && c.Model != "" {
		if dir, err = a.resolveModel(ctx, c.Model); err != nil {
			return nil, nil, err
		}
	}
	if dir == "" {
		return c, nil, nil
	}
	if err := exists("tokenizer", dir); err != nil {
		return nil, nil, err
	}
	if f.tokenizer == "" {
		t, err := openTokenizer(dir) // a model for rows of ids needs none
		return c, t, err
	}
	t, err := data.LoadTokenizer(dir)
	return c, t, err
}

// open opens the data set.
func (f *dataFlags) open(ctx context.Context, a *app) (*Config, *data.Dataset, *data.Tokenizer, error) {
	c, t, err := f.load(ctx, a)
	if err != nil {
		return nil, nil, nil, err
	}
	d, err := data.Open(ctx, c.Data.Train, t, c.Data.options())
	return c, d, t, err
}

func (a *app) tokenizeCommand() *cobra.Command {
	var f dataFlags
	output := ""
	cmd := &cobra.Command{
		Use:   "tokenize",
		Short: "Turn texts into rows of token ids",
		Long: `Turn texts into a file with a column input_ids: one row for each row of the source, in its order, without an
end-of-text token and without cutting; an empty text gives an empty list.`,
		Example: "  mamba-train data tokenize --tokenizer configs/quickstart/base --data configs/quickstart/quotes.parquet --field quote --output ids.parquet",
		Args:    noArguments,
		RunE:    func(*cobra.Command, []string) error { return a.tokenize(f, output) },
	}
	f.add(cmd, map[string]string{"data.add_eos": "false", "data.max_length": "0"})
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write: .jsonl or .parquet")
	needFlags(cmd, "output")
	return cmd
}

func (a *app) tokenize(f dataFlags, output string) error {
	if !strings.HasSuffix(output, ".jsonl") && !strings.HasSuffix(output, ".parquet") {
		return misusef("--output must end in .jsonl or .parquet, got %q", output)
	}
	ctx, stop := interruptible()
	defer stop()
	c, t, err := f.load(ctx, a)
	if err != nil {
		return err
	}
	s, err := data.WriteTokens(ctx, c.Data.Train, t, c.Data.options(), output)
	if err != nil {
		return signalled(ctx, err)
	}
	r := struct {
		Rows   int `json:"rows"`
		Tokens int `json:"tokens"`
	}{s.Rows, s.Tokens}
	return a.result(r, fmt.Sprintf("wrote %s: %s, %s", output, counted(s.Rows, "row"), counted(s.Tokens, "token")))
}

func (a *app) trainTokenizerCommand() *cobra.Command {
	var f dataFlags
	var o data.TokenizerOptions
	output := ""
	cmd := &cobra.Command{
		Use:     "train-tokenizer",
		Short:   "Train a byte-level BPE tokenizer on your texts",
		Example: "  mamba-train data train-tokenizer --data corpus.txt --vocab-size 8192 --output models/new",
		Args:    noArguments,
		RunE:    func(*cobra.Command, []string) error { return a.trainTokenizer(f, o, output) },
	}
	f.add(cmd, nil)
	cmd.Flags().IntVar(&o.VocabSize, "vocab-size", 8192, "ids in all: special tokens, 256 bytes, merges")
	cmd.Flags().IntVar(&o.MinFrequency, "min-frequency", 2, "pairs that are seen less often are not merged")
	cmd.Flags().StringSliceVar(&o.SpecialTokens, "special-token", nil, "special tokens in the order of their ids; the first ends texts")
	cmd.Flags().StringVarP(&output, "output", "o", "", "directory for tokenizer.json and tokenizer_config.json")
	needFlags(cmd, "output")
	return cmd
}

func (a *app) trainTokenizer(f dataFlags, o data.TokenizerOptions, output string) error {
	ctx, stop := interruptible()
	defer stop()
	c, _, err := f.load(ctx, a)
	if err != nil {
		return err
	}
	t, err := data.TrainTokenizer(ctx, c.Data.Train, c.Data.options(), o, output)
	if err != nil {
		return signalled(ctx, err)
	}
	r := struct {
		Output    string `json:"output"`
		VocabSize int    `json:"vocab_size"`
	}{output, t.VocabSize()}
	return a.result(r, fmt.Sprintf("wrote %s: %s", output, counted(r.VocabSize, "id")))
}
