package main

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"mambatrain/data"
	"mambatrain/nn"
)

func (a *app) statsCommand() *cobra.Command {
	var f dataFlags
	picture := ""
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Count documents, tokens, lengths, duplicates, and what padding would have cost",
		Example: `  mamba-train data stats -c configs/quickstart.yaml
  mamba-train data stats --tokenizer DIR --data 'corpus/*.parquet' --field text --plot lengths.svg`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return a.stats(f, picture) },
	}
	f.add(cmd, nil)
	cmd.Flags().StringVar(&picture, "plot", "", "draw the histogram of lengths to this .svg or .png")
	return cmd
}

// statsResult is what data stats prints with --json.
type statsResult struct {
	Rows          int     `json:"rows"`
	Documents     int     `json:"documents"`
	Empty         int     `json:"empty"`
	NoLabels      int     `json:"no_labels"`
	Truncated     int     `json:"truncated"`
	CutTokens     int     `json:"cut_tokens"`
	Tokens        int     `json:"tokens"` // input tokens of an epoch
	Labels        int     `json:"labels"` // labels that enter the loss
	Longest       int     `json:"longest"`
	Mean          float64 `json:"mean_length"`
	Median        float64 `json:"median_length"`
	Duplicates    int     `json:"duplicates"`
	Batches       int     `json:"micro_batches"`
	PaddingSaved  float64 `json:"padding_saved"` // share of a padded epoch's positions that would have been padding
	LengthBuckets []int   `json:"length_buckets"`
	BucketWidth   int     `json:"bucket_width"`
}

func (a *app) stats(f dataFlags, picture string) error {
	if ext := filepath.Ext(picture); picture != "" && ext != ".svg" && ext != ".png" {
		return misusef("--plot must end in .svg or .png, got %q", picture)
	}
	ctx, stop := interruptible()
	defer stop()
	c, d, _, err := f.open(ctx, a)
	if err != nil {
		return signalled(ctx, err)
	}
	defer d.Close()
	r, err := measure(c, d)
	if err != nil {
		return err
	}
	if picture != "" {
		if err := drawLengths(picture, d.Lengths()); err != nil {
			return err
		}
	}
	return a.result(r, r.text())
}

func measure(c *Config, d *data.Dataset) (statsResult, error) {
	s, lengths := d.Stats(), d.Lengths()
	slices.Sort(lengths)
	n := len(lengths)
	r := statsResult{
		Rows: s.Rows, Documents: s.Documents, Empty: s.Empty, NoLabels: s.NoLabels, Truncated: s.Truncated,
		CutTokens: s.CutTokens, Tokens: s.Tokens, Labels: s.Labels, Longest: s.Longest, Duplicates: d.Duplicates(),
		Mean: float64(s.Tokens) / float64(n), Median: float64(lengths[(n-1)/2]+lengths[n/2]) / 2,
	}
	l, err := d.Loader(data.LoaderOptions{BatchSize: c.Train.PerDeviceTrainBatchSize, Seed: uint64(c.Seed)})
	if err != nil {
		return r, err
	}
	defer l.Close()
	r.Batches = l.Total()
	real, padded := 0, 0
	for i := range r.Batches {
		b := l.At(0, i)
		longest := 0
		for k, from := range b.Starts {
			to := len(b.Tokens)
			if k+1 < len(b.Starts) {
				to = b.Starts[k+1]
			}
			longest = max(longest, to-from)
		}
		real += len(b.Tokens)
		padded += longest * len(b.Starts)
	}
	r.PaddingSaved = 1 - float64(real)/math.Max(1, float64(padded))
	r.buckets(lengths)
	return r, nil
}

// buckets counts lengths in at most 16 buckets of a round width.
func (r *statsResult) buckets(lengths []int) {
	const most = 16
	r.BucketWidth = 1
	for r.Longest/r.BucketWidth >= most {
		r.BucketWidth *= 2
	}
	r.LengthBuckets = make([]int, r.Longest/r.BucketWidth+1)
	for _, n := range lengths {
		r.LengthBuckets[n/r.BucketWidth]++
	}
}

func (r statsResult) text() string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s "+format+"\n", append([]any{label}, args...)...)
	}
	line("rows", "%s, of which %s empty and %s without labels", count(r.Rows), count(r.Empty), count(r.NoLabels))
	line("documents", "%s, %s duplicates", count(r.Documents), count(r.Duplicates))
	line("tokens", "%s an epoch, %s enter the loss", count(r.Tokens), count(r.Labels))
	line("length", "mean %.1f, median %.1f, longest %s", r.Mean, r.Median, count(r.Longest))
	line("cut", "%s documents (%s), %s tokens lost", count(r.Truncated), percent(float64(r.Truncated)/float64(r.Documents)), count(r.CutTokens))
	line("batches", "%s an epoch", count(r.Batches))
	line("padding", "%s of a padded epoch would have been padding", percent(r.PaddingSaved))
	const width = 50
	top := slices.Max(r.LengthBuckets)
	for i, n := range r.LengthBuckets {
		bar := strings.Repeat("█", int(math.Round(width*float64(n)/float64(top))))
		line(fmt.Sprintf("%5d–%d", i*r.BucketWidth, (i+1)*r.BucketWidth-1), "%s %s", bar, count(n))
	}
	return b.String()
}

// drawLengths draws a histogram of document lengths.
func drawLengths(path string, lengths []int) error {
	values := make(plotter.Values, len(lengths))
	for i, n := range lengths {
		values[i] = float64(n)
	}
	const bars = 40
	h, err := plotter.NewHist(values, bars)
	if err != nil {
		return err
	}
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = "tokens", "documents"
	p.Add(h)
	format := strings.TrimPrefix(filepath.Ext(path), ".")
	picture, err := p.WriterTo(6*vg.Inch, 4*vg.Inch, format)
	if err != nil {
		return err
	}
	return nn.WriteFile(path, func(w io.Writer) error {
		_, err := picture.WriteTo(w)
		return err
	})
}
