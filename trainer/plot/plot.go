// Package plot draws the history of training runs.
package plot

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"mambatrain/internal/atomicfile"
	"mambatrain/trainer/checkpoint"
)

// History is the log_history of a run under the name that a plot shows.
type History struct {
	Name string
	Rows []checkpoint.Row
}

const (
	plotWidth  = 8 * vg.Inch
	plotHeight = 9 * vg.Inch
)

// Write draws loss (training and evaluation), learning rate and gradient norm over the steps, one above the other, as
// "svg" or "png". Several runs lie over each other, told apart by colour; evaluations are dashed.
func Write(w io.Writer, format string, runs ...History) error {
	panels, err := drawPanels(runs)
	if err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	var canvas interface {
		vg.CanvasSizer
		io.WriterTo
	}
	switch format {
	case "svg":
		canvas = vgsvg.New(plotWidth, plotHeight)
	case "png":
		canvas = vgimg.PngCanvas{Canvas: vgimg.New(plotWidth, plotHeight)}
	default:
		return fmt.Errorf("plot: format %q, want svg or png", format)
	}
	tiles := draw.Tiles{Rows: len(panels), Cols: 1, PadX: vg.Millimeter, PadY: 4 * vg.Millimeter, PadTop: 2 * vg.Millimeter, PadRight: 4 * vg.Millimeter}
	for i, row := range plot.Align(panels, tiles, draw.New(canvas)) {
		panels[i][0].Draw(row[0])
	}
	_, err = canvas.WriteTo(w)
	return err
}

// drawPanels returns one column of plots.
func drawPanels(runs []History) ([][]*plot.Plot, error) {
	loss, rate, norm := panel("loss (nats per token)"), panel("learning rate"), panel("gradient norm")
	for i, run := range runs {
		for j, key := range lossKeys(run.Rows) {
			c := i
			if len(runs) == 1 {
				c = j // one run: a colour for each curve
			}
			if err := curve(loss, run, key, c, label(run.Name, key, len(runs))); err != nil {
				return nil, err
			}
		}
		if err := curve(rate, run, "learning_rate", i, ""); err != nil {
			return nil, err
		}
		if err := curve(norm, run, "grad_norm", i, ""); err != nil {
			return nil, err
		}
	}
	norm.X.Label.Text = "step"
	return [][]*plot.Plot{{loss}, {rate}, {norm}}, nil
}

func panel(title string) *plot.Plot {
	p := plot.New()
	p.Y.Label.Text = title
	p.Legend.Top = true
	p.Add(plotter.NewGrid())
	return p
}

// lossKeys lists the losses that the rows hold: training first, then evaluations by name.
func lossKeys(rows []checkpoint.Row) []string {
	found := map[string]bool{}
	for _, r := range rows {
		for k := range r {
			if strings.HasPrefix(k, checkpoint.EvalPrefix) && strings.HasSuffix(k, "_loss") {
				found[k] = true
			}
		}
	}
	return append([]string{"loss"}, slices.Sorted(maps.Keys(found))...)
}

func label(run, key string, runs int) string {
	name := strings.TrimSuffix(strings.TrimPrefix(key, checkpoint.EvalPrefix), "_loss")
	switch {
	case key == "loss":
		name = "training"
	case key == "eval_loss":
		name = "evaluation"
	default:
		name = "evaluation " + name
	}
	if runs > 1 {
		return run + ", " + name
	}
	return name
}

// curve adds the values of a key to a panel, if there are any.
func curve(p *plot.Plot, run History, key string, colour int, legend string) error {
	var points plotter.XYs
	for _, r := range run.Rows {
		if y, ok := r[key]; ok && !math.IsNaN(y) && !math.IsInf(y, 0) {
			points = append(points, plotter.XY{X: r["step"], Y: y})
		}
	}
	if len(points) == 0 {
		return nil
	}
	line, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	line.Color, line.Width = palette(colour), vg.Points(1.5)
	if strings.HasPrefix(key, checkpoint.EvalPrefix) {
		line.Dashes = []vg.Length{vg.Points(5), vg.Points(3)}
	}
	dots.Color, dots.Shape, dots.Radius = line.Color, draw.CircleGlyph{}, vg.Points(1.5)
	p.Add(line)
	if strings.HasPrefix(key, checkpoint.EvalPrefix) || len(points) < 40 {
		p.Add(dots)
	}
	if legend != "" {
		p.Legend.Add(legend, line)
	}
	return nil
}

func palette(i int) color.Color { return plotutil.DarkColors[i%len(plotutil.DarkColors)] }

// WriteFiles puts loss.svg and loss.png into dir.
func WriteFiles(dir string, run History) error {
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
