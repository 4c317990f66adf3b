package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"mambatrain/data"
)

func (a *app) inspectCommand() *cobra.Command {
	var f dataFlags
	rows, batch := 3, -1
	cmd := &cobra.Command{
		Use:   "inspect",
		Short: "Show rows as they are trained: text, ids, labels",
		Long: `Show rows as they are trained. What does not enter the loss is dim on a terminal and stands in ⟨ ⟩ elsewhere.
--batch shows a micro-batch instead, with the borders of its documents.`,
		Example: `  mamba-train data inspect -c configs/quickstart.yaml --rows 5
  mamba-train data inspect --tokenizer DIR --data chat.jsonl --messages messages --assistant-only-loss --verbose
  mamba-train data inspect -c configs/quickstart.yaml --packing --batch 0`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return a.inspect(f, rows, batch) },
	}
	f.add(cmd, nil)
	cmd.Flags().IntVar(&rows, "rows", rows, "rows to show")
	cmd.Flags().IntVar(&batch, "batch", batch, "micro-batch to show instead, from 0")
	return cmd
}

// shownRow is a document as inspect prints it with --json.
type shownRow struct {
	Row    int    `json:"row"` // of the source, from 0
	Text   string `json:"text,omitempty"`
	IDs    []int  `json:"ids"`
	Labels []int  `json:"labels"`
}

func (a *app) inspect(f dataFlags, rows, batch int) error {
	ctx, stop := interruptible()
	defer stop()
	c, d, t, err := f.open(ctx, a)
	if err != nil {
		return signalled(ctx, err)
	}
	defer d.Close()
	shown, err := choose(c, d, rows, batch)
	if err != nil {
		return err
	}
	var text strings.Builder
	for i := range shown {
		if t != nil {
			shown[i].Text = t.Decode(shown[i].IDs)
		}
		a.show(&text, &shown[i], t)
	}
	return a.result(map[string]any{"rows": shown}, text.String())
}

// choose takes the first documents, or those of a micro-batch.
func choose(c *Config, d *data.Dataset, rows, batch int) (shown []shownRow, err error) {
	if batch < 0 {
		for i := range min(rows, d.Len()) {
			e := d.Example(i)
			shown = append(shown, shownRow{Row: e.Row, IDs: e.Tokens, Labels: e.Labels})
		}
		return shown, nil
	}
	l, err := d.Loader(data.LoaderOptions{BatchSize: c.Train.PerDeviceTrainBatchSize, Seed: uint64(c.Seed)})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	if batch >= l.Total() {
		return nil, misusef("--batch %d: an epoch has %s micro-batches", batch, count(l.Total()))
	}
	b := l.At(0, batch)
	for i, from := range b.Starts {
		to := len(b.Tokens)
		if i+1 < len(b.Starts) {
			to = b.Starts[i+1]
		}
		shown = append(shown, shownRow{Row: b.Rows[i], IDs: b.Tokens[from:to], Labels: b.Labels[from:to]})
	}
	return shown, nil
}

// show writes a document for people: its text with the masked parts set apart, and under --verbose ids and labels.
func (a *app) show(out *strings.Builder, r *shownRow, t *data.Tokenizer) {
	counts := 0
	for _, l := range r.Labels[min(1, len(r.Labels)):] {
		if l >= 0 {
			counts++
		}
	}
	fmt.Fprintf(out, "── row %d: %s, %s ──\n", r.Row, counted(len(r.IDs), "token"), counted(counts, "label"))
	for from := 0; from < len(r.IDs) && t != nil; {
		to, masked := from+1, r.Labels[from] < 0
		for to < len(r.IDs) && (r.Labels[to] < 0) == masked {
			to++
		}
		part := t.Decode(r.IDs[from:to])
		if masked {
			part = a.setApart(part)
		}
		out.WriteString(part)
		from = to
	}
	out.WriteString("\n")
	if a.verbose || t == nil {
		fmt.Fprintf(out, "ids    %v\nlabels %v\n", r.IDs, r.Labels)
	}
}

func (a *app) setApart(text string) string {
	if faint := dim(text); faint != text && isTerminal(a.out) {
		return faint
	}
	return "⟨" + text + "⟩"
}
