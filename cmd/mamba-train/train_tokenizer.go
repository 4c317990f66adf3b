package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/data"
	"mambatrain/data/tokenizer"
	"mambatrain/internal/format"
)

func (a *app) trainTokenizerCommand() *cobra.Command {
	var f dataFlags
	var o tokenizer.TrainConfig
	output, force := "", false
	cmd := &cobra.Command{
		Use:     "train-tokenizer",
		Short:   "Train a byte-level BPE tokenizer on your texts",
		Example: "  mamba-train data train-tokenizer --data corpus.txt --vocab-size 8192 --output models/new",
		Args:    cli.NoArguments,
		RunE:    func(*cobra.Command, []string) error { return a.trainTokenizer(f, o, output, cli.Policy(force)) },
	}
	f.add(cmd, append([]dataFlag{trainFlag}, sourceFlags...)...)
	cmd.Flags().IntVar(&o.VocabSize, "vocab-size", 8192, "total number of ids: special tokens, 256 bytes, and merges")
	cmd.Flags().IntVar(&o.MinFrequency, "min-frequency", 2, "minimum number of occurrences for a pair to be merged")
	cmd.Flags().StringSliceVar(&o.SpecialTokens, "special-token", nil, "special tokens in order of their ids; the first is the end-of-text token")
	cmd.Flags().StringVarP(&output, "output", "o", "", "directory for tokenizer.json and tokenizer_config.json")
	cmd.Flags().BoolVar(&force, "force", false, "replace the tokenizer in an output directory that is not empty")
	cli.RequireFlags(cmd, "output")
	return cmd
}

func (a *app) trainTokenizer(f dataFlags, o tokenizer.TrainConfig, output string, p cli.Policy) error {
	if err := cli.CheckOutput(output, p); err != nil {
		return err
	}
	ctx, stop := cli.NotifyContext()
	defer stop()
	c, err := f.read()
	if err != nil {
		return err
	}
	a.Wait("training a tokenizer")
	t, err := data.TrainTokenizer(ctx, c.Data.Train, a.dataConfig(c), o, output)
	if err != nil {
		return cli.WithSignal(ctx, err)
	}
	r := struct {
		Output    string `json:"output"`
		VocabSize int    `json:"vocab_size"`
	}{output, t.VocabSize()}
	return a.Result(r, fmt.Sprintf("wrote %s: %s", output, format.Counted(r.VocabSize, "id")))
}
