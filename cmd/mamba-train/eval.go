package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/data/source"
	"mambatrain/internal/atomicfile"
	"mambatrain/internal/format"
	"mambatrain/mamba"
	"mambatrain/trainer/recipe"
)

type evalFlags struct {
	modelFlags
	data    dataFlags
	inputs  []string
	perRow  string
	choices bool
}

func (a *app) evalCommand() *cobra.Command {
	var f evalFlags
	cmd := &cobra.Command{
		Use:   "eval",
		Short: "Measure loss, perplexity, and accuracy on a dataset",
		Long: `Measure loss, perplexity, and accuracy. With -c, the model, adapter, and data come from a run's configuration, and texts
are turned into documents as in that run: the evaluation uses data.eval, or the fraction held out by data.eval_fraction,
or otherwise the training data. Without -c, documents are not truncated.`,
		Example: `  mamba-train eval --model configs/quickstart/base --data configs/quickstart/quotes.parquet --field quote
  mamba-train eval --adapter runs/quickstart --data configs/quickstart/quotes.parquet --field quote --per-row runs/rows.jsonl
  mamba-train eval -c configs/quickstart.yaml --adapter runs/quickstart
  mamba-train eval --model DIR --data questions.jsonl --choices`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.eval(cmd, f) },
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.model, "model", "m", "", "model directory or Hugging Face id")
	fl.StringVar(&f.adapter, "adapter", "", "adapter directory or Hugging Face id")
	f.tokenizerFlag(fl)
	f.initialStateFlag(fl)
	fl.StringArrayVarP(&f.inputs, "data", "d", nil, "file, glob, directory, or Hugging Face id; may be repeated")
	f.data.add(cmd, slices.Concat(sourceFlags, labelFlags, lengthFlags)...)
	f.data.assume(cmd, "max-length", "data.max_length", "0")
	f.data.uses = func(key string) bool { return strings.HasPrefix(key, "data.") && key != "data.train" }
	fl.StringVar(&f.perRow, "per-row", "", "write the loss of each row to this JSON lines file; with --choices, the log-likelihood of each choice")
	fl.BoolVar(&f.choices, "choices", false, "score multiple-choice questions: each choice after the context and a space; columns: context, choices, answer")
	a.precisionFlag(cmd)
	a.deviceFlag(cmd)
	return cmd
}

