package plot

import (
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/palette"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	vgdraw "gonum.org/v1/plot/vg/draw"

	"mambatrain/internal/chart"
	"mambatrain/trainer/checkpoint"
)

// curve is one value of a run over the steps. It is interrupted at values that are not finite.
type curve struct {
	points plotter.XYs
	color  int // index of the run, or of the loss if there is only one run
	set    int // 0: training; otherwise the index of the evaluation set, from 1
}

// noRun is the color index of marks that do not belong to one run.
const noRun = -1

var colors = []color.Color{
	chart.Blue, color.RGBA{0xd9, 0x5f, 0x02, 255}, color.RGBA{0x2c, 0xa0, 0x2c, 255}, color.RGBA{0xb8, 0x2e, 0x8a, 255},
	color.RGBA{0x6a, 0x51, 0xa3, 255}, color.RGBA{0x8c, 0x56, 0x4b, 255}, color.RGBA{0x00, 0x9e, 0xa8, 255}, color.RGBA{0x9a, 0x8c, 0x00, 255},
}

// runColor returns a color for each run that differs from those of earlier runs.
func runColor(i int) color.Color {
	if i == noRun {
		return chart.Gray
	}
	if i < len(colors) {
		return colors[i]
	}
	const golden = 0.618033988749895
	_, hue := math.Modf(float64(i) * golden)
	return palette.HSVA{H: hue, S: 1, V: 0.45, A: 1} // darker than the colors above
}

func curveColor(run, set int) color.Color {
	if run == noRun && set > 0 {
		return runColor(set)
	}
	return runColor(run)
}

func trainingLine(run int) vgdraw.LineStyle {
	return vgdraw.LineStyle{Color: runColor(run), Width: vg.Points(1.5)}
}

func (c curve) line() vgdraw.LineStyle {
	s := trainingLine(c.color)
	if c.set > 0 {
		s.Dashes = []vg.Length{5, 3}
	}
	return s
}

// dots returns the glyph of an evaluation.
func (c curve) dots() vgdraw.GlyphStyle {
	shapes := []vgdraw.GlyphDrawer{vgdraw.CircleGlyph{}, vgdraw.BoxGlyph{}, vgdraw.PyramidGlyph{}, vgdraw.SquareGlyph{}, vgdraw.TriangleGlyph{}}
	s := vgdraw.GlyphStyle{Color: runColor(c.color), Radius: 2.5, Shape: shapes[0]}
	if c.set > 0 {
		s.Shape = shapes[(c.set-1)%len(shapes)]
	}
	return s
}

// Plot implements [plot.Plotter].
func (c curve) Plot(canvas vgdraw.Canvas, p *plot.Plot) {
	const few = 40 // number of points that are distinguishable
	x, y := p.Transforms(&canvas)
	var stretch []vg.Point
	flush := func() {
		stretch = thinned(stretch)
		const piece = 64 // the rasterizer's cost is quadratic in the length of a line
		for from := 0; from < len(stretch); from += piece {
			canvas.StrokeLines(c.line(), canvas.ClipLinesXY(stretch[from:min(from+piece+1, len(stretch))])...)
		}
		if len(stretch) == 1 || c.set > 0 || len(c.points) < few {
			for _, at := range stretch {
				canvas.DrawGlyph(c.dots(), at)
			}
		}
		stretch = nil
	}
	for _, at := range c.points {
		if !finite(at.Y) {
			flush()
			continue
		}
		stretch = append(stretch, vg.Point{X: x(at.X), Y: y(at.Y)})
	}
	flush()
}

// thinned drops indistinguishable points, because a run may have logged a million rows: of each column it keeps the
// first, lowest, highest, and last point.
func thinned(line []vg.Point) []vg.Point {
	const column = vg.Length(0.5)
	var kept []vg.Point
	for len(line) > 0 {
		n, low, high := 0, 0, 0
		for n < len(line) && math.Abs(float64(line[n].X-line[0].X)) < float64(column) {
			if line[n].Y < line[low].Y {
				low = n
			}
			if line[n].Y > line[high].Y {
				high = n
			}
			n++
		}
		indices := []int{0, low, high, n - 1}
		slices.Sort(indices)
		for _, i := range slices.Compact(indices) {
			kept = append(kept, line[i])
		}
		line = line[n:]
	}
	return kept
}

// DataRange implements [plot.DataRanger].
func (c curve) DataRange() (xmin, xmax, ymin, ymax float64) {
	xmin, xmax, ymin, ymax = math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, at := range c.points {
		xmin, xmax = math.Min(xmin, at.X), math.Max(xmax, at.X)
		if finite(at.Y) {
			ymin, ymax = math.Min(ymin, at.Y), math.Max(ymax, at.Y)
		}
	}
	return xmin, xmax, ymin, ymax
}

