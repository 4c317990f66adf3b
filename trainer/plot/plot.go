// Package plot plots the history of training runs.
package plot

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"

	"mambatrain/internal/atomicfile"
	"mambatrain/internal/chart"
	"mambatrain/internal/format"
	"mambatrain/trainer/checkpoint"
)

// History is the plotted data of a run.
type History struct {
	Name string
	Rows []checkpoint.Row // log_history

	BestStep    int // step of the best evaluation; 0: none
	Checkpoints []int
	Resumes     []int // steps after which the run was resumed
}

// Empty reports whether no row has a value to plot.
func (h History) Empty() bool {
	keys := append(lossKeys([]History{h}), otherKeys...)
	return !slices.ContainsFunc(keys, func(key string) bool { return len(points(h.Rows, key)) > 0 })
}

// otherKeys are the values that are plotted in addition to losses.
var otherKeys = []string{"learning_rate", "grad_norm"}

// Write plots loss (training and evaluation), learning rate, and gradient norm against steps in stacked charts, as
// "svg" or "png". Several runs are overlaid in different colors; evaluations are dashed.
func Write(w io.Writer, format string, runs ...History) error {
	f := draw(runs)
	if err := f.Write(w, format); err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	return nil
}

func draw(runs []History) chart.Figure {
	title := ""
	if len(runs) == 1 {
		title = label(runs[0].Name) + ": "
	}
	d := drawing{
		runs: runs, losses: lossKeys(runs),
		loss: chart.New(title+"loss", "step", "nats per token"),
	}
	d.figure.Charts = []*plot.Plot{d.loss}
	d.nameRuns()
	for i, key := range d.losses {
		d.lossCurves(i, key)
	}
	for _, other := range []struct{ key, title string }{{"learning_rate", "learning rate"}, {"grad_norm", "gradient norm"}} {
		d.otherCurves(other.key, chart.New(title+other.title, "step", other.title))
	}
	d.marks()
	d.alignSteps()
	return d.figure
}

// drawing is a figure under construction.
type drawing struct {
	runs   []History
	losses []string
	figure chart.Figure
	loss   *plot.Plot // the first chart
}

// nameRuns adds the runs to the legend, unless there is only one, which is named in the titles.
func (d *drawing) nameRuns() {
	if len(d.runs) == 1 {
		return
	}
	for i, run := range d.runs {
		d.legend(label(run.Name), &plotter.Line{LineStyle: trainingLine(i)})
	}
}

func (d *drawing) legend(name string, sample plot.Thumbnailer) {
	d.figure.Legend = append(d.figure.Legend, chart.Entry{Name: name, Sample: sample})
}

// lossCurves plots the loss with the given key, the i-th, of all runs. A single run has a color for each loss.
func (d *drawing) lossCurves(i int, key string) {
	found := false
	for r, run := range d.runs {
		c := curve{points: points(run.Rows, key), color: r, set: i}
		if len(d.runs) == 1 {
			c.color = i
		}
		found = found || len(c.points) > 0
		d.loss.Add(c)
		d.loss.Add(notFinite(run.Rows, key, c))
	}
	sample := curve{color: noRun, set: i}
	switch {
	case len(d.runs) == 1:
		sample.color = i
	case i == 0:
		return // the legend entries of the runs show this line
	}
	if found {
		d.legend(lossName(key), sample)
	}
}

// otherCurves adds a chart of a value that is not a loss, if any run has it.
func (d *drawing) otherCurves(key string, p *plot.Plot) {
	found := false
	for r, run := range d.runs {
		c := curve{points: points(run.Rows, key), color: r}
		found = found || len(c.points) > 0
		p.Add(c, notFinite(run.Rows, key, c))
	}
	if found {
		d.figure.Charts = append(d.figure.Charts, p)
	}
}

