package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/data"
	"mambatrain/internal/format"
)

func (a *app) tokenizeCommand() *cobra.Command {
	var f dataFlags
	output := ""
	cmd := &cobra.Command{
		Use:   "tokenize",
		Short: "Tokenize texts into rows of token ids",
		Long: `Tokenize texts into a file with an input_ids column: one row per source row, in the same order, without an end-of-text
token and without truncation. An empty text gives an empty list.`,
		Example: "  mamba-train data tokenize --tokenizer configs/quickstart/base --data configs/quickstart/quotes.parquet --field quote --output runs/ids.parquet",
		Args:    cli.NoArguments,
		RunE:    func(*cobra.Command, []string) error { return a.tokenize(f, output) },
	}
	f.addTokenizer(cmd)
	f.add(cmd, slices.Concat([]dataFlag{modelFlag, trainFlag}, sourceFlags, labelFlags)...)
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
		return cli.WithSignal(ctx, err)
	}
	a.Wait("tokenizing")
	s, err := data.WriteTokens(ctx, c.Data.Train, t, a.dataConfig(c), output)
	if err != nil {
		return cli.WithSignal(ctx, err)
	}
	a.sayShareGPT(s)
	r := struct {
		Rows   int `json:"rows"`
		Tokens int `json:"tokens"`
	}{s.Rows, s.Tokens}
	return a.Result(r, fmt.Sprintf("wrote %s: %s, %s", output, format.Counted(s.Rows, "row"), format.Counted(s.Tokens, "token")))
}