// Thumbnail implements [plot.Thumbnailer].
func (c curve) Thumbnail(canvas *vgdraw.Canvas) {
	middle := canvas.Center()
	canvas.StrokeLine2(c.line(), canvas.Min.X, middle.Y, canvas.Max.X, middle.Y)
	if c.set > 0 {
		canvas.DrawGlyph(c.dots(), middle)
	}
}

// stepMarks draws marks at the lower or upper edge of a chart.
type stepMarks struct {
	steps []float64
	style vgdraw.GlyphStyle
	top   bool
}

func checkpointMarks(steps []int, run int) stepMarks {
	m := stepMarks{style: vgdraw.GlyphStyle{Color: runColor(run), Radius: 3, Shape: vgdraw.PyramidGlyph{}}}
	for _, s := range steps {
		m.steps = append(m.steps, float64(s))
	}
	return m
}

// notFinite returns marks for the steps whose values are not finite.
func notFinite(rows []checkpoint.Row, key string, c curve) stepMarks {
	m := stepMarks{style: vgdraw.GlyphStyle{Color: runColor(c.color), Radius: 3, Shape: vgdraw.CrossGlyph{}}, top: true}
	for _, at := range points(rows, key) {
		if !finite(at.Y) {
			m.steps = append(m.steps, at.X)
		}
	}
	return m
}

// Plot implements [plot.Plotter].
func (m stepMarks) Plot(c vgdraw.Canvas, p *plot.Plot) {
	x, _ := p.Transforms(&c)
	at := vg.Point{Y: c.Min.Y}
	if m.top {
		at.Y = c.Max.Y
	}
	var line []vg.Point
	for _, step := range m.steps {
		at.X = x(step)
		line = append(line, at)
	}
	for _, at := range thinned(line) {
		c.DrawGlyph(m.style, at)
	}
}

// marks do not extend the y range
func (m stepMarks) DataRange() (xmin, xmax, ymin, ymax float64) { return stepRange(m.steps) }

// Thumbnail implements [plot.Thumbnailer].
func (m stepMarks) Thumbnail(c *vgdraw.Canvas) { c.DrawGlyph(m.style, c.Center()) }

func stepRange(steps []float64) (xmin, xmax, ymin, ymax float64) {
	xmin, xmax = math.Inf(1), math.Inf(-1)
	for _, s := range steps {
		xmin, xmax = math.Min(xmin, s), math.Max(xmax, s)
	}
	return xmin, xmax, math.Inf(1), math.Inf(-1)
}

// resumeLines draws full-height lines after the steps at which a run was resumed.
type resumeLines struct {
	steps []int
	run   int
}

func (l resumeLines) style() vgdraw.LineStyle {
	return vgdraw.LineStyle{Color: runColor(l.run), Width: 1, Dashes: []vg.Length{1, 3}}
}

// Plot implements [plot.Plotter].
func (l resumeLines) Plot(c vgdraw.Canvas, p *plot.Plot) {
	x, _ := p.Transforms(&c)
	for _, step := range l.steps {
		c.StrokeLine2(l.style(), x(float64(step)), c.Min.Y, x(float64(step)), c.Max.Y)
	}
}

// DataRange implements [plot.DataRanger].
func (l resumeLines) DataRange() (xmin, xmax, ymin, ymax float64) {
	return stepRange(checkpointMarks(l.steps, l.run).steps)
}

// Thumbnail implements [plot.Thumbnailer].
func (l resumeLines) Thumbnail(c *vgdraw.Canvas) {
	c.StrokeLine2(l.style(), c.Center().X, c.Min.Y, c.Center().X, c.Max.Y)
}

// ring draws a circle around a point.
type ring struct {
	at    *plotter.XY // nil in the legend
	style vgdraw.GlyphStyle
}

func ringAt(at *plotter.XY, c color.Color) ring {
	return ring{at, vgdraw.GlyphStyle{Color: c, Radius: 5, Shape: vgdraw.RingGlyph{}}}
}

// Plot implements [plot.Plotter].
func (r ring) Plot(c vgdraw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	c.DrawGlyph(r.style, vg.Point{X: x(r.at.X), Y: y(r.at.Y)})
}

// Thumbnail implements [plot.Thumbnailer].
func (r ring) Thumbnail(c *vgdraw.Canvas) { c.DrawGlyph(r.style, c.Center()) }
