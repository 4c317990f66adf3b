package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/data"
	"mambatrain/data/tokenizer"
	"mambatrain/internal/format"
)

func (a *app) inspectCommand() *cobra.Command {
	var f dataFlags
	rows, batch := 3, noBatch
	cmd := &cobra.Command{
		Use:   "inspect",
		Short: "Show rows as the model is trained on them: text, ids, labels",
		Long: `Show rows as the model is trained on them. Text excluded from the loss is dimmed on a terminal and enclosed in ⟨ ⟩
elsewhere. --batch shows a micro-batch instead, divided into its documents.`,
		Example: `  mamba-train data inspect -c configs/quickstart.yaml --rows 5
  mamba-train data inspect --tokenizer DIR --data chat.jsonl --messages messages --assistant-only-loss --verbose
  mamba-train data inspect -c configs/quickstart.yaml --packing --batch 0`,
		Args: cli.NoArguments,
		RunE: func(*cobra.Command, []string) error { return a.inspect(f, rows, batch) },
	}
	f.addTokenizer(cmd)
	f.add(cmd, slices.Concat([]dataFlag{modelFlag, trainFlag}, sourceFlags, labelFlags, lengthFlags, batchFlags)...)
	cmd.Flags().IntVar(&rows, "rows", rows, "number of rows to show")
	cmd.Flags().IntVar(&batch, "batch", batch, "show this micro-batch instead, counting from 0")
	return cmd
}

// noBatch is the default of --batch: show rows.
const noBatch = -1

// rowResult is a document in the output of inspect --json.
type rowResult struct {
	Row    int    `json:"row"` // row in the source, counted from 0
	Text   string `json:"text,omitempty"`
	IDs    []int  `json:"ids"`
	Labels []int  `json:"labels"`
}

func (a *app) inspect(f dataFlags, rows, batch int) error {
	if rows < 0 {
		return cli.Misusef("--rows must not be negative, got %d", rows)
	}
	if batch < noBatch {
		return cli.Misusef("--batch must not be negative, got %d", batch)
	}
	ctx, stop := cli.NotifyContext()
	defer stop()
	c, d, t, err := f.open(ctx, a)
	if err != nil {
		return cli.WithSignal(ctx, err)
	}
	defer d.Close()
	b := firstDocuments(d, rows)
	if batch != noBatch {
		l, err := d.Loader(c.Train.PerDeviceTrainBatchSize, uint64(c.Seed))
		if err != nil {
			return err
		}
		if batch >= l.Total() {
			return cli.Misusef("--batch %d: an epoch has %s micro-batches, counting from 0", batch, format.Count(l.Total()))
		}
		b = l.At(0, batch)
	}
	var text strings.Builder
	shown := make([]rowResult, b.Documents())
	for i := range shown {
		one := b.Document(i)
		shown[i] = rowResult{Row: one.Rows[0], IDs: one.Tokens, Labels: one.Labels}
		if t != nil {
			shown[i].Text = t.Decode(one.Tokens)
		}
		a.show(&text, one, t)
	}
	return a.MarkedResult(map[string]any{"rows": shown}, text.String())
}

// firstDocuments concatenates the first n documents of a dataset.
func firstDocuments(d *data.Dataset, n int) (b data.Batch) {
	for i := range min(n, d.Len()) {
		e := d.Example(i)
		b.Starts, b.Rows = append(b.Starts, len(b.Tokens)), append(b.Rows, e.Row)
		b.Tokens, b.Labels = append(b.Tokens, e.Tokens...), append(b.Labels, e.Labels...)
	}
	return b
}

// show prints a document with its masked parts marked, and with its ids and labels if --verbose is set.
func (a *app) show(out *strings.Builder, b data.Batch, t *tokenizer.Tokenizer) {
	fmt.Fprintf(out, "── row %d: %s, %s ──\n", b.Rows[0], format.Counted(len(b.Tokens), "token"), format.Counted(b.Counted(), "label"))
	if t != nil {
		for _, s := range b.Segments(t) {
			shown := format.Printable(s.Text)
			if !s.Counted {
				shown = a.setApart(shown)
			}
			out.WriteString(shown)
		}
		out.WriteString("\n")
	}
	if a.Verbose || t == nil {
		fmt.Fprintf(out, "ids    %v\nlabels %v\n", b.Tokens, b.Labels)
	}
}

// setApart marks text: faint on a terminal; in brackets elsewhere or if NO_COLOR is set.
func (a *app) setApart(text string) string {
	if cli.IsTerminal(a.Out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" {
		return "\x1b[2m" + text + "\x1b[22m"
	}
	return "⟨" + text + "⟩"
}
