package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/data"
	"mambatrain/data/tokenizer"
	"mambatrain/internal/format"
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

func (a *app) tokenizeCommand() *cobra.Command {
	var f dataFlags
	output := ""
	cmd := &cobra.Command{
		Use:   "tokenize",
		Short: "Turn texts into rows of token ids",
		Long: `Turn texts into a file with a column input_ids: one row for each row of the source, in its order, without an
end-of-text token and without cutting; an empty text gives an empty list.`,
		Example: "  mamba-train data tokenize --tokenizer configs/quickstart/base --data configs/quickstart/quotes.parquet --field quote --output runs/ids.parquet",
		Args:    cli.NoArguments,
		RunE:    func(*cobra.Command, []string) error { return a.tokenize(f, output) },
	}
	f.addTokenizer(cmd)
	f.add(cmd, slices.Concat(sourceFlags, labelFlags)...)
	f.force(cmd, "add-eos", "false")
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write: .jsonl or .parquet")
	cli.RequireFlags(cmd, "output")
	return cmd
}

func (a *app) tokenize(f dataFlags, output string) error {
	if !strings.HasSuffix(output, ".jsonl") && !strings.HasSuffix(output, ".parquet") {
		return cli.Misusef("--output must end in .jsonl or .parquet, got %q", output)
	}
	ctx, stop := cli.NotifyContext()
	defer stop()
	c, t, err := f.load(ctx, a)
	if err != nil {
		return err
	}
	s, err := data.WriteTokens(ctx, c.Data.Train, t, a.dataOptions(c), output)
	if err != nil {
		return cli.WithSignal(ctx, err)
	}
	r := struct {
		Rows   int `json:"rows"`
		Tokens int `json:"tokens"`
	}{s.Rows, s.Tokens}
	return a.Result(r, fmt.Sprintf("wrote %s: %s, %s", output, format.Counted(s.Rows, "row"), format.Counted(s.Tokens, "token")))
}

func (a *app) trainTokenizerCommand() *cobra.Command {
	var f dataFlags
	var o tokenizer.TrainConfig
	output := ""
	cmd := &cobra.Command{
		Use:     "train-tokenizer",
		Short:   "Train a byte-level BPE tokenizer on your texts",
		Example: "  mamba-train data train-tokenizer --data corpus.txt --vocab-size 8192 --output models/new",
		Args:    cli.NoArguments,
		RunE:    func(*cobra.Command, []string) error { return a.trainTokenizer(f, o, output) },
	}
	f.add(cmd, sourceFlags...)
	cmd.Flags().IntVar(&o.VocabSize, "vocab-size", 8192, "ids in all: special tokens, 256 bytes, merges")
	cmd.Flags().IntVar(&o.MinFrequency, "min-frequency", 2, "pairs that are seen less often are not merged")
	cmd.Flags().StringSliceVar(&o.SpecialTokens, "special-token", nil, "special tokens in the order of their ids; the first ends texts")
	cmd.Flags().StringVarP(&output, "output", "o", "", "directory for tokenizer.json and tokenizer_config.json")
	cli.RequireFlags(cmd, "output")
	return cmd
}

func (a *app) trainTokenizer(f dataFlags, o tokenizer.TrainConfig, output string) error {
	ctx, stop := cli.NotifyContext()
	defer stop()
	c, err := f.read()
	if err != nil {
		return err
	}
	t, err := data.TrainTokenizer(ctx, c.Data.Train, a.dataOptions(c), o, output)
	if err != nil {
		return cli.WithSignal(ctx, err)
	}
	r := struct {
		Output    string `json:"output"`
		VocabSize int    `json:"vocab_size"`
	}{output, t.VocabSize()}
	return a.Result(r, fmt.Sprintf("wrote %s: %s", output, format.Counted(r.VocabSize, "id")))
}
