package main

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg/draw"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/data"
	"mambatrain/internal/atomicfile"
	"mambatrain/internal/chart"
	"mambatrain/internal/format"
)

func (a *app) statsCommand() *cobra.Command {
	var f dataFlags
	picture := ""
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Count documents, tokens, lengths, and duplicates, and show what padding would cost",
		Example: `  mamba-train data stats -c configs/quickstart.yaml
  mamba-train data stats --tokenizer configs/quickstart/base --data configs/quickstart/quotes.parquet --field quote --plot runs/lengths.svg`,
		Args: cli.NoArguments,
		RunE: func(*cobra.Command, []string) error { return a.stats(f, picture) },
	}
	f.addTokenizer(cmd)
	f.add(cmd, slices.Concat([]dataFlag{modelFlag, trainFlag}, sourceFlags, labelFlags, lengthFlags, batchFlags)...)
	cmd.Flags().StringVar(&picture, "plot", "", "plot the histogram of lengths to this .svg or .png file")
	return cmd
}

// statsResult is the output of data stats --json.
type statsResult struct {
	Rows         int         `json:"rows"`
	Documents    int         `json:"documents"`
	Empty        int         `json:"empty"`
	NoLabels     int         `json:"no_labels"`
	Duplicates   int         `json:"duplicates"`
	ShareGPT     int         `json:"sharegpt"` // conversations in ShareGPT format, with from and value
	Truncated    int         `json:"truncated"`
	CutTokens    int         `json:"cut_tokens"`
	Batches      int         `json:"micro_batches"`
	Tokens       int         `json:"tokens"` // input tokens per epoch
	Labels       int         `json:"labels"` // tokens per epoch that count toward the loss
	Longest      int         `json:"longest"`
	Mean         float64     `json:"mean_length"`
	PaddingSaved float64     `json:"padding_saved"`
	Filled       float64     `json:"filled,omitempty"` // with packing, share of the row budget in use
	Quantiles    []quantile  `json:"quantiles"`
	Histogram    []lengthBin `json:"histogram"`
}

type quantile struct {
	Share  float64 `json:"share"`
	Length int     `json:"length"`
}

type lengthBin struct {
	From      int `json:"from"`
	To        int `json:"to"`
	Documents int `json:"documents"`
}

// label formats the range of lengths of a bin.
func (b lengthBin) label() string {
	if b.From == b.To {
		return fmt.Sprintf("%5d", b.From)
	}
	return fmt.Sprintf("%5d–%d", b.From, b.To)
}

func (a *app) stats(f dataFlags, picture string) error {
	pictureFormat, err := chart.FormatOf(picture)
	if picture != "" && err != nil {
		return cli.Misusef("--plot: %v", err)
	}
	ctx, stop := cli.NotifyContext()
	defer stop()
	a.Wait("reading the data")
	c, d, _, err := f.open(ctx, a)
	if err != nil {
		return cli.WithSignal(ctx, err)
	}
	defer d.Close()
	report, err := d.Report(c.Train.PerDeviceTrainBatchSize, uint64(c.Seed))
	if err != nil {
		return err
	}
	if picture != "" {
		if err := drawLengths(picture, pictureFormat, report.Histogram); err != nil {
			return err
		}
	}
	r := summarize(report)
	return a.Result(r, r.text(cli.Columns(a.Out)))
}

func summarize(p *data.Report) statsResult {
	r := statsResult{
		Rows: p.Rows, Documents: p.Documents, Empty: p.Empty, NoLabels: p.NoLabels, Duplicates: p.Duplicates,
		ShareGPT: p.ShareGPT, Truncated: p.Truncated, CutTokens: p.CutTokens, Batches: p.Batches, Tokens: p.EpochTokens, Labels: p.EpochLabels,
		Longest: p.Longest, Mean: p.MeanLength, PaddingSaved: p.PaddingSaved(),
	}
	if p.BudgetRows > 0 {
		r.Filled = float64(p.EpochTokens) / float64(p.BudgetRows)
	}
	for _, q := range p.Quantiles {
		r.Quantiles = append(r.Quantiles, quantile(q))
	}
	for _, b := range p.Histogram {
		r.Histogram = append(r.Histogram, lengthBin(b))
	}
	return r
}

// text formats the result for a terminal with the given number of columns, or for a file if that is 0.
func (r statsResult) text(columns int) string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s "+format+"\n", append([]any{label}, args...)...)
	}
	line("rows", "%s, %s of them empty and %s without labels", format.Count(r.Rows), format.Count(r.Empty), format.Count(r.NoLabels))
	line("documents", "%s, %s of them duplicates of earlier ones", format.Count(r.Documents), format.Count(r.Duplicates))
	line("epoch", "%s in %s; %s in the loss", format.Counted(r.Tokens, "token"), format.Counted(r.Batches, "micro-batch"), format.Counted(r.Labels, "label"))
	line("cut", "%s (%s), %s lost", format.Counted(r.Truncated, "document"), format.Percent(float64(r.Truncated)/float64(r.Documents)), format.Counted(r.CutTokens, "token"))
	line("padding", "%s of a padded epoch would be padding", format.Percent(r.PaddingSaved))
	if r.Filled > 0 {
		line("packing", "%s of the rows are filled", format.Percent(r.Filled))
	}
	line("length", "mean %.1f, longest %s", r.Mean, format.Count(r.Longest))
	for _, q := range r.Quantiles {
		line("", "%3.0f %% of the documents have at most %s", 100*q.Share, format.Count(q.Length))
	}
	top := 1
	for _, bin := range r.Histogram {
		top = max(top, bin.Documents)
	}
	width := 50.
	if columns > 0 {
		width = min(width, max(1, float64(columns-len("00000-00000   ")-len(format.Count(top)))))
	}
	for _, bin := range withoutEmptyEnds(r.Histogram) {
		bar := strings.Repeat("█", int(math.Ceil(width*float64(bin.Documents)/float64(top))))
		line(bin.label(), "%s %s", bar, format.Count(bin.Documents))
	}
	return b.String()
}

// withoutEmptyEnds removes empty bins at both ends.
func withoutEmptyEnds(bins []lengthBin) []lengthBin {
	counts := func(b lengthBin) bool { return b.Documents > 0 }
	for len(bins) > 0 && !counts(bins[len(bins)-1]) {
		bins = bins[:len(bins)-1]
	}
	return bins[max(0, slices.IndexFunc(bins, counts)):]
}

// drawLengths draws a histogram of document lengths.
func drawLengths(path, format string, bins []data.LengthBin) error {
	p := chart.New("document lengths", "tokens", "documents")
	p.X.Tick.Marker, p.Y.Tick.Marker = chart.Ticks{Whole: true}, chart.Ticks{Whole: true}
	h := &plotter.Histogram{FillColor: chart.Blue, LineStyle: draw.LineStyle{Color: color.White, Width: 0.5}}
	for _, b := range bins {
		h.Bins = append(h.Bins, plotter.HistogramBin{Min: float64(b.From), Max: float64(b.To + 1), Weight: float64(b.Documents)})
	}
	p.Add(h)
	figure := chart.Figure{Charts: []*plot.Plot{p}}
	return atomicfile.WriteOutput(path, func(w io.Writer) error { return figure.Write(w, format) })
}