// marks draws the best steps, checkpoints, resumes, and values that are not finite.
func (d *drawing) marks() {
	best, saved, resumed, broken := "", false, false, false
	for r, run := range d.runs {
		color := r
		if len(d.runs) == 1 {
			color = noRun
		}
		for i, key := range d.losses[1:] {
			if at := bestPoint(run, key); at != nil {
				best = "best step"
				d.loss.Add(ringAt(at, curveColor(color, i+1)))
			}
		}
		saved = saved || len(run.Checkpoints) > 0
		d.loss.Add(checkpointMarks(run.Checkpoints, color))
		resumed = resumed || len(run.Resumes) > 0
		for _, p := range d.figure.Charts {
			p.Add(resumeLines{run.Resumes, color})
		}
		for _, key := range append(d.losses[:len(d.losses):len(d.losses)], otherKeys...) {
			broken = broken || len(notFinite(run.Rows, key, curve{}).steps) > 0
		}
	}
	if len(d.runs) == 1 && best != "" {
		best = "best: step " + format.Count(d.runs[0].BestStep)
	}
	if best != "" {
		d.legend(best, ringAt(nil, chart.Gray))
	}
	if saved {
		d.legend("checkpoint", checkpointMarks(nil, noRun))
	}
	if resumed {
		d.legend("resumed", resumeLines{nil, noRun})
	}
	if broken {
		d.legend("not finite", notFinite(nil, "", curve{color: noRun}))
	}
}

// alignSteps sets the same range of steps on all charts.
func (d *drawing) alignSteps() {
	low, high := math.Inf(1), math.Inf(-1)
	for _, p := range d.figure.Charts {
		low, high = math.Min(low, p.X.Min), math.Max(high, p.X.Max)
	}
	for _, p := range d.figure.Charts {
		p.X.Min, p.X.Max, p.X.Tick.Marker = low, high, chart.Ticks{Whole: true}
	}
}

// label returns a run's name in the form in which it is drawn.
func label(name string) string {
	const limit = 48
	name = format.Printable(strings.Join(strings.Fields(name), " "))
	if r := []rune(name); len(r) > limit {
		return string(r[:limit/2]) + "…" + string(r[len(r)-limit/2:])
	}
	return name
}

// lossKeys returns the keys of the losses in the rows of all runs: training first, then evaluations by name.
func lossKeys(runs []History) []string {
	found := map[string]bool{}
	for _, run := range runs {
		for _, r := range run.Rows {
			for k := range r {
				if strings.HasPrefix(k, checkpoint.EvalPrefix) && strings.HasSuffix(k, "_loss") || k == evalLoss {
					found[k] = true
				}
			}
		}
	}
	return append([]string{"loss"}, slices.Sorted(maps.Keys(found))...)
}

const evalLoss = checkpoint.EvalPrefix + "loss"

func lossName(key string) string {
	switch key {
	case "loss":
		return "training"
	case evalLoss:
		return "evaluation"
	}
	return "evaluation " + label(strings.TrimSuffix(strings.TrimPrefix(key, checkpoint.EvalPrefix), "_loss"))
}

// points returns the values of a key by step, including values that are not finite.
func points(rows []checkpoint.Row, key string) (xys plotter.XYs) {
	for _, r := range rows {
		y, ok := r[key]
		x, has := r["step"]
		if ok && has && finite(x) {
			xys = append(xys, plotter.XY{X: x, Y: y})
		}
	}
	return xys
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// bestPoint returns the loss at the best step of a run.
func bestPoint(run History, key string) *plotter.XY {
	for _, at := range points(run.Rows, key) {
		if run.BestStep > 0 && at.X == float64(run.BestStep) && finite(at.Y) {
			return &at
		}
	}
	return nil
}

// WriteFiles writes loss.svg and loss.png to dir. It returns a panic while plotting as an error, because it must not
// prevent saving the result of a run that may have taken weeks.
func WriteFiles(dir string, run History) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("plot: %v", p)
		}
	}()
	for _, format := range []string{"svg", "png"} {
		var b bytes.Buffer
		if err := Write(&b, format, run); err != nil {
			return err
		}
		if err := atomicfile.WriteFile(filepath.Join(dir, "loss."+format), b.Bytes()); err != nil {
			return fmt.Errorf("plot: %w", err)
		}
	}
	return nil
}
