package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/spf13/cobra"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/data"
	"mambatrain/data/source"
	"mambatrain/internal/atomicfile"
	"mambatrain/internal/fault"
	"mambatrain/internal/format"
	"mambatrain/trainer/recipe"
)

type evalFlags struct {
	modelFlags
	data    []string
	config  data.Config
	perRow  string
	choices bool
}

func (a *app) evalCommand() *cobra.Command {
	f := evalFlags{config: evalDefaults()}
	cmd := &cobra.Command{
		Use:   "eval",
		Short: "Measure loss, perplexity and accuracy on a data set",
		Example: `  mamba-train eval --model configs/quickstart/base --data configs/quickstart/quotes.parquet --field quote
  mamba-train eval --adapter runs/quickstart --data configs/quickstart/quotes.parquet --field quote --per-row runs/rows.jsonl
  mamba-train eval --model DIR --data questions.jsonl --choices`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneRendering(cmd.Flags().Changed("field"), f.config); err != nil {
				return err
			}
			return a.eval(f)
		},
	}
	fl, c := cmd.Flags(), &f.config
	fl.StringVarP(&f.model, "model", "m", "", "model directory or Hugging Face id")
	fl.StringVar(&f.adapter, "adapter", "", "adapter directory")
	fl.StringArrayVarP(&f.data, "data", "d", nil, "file, glob, directory or Hugging Face id; may be repeated")
	fl.StringVar(&c.DatasetTextField, "field", c.DatasetTextField, "column of texts")
	fl.StringVar(&c.Template, "template", "", "text/template over the row, instead of --field")
	fl.StringVar(&c.Prompt, "prompt-field", "", "column or template whose tokens do not count")
	fl.StringVar(&c.Completion, "completion-field", "", "column or template whose tokens count")
	fl.IntVar(&c.MaxLength, "max-length", 0, "cut documents after so many tokens; 0 = never")
	fl.StringVar(&c.Format, "format", c.Format, "auto, parquet, arrow, jsonl, json, csv or text")
	fl.StringVar(&c.Encoding, "encoding", c.Encoding, "of CSV, JSON and text: utf-8, latin-1, windows-1252 or utf-16")
	fl.StringVar(&c.CSVDelimiter, "csv-delimiter", "", "what separates the values of CSV, such as \";\"; default: found out")
	fl.StringVar(&f.perRow, "per-row", "", "write the loss of each row to this JSON lines file; with --choices, the log-likelihood of each choice")
	fl.BoolVar(&f.choices, "choices", false, "score multiple-choice rows: columns context, choices, answer")
	a.precisionFlag(cmd)
	cli.RequireFlags(cmd, "data")
	return cmd
}

// evalDefaults returns the data section of an evaluation: whole documents, in their order.
func evalDefaults() data.Config {
	c := data.Default()
	c.MaxLength, c.Shuffle = 0, false
	return c
}

// evalResult is what eval prints with --json.
type evalResult struct {
	Loss       cli.Finite            `json:"loss"`
	Perplexity cli.Finite            `json:"perplexity"`
	Tokens     int                   `json:"tokens"`
	Rows       int                   `json:"rows"`
	Accuracy   float64               `json:"mean_token_accuracy"`
	Sets       map[string]evalResult `json:"sets,omitempty"` // each data set by itself, where there are several
}

// rowLoss is a line of the per-row file.
type rowLoss struct {
	Row    int        `json:"row"`
	NLL    cli.Finite `json:"nll"` // nats, summed over the row
	Tokens int        `json:"tokens"`
	Set    string     `json:"data,omitempty"`
}

func resultOf(e recipe.Evaluation) evalResult {
	return evalResult{
		Loss: cli.Finite(e.Loss()), Perplexity: cli.Finite(math.Exp(e.Loss())), Tokens: e.Tokens, Rows: len(e.Rows), Accuracy: e.Accuracy(),
	}
}

func (a *app) eval(f evalFlags) error {
	var faults fault.List
	faults.Include("data", f.config.Validate())
	if err := faults.Err(); err != nil {
		return err
	}
	for i, path := range f.data {
		if slices.Contains(f.data[:i], path) {
			return cli.Misusef("--data %s is given twice", path)
		}
	}
	f.config.Hub, f.config.Warn = a.hub(), a.warnOf
	ctx, stop := cli.NotifyContext()
	defer stop()
	m, err := f.open(ctx, a)
	if err != nil {
		return err
	}
	if f.perRow != "" {
		if err := f.checkPerRow(ctx, m); err != nil {
			return cli.WithSignal(ctx, err)
		}
	}
	if f.choices {
		return cli.WithSignal(ctx, a.evalChoices(ctx, m, f))
	}
	var all recipe.Evaluation
	var rows []rowLoss
	sets := map[string]evalResult{}
	for _, path := range f.data {
		e, err := m.Evaluate(ctx, recipe.Sources{{Path: path}}, f.config)
		if err != nil {
			return cli.WithSignal(ctx, err)
		}
		set := ""
		if len(f.data) > 1 {
			set, sets[path] = path, resultOf(e)
		}
		for i, r := range e.Rows {
			rows = append(rows, rowLoss{i, cli.Finite(r.NLL), r.Tokens, set})
		}
		all.NLL, all.Tokens, all.Correct, all.Rows = all.NLL+e.NLL, all.Tokens+e.Tokens, all.Correct+e.Correct, append(all.Rows, e.Rows...)
	}
	if f.perRow != "" {
		if err := writeRows(f.perRow, rows); err != nil {
			return err
		}
	}
	r := resultOf(all)
	r.Sets = sets
	return a.Result(r, r.text(f.data))
}

func (r evalResult) text(order []string) string {
	text := fmt.Sprintf("loss %.6f nats per token, perplexity %.4f, accuracy %s: %s in %s", r.Loss, r.Perplexity,
		format.Percent(r.Accuracy), format.Counted(r.Tokens, "token"), format.Counted(r.Rows, "row"))
	for _, path := range order {
		if s, ok := r.Sets[path]; ok {
			text += fmt.Sprintf("\n%s: %s", path, s.text(nil))
		}
	}
	return text
}

// checkPerRow refuses to write over what is read.
func (f evalFlags) checkPerRow(ctx context.Context, m *recipe.Model) error {
	inputs := append(cli.FilesIn(m.Dir), cli.FilesIn(f.adapter)...)
	for _, path := range f.data {
		sets, err := source.Resolve(ctx, recipe.Sources{{Path: path}}, f.config.Config)
		if err != nil {
			return err
		}
		for _, set := range sets {
			for _, file := range set.Files {
				inputs = append(inputs, file.Path)
			}
		}
	}
	return cli.CheckDistinct("--per-row", f.perRow, inputs...)
}

// writeRows writes one JSON object a line; the file appears whole or not at all.
func writeRows[T any](path string, rows []T) error {
	return atomicfile.WriteOutput(path, func(w io.Writer) error {
		b := bufio.NewWriter(w)
		enc := json.NewEncoder(b)
		for _, r := range rows {
			if err := enc.Encode(r); err != nil {
				return err
			}
		}
		return b.Flush()
	})
}