// evalResult is the output of eval --json.
type evalResult struct {
	Loss       cli.Finite            `json:"loss"`
	Perplexity cli.Finite            `json:"perplexity"`
	Tokens     int                   `json:"tokens"`
	Rows       int                   `json:"rows"`
	Accuracy   float64               `json:"mean_token_accuracy"`
	Sets       map[string]evalResult `json:"sets,omitempty"` // results of each dataset, if there are several
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

func (a *app) eval(cmd *cobra.Command, f evalFlags) error {
	f.data.common = commonFlags(cmd)
	c, err := f.data.read()
	if err != nil {
		return err
	}
	if f.choices {
		if name := f.data.givenOf(slices.Concat(textFlags, labelFlags, lengthFlags)); name != "" {
			return cli.Misusef("--choices reads the columns context, choices, and answer as they are: %s does not apply", name)
		}
	}
	sets, err := f.testSets(c, a)
	if err != nil {
		return err
	}
	if err := f.applyConfig(c, a); err != nil {
		return err
	}
	ctx, stop := cli.NotifyContext()
	defer stop()
	if err := a.openEvalDevice(c.Device, f); err != nil {
		return err
	}
	m, err := f.open(ctx, a)
	if err != nil {
		return cli.WithSignal(ctx, err)
	}
	if f.perRow != "" {
		if err := checkPerRow(ctx, m, sets, f); err != nil {
			return cli.WithSignal(ctx, err)
		}
	}
	if f.choices {
		return cli.WithSignal(ctx, a.evalChoices(ctx, m, sets, f.perRow))
	}
	return cli.WithSignal(ctx, a.evalSets(ctx, m, sets, f.perRow))
}

// testSets returns the data to evaluate: the inputs on the command line, or else those in the configuration.
func (f evalFlags) testSets(c *recipe.Config, a *app) ([]recipe.TestSet, error) {
	for i, path := range f.inputs {
		if slices.Contains(f.inputs[:i], path) {
			return nil, cli.Misusef("--data %s is given twice", path)
		}
	}
	if len(f.inputs) > 0 {
		c.Data.Eval, c.Data.EvalFraction = nil, 0
	}
	rows := c.Data.MaxTrainSamples
	var sets []recipe.TestSet
	for _, path := range f.inputs {
		c.Data.Eval = append(c.Data.Eval, recipe.NamedSources{Name: path, Sources: recipe.Sources{{Path: path, Weight: 1}}})
	}
	if sets = c.TestSets(); len(sets[0].Sources) == 0 {
		return nil, cli.Misusef("--data is required, unless a configuration (-c) names the data")
	}
	for i := range sets {
		d := &sets[i].Data
		d.Hub, d.Warn = a.hub(), a.warnOf
		if f.data.values["data.max_train_samples"].given {
			d.MaxTrainSamples = rows
		}
		if f.choices && sets[i].Fraction > 0 {
			return nil, cli.Misusef("--choices scores all rows of a dataset, but data.eval_fraction selects only part of one: name the data with --data")
		}
	}
	return sets, nil
}

// applyConfig sets the flags that were not given from the configuration.
func (f *evalFlags) applyConfig(c *recipe.Config, a *app) error {
	named := f.model != "" || f.adapter != ""
	if f.model == "" {
		f.model = c.Model
	}
	if !named { // the adapter belongs to the configuration's model
		f.adapter = c.Adapter
	}
	if f.tokenizer == "" {
		f.tokenizer = c.Tokenizer
	}
	f.resize = c.ResizeEmbeddings
	a.setThreads(c.Threads)
	if result := recipe.ResultIn(c.OutputDir); f.data.config != "" && !named && result != "" {
		a.Say("this evaluates the model that %s starts from; to evaluate the trained result, add --%s %s", f.data.config, result, cli.Quote(c.OutputDir))
	}
	return a.setPrecision("precision", mamba.Precision(c.Precision))
}

func (a *app) evalSets(ctx context.Context, m *recipe.Model, sets []recipe.TestSet, perRow string) error {
	var all recipe.Evaluation
	var rows []rowLoss
	parts := map[string]evalResult{}
	w := a.Wait("reading the data")
	for _, set := range sets {
		set.Progress = func(done, all int) {
			w.Show("evaluating, %s of %s", format.Count(done), format.Counted(all, "document"))
		}
		e, err := m.Evaluate(ctx, set)
		if err != nil {
			return err
		}
		name := ""
		if len(sets) > 1 {
			name, parts[set.Name] = set.Name, resultOf(e)
		}
		for _, r := range e.Rows {
			rows = append(rows, rowLoss{r.Row, cli.Finite(r.NLL), r.Tokens, name})
		}
		all.NLL, all.Tokens, all.Correct, all.Rows = all.NLL+e.NLL, all.Tokens+e.Tokens, all.Correct+e.Correct, append(all.Rows, e.Rows...)
	}
	if perRow != "" {
		if err := writeRows(perRow, rows); err != nil {
			return err
		}
	}
	r := resultOf(all)
	r.Sets = parts
	return a.Result(r, r.text(sets))
}

func (r evalResult) text(order []recipe.TestSet) string {
	text := fmt.Sprintf("loss %.6f nats per token, perplexity %.4f, accuracy %s: %s in %s", r.Loss, r.Perplexity,
		format.Percent(r.Accuracy), format.Counted(r.Tokens, "token"), format.Counted(r.Rows, "row"))
	for _, set := range order {
		if s, ok := r.Sets[set.Name]; ok {
			text += fmt.Sprintf("\n%s: %s", set.Name, s.text(nil))
		}
	}
	return text
}

// checkPerRow returns an error if --per-row would overwrite an input.
func checkPerRow(ctx context.Context, m *recipe.Model, sets []recipe.TestSet, f evalFlags) error {
	inputs := append(m.Inputs(), f.data.config)
	for _, set := range sets {
		files, err := filesOf(ctx, set.Sources, set.Data.Config)
		if err != nil {
			return err
		}
		inputs = append(inputs, files...)
	}
	return cli.CheckDistinct("--per-row", f.perRow, inputs...)
}

// filesOf returns the paths of the files of a dataset.
func filesOf(ctx context.Context, in recipe.Sources, c source.Config) (paths []string, err error) {
	sets, err := source.Resolve(ctx, in, c)
	for _, set := range sets {
		for _, file := range set.Files {
			paths = append(paths, file.Path)
		}
	}
	return paths, err
}

// writeRows writes one JSON object per line. The file is written atomically.
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
