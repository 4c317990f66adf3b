package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"math"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/data"
	"mambatrain/data/source"
	"mambatrain/internal/atomicfile"
	"mambatrain/internal/fault"
	"mambatrain/internal/format"
	"mambatrain/mamba"
	"mambatrain/trainer/recipe"
)

type evalFlags struct {
	modelFlags
	data    []string
	options data.Config
	perRow  string
	choices bool
}

func (a *app) evalCommand() *cobra.Command {
	f := evalFlags{options: evalDefaults()}
	cmd := &cobra.Command{
		Use:   "eval",
		Short: "Measure loss, perplexity and accuracy on a data set",
		Example: `  mamba-train eval --model configs/quickstart/base --data configs/quickstart/quotes.parquet --field quote
  mamba-train eval --adapter runs/quickstart --data configs/quickstart/quotes.parquet --field quote --per-row runs/rows.jsonl
  mamba-train eval --model DIR --data questions.jsonl --choices`,
		Args: cli.NoArguments,
		RunE: func(*cobra.Command, []string) error { return a.eval(f) },
	}
	fl, o := cmd.Flags(), &f.options
	fl.StringVarP(&f.model, "model", "m", "", "model directory or Hugging Face id")
	fl.StringVar(&f.adapter, "adapter", "", "adapter directory")
	fl.StringArrayVarP(&f.data, "data", "d", nil, "file, glob, directory or Hugging Face id; may be repeated")
	fl.StringVar(&o.DatasetTextField, "field", o.DatasetTextField, "column of texts")
	fl.StringVar(&o.Template, "template", "", "text/template over the row, instead of --field")
	fl.StringVar(&o.Prompt, "prompt-field", "", "column or template whose tokens do not count")
	fl.StringVar(&o.Completion, "completion-field", "", "column or template whose tokens count")
	fl.IntVar(&o.MaxLength, "max-length", 0, "cut documents after so many tokens; 0 = never")
	fl.StringVar(&o.Format, "format", o.Format, "auto, parquet, arrow, jsonl, json, csv or text")
	fl.StringVar(&f.perRow, "per-row", "", "write the loss of each row to this JSON lines file; with --choices, the log-likelihood of each choice")
	fl.BoolVar(&f.choices, "choices", false, "score multiple-choice rows: columns context, choices, answer")
	a.precisionFlag(cmd)
	cli.RequireFlags(cmd, "data")
	return cmd
}

// evalDefaults are the data options of an evaluation: whole documents, in their order.
func evalDefaults() data.Config {
	o := data.Default()
	o.MaxLength, o.Shuffle = 0, false
	return o
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

// losses sums up what an evaluation has found.
type losses struct {
	nll             float64
	tokens, correct int
	rows            []rowLoss
}

func (l losses) result() evalResult {
	mean := l.nll / math.Max(1, float64(l.tokens))
	return evalResult{
		Loss: cli.Finite(mean), Perplexity: cli.Finite(math.Exp(mean)), Tokens: l.tokens, Rows: len(l.rows),
		Accuracy: float64(l.correct) / math.Max(1, float64(l.tokens)),
	}
}

func (a *app) eval(f evalFlags) error {
	var faults fault.List
	faults.Include("data", f.options.Validate())
	if err := faults.Err(); err != nil {
		return err
	}
	for i, path := range f.data {
		if slices.Contains(f.data[:i], path) {
			return cli.Misusef("--data %s is given twice", path)
		}
	}
	if f.perRow != "" {
		if err := cli.Exists("--per-row", filepath.Dir(f.perRow)); err != nil {
			return err
		}
	}
	f.options.Hub = a.hub()
	ctx, stop := cli.Interruptible()
	defer stop()
	m, err := f.open(ctx, a)
	if err != nil {
		return err
	}
	if f.choices {
		return cli.Signalled(ctx, a.evalChoices(ctx, m, f))
	}
	var all losses
	sets := map[string]evalResult{}
	for _, path := range f.data {
		l, err := a.score(ctx, m, path, f.options)
		if err != nil {
			return cli.Signalled(ctx, err)
		}
		if len(f.data) > 1 {
			sets[path] = l.result()
			for i := range l.rows {
				l.rows[i].Set = path
			}
		}
		all.nll += l.nll
		all.tokens += l.tokens
		all.correct += l.correct
		all.rows = append(all.rows, l.rows...)
	}
	if f.perRow != "" {
		if err := writeRows(f.perRow, all.rows); err != nil {
			return err
		}
	}
	r := all.result()
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

// score runs one data set through the model, in memory that does not grow with its documents.
func (a *app) score(ctx context.Context, m *recipe.Model, path string, o data.Config) (l losses, err error) {
	d, err := data.Open(ctx, []source.Input{{Path: path, Weight: 1}}, m.Tokenizer, o)
	if err != nil {
		return l, err
	}
	defer d.Close()
	s := d.Stats()
	if s.MaxToken >= m.Config.VocabSize {
		return l, fmt.Errorf("data %s: token id %d is beyond the model's vocabulary of %d", path, s.MaxToken, m.Config.VocabSize)
	}
	l.rows = make([]rowLoss, s.Rows)
	for i := range l.rows {
		l.rows[i].Row = i
	}
	i := 0
	for score, err := range m.Score(ctx, documents(d), mamba.ScoreOptions{}) {
		if err != nil {
			return l, fmt.Errorf("data %s: %w", path, err)
		}
		row := &l.rows[d.Example(i).Row]
		row.NLL += cli.Finite(score.NLL)
		row.Tokens += score.Tokens
		l.nll += score.NLL
		l.tokens += score.Tokens
		l.correct += score.Correct
		i++
	}
	return l, nil
}

func documents(d *data.Dataset) iter.Seq[mamba.Document] {
	return func(yield func(mamba.Document) bool) {
		for i := range d.Len() {
			e := d.Example(i)
			if !yield(mamba.Document{Tokens: e.Tokens, Labels: e.Labels}) {
				return
			}
		}
	}
}

// writeRows writes one JSON object a line; the file appears whole or not at all.
func writeRows[T any](path string, rows []T) error {
	return atomicfile.Write(path, func(w io.Writer) error {
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
