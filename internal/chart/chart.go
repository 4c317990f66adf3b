// Package chart draws charts with round tick values and a shared legend above them, as SVG or PNG.
package chart

import (
	"fmt"
	"image/color"
	"io"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// FormatOf returns the format for a file's extension: svg or png.
func FormatOf(path string) (string, error) {
	format := strings.ToLower(strings.TrimPrefix(filepath.Ext(path), "."))
	if format != "svg" && format != "png" {
		return "", fmt.Errorf("the file name must end in .svg or .png, got %q", path)
	}
	return format, nil
}

// Figure is a column of charts with a legend above them.
type Figure struct {
	Charts []*plot.Plot
	Legend []Entry
}

// Entry is an entry of the legend: a sample of what is drawn, and its name.
type Entry struct {
	Name   string
	Sample plot.Thumbnailer
}

const (
	width       = 8 * vg.Inch
	chartHeight = 3 * vg.Inch
	margin      = 4 * vg.Millimeter
	sampleWidth = 20 * vg.Length(1)
	lineHeight  = 16 * vg.Length(1)
)

// Gray is the color of axes and of marks that belong to no curve. Blue is the color of the first curve.
var (
	Gray = color.Gray{0x70}
	Blue = color.RGBA{0x1f, 0x77, 0xb4, 0xff}
)

// New returns an empty chart with a title and axis labels.
func New(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.Padding, p.X.Label.Padding, p.Y.Label.Padding = 4, 2, 4
	style(&p.Title.TextStyle, 12)
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		style(&axis.Label.TextStyle, 10)
		style(&axis.Tick.Label, 9)
		axis.Color, axis.Tick.Color, axis.Tick.Length = Gray, Gray, 4
		axis.Scale, axis.Tick.Marker = linear{}, Ticks{}
	}
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = color.Gray{0xe4}, color.Gray{0xe4}
	p.Add(grid)
	return p
}

// style gives a text the figure's font.
func style(s *text.Style, size vg.Length) {
	s.Font = font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, size)
	s.Handler = anchored{text.Plain{Fonts: font.DefaultCache}}
}

// Write writes the figure as "svg" or "png".
func (f Figure) Write(w io.Writer, format string) error {
	lines := f.lines()
	legend := vg.Length(len(lines))*lineHeight + margin/2
	height := vg.Length(len(f.Charts))*chartHeight + legend + 2*margin
	var canvas interface {
		vg.CanvasSizer
		io.WriterTo
	}
	switch format {
	case "svg":
		canvas = newSVG(width, height)
	case "png":
		canvas = vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(144))}
	default:
		return fmt.Errorf("chart: format %q, want svg or png", format)
	}
	page := draw.New(canvas)
	page.SetColor(color.White)
	page.Fill(page.Rectangle.Path())
	page = draw.Crop(page, margin, -margin, margin, -margin)
	drawLegend(page, lines)
	f.drawCharts(draw.Crop(page, 0, 0, 0, -legend))
	_, err := canvas.WriteTo(w)
	return err
}

func (f Figure) drawCharts(c draw.Canvas) {
	column := make([][]*plot.Plot, len(f.Charts))
	for i, p := range f.Charts {
		column[i] = []*plot.Plot{p}
		setRange(&p.X)
		setRange(&p.Y)
	}
	tiles := draw.Tiles{Rows: len(column), Cols: 1, PadY: 3 * vg.Millimeter}
	for i, row := range plot.Align(column, tiles, c) {
		f.Charts[i].Draw(row[0])
	}
}

// placed is an entry with its distance from the left edge.
type placed struct {
	Entry
	x vg.Length
}

// lines breaks the legend into lines that fit the figure. The viewer's font may be slightly wider than the one
// measured here.
func (f Figure) lines() (lines [][]placed) {
	const slack = 1.15
	x := vg.Length(0)
	for _, e := range f.Legend {
		need := sampleWidth + lineHeight + slack*legendStyle().Width(e.Name)
		if len(lines) == 0 || x+need > width-2*margin {
			lines, x = append(lines, nil), 0
		}
		last := &lines[len(lines)-1]
		*last = append(*last, placed{e, x})
		x += need
	}
	return lines
}

func legendStyle() (s text.Style) {
	style(&s, 10)
	s.Color, s.YAlign = color.Black, draw.YCenter
	return s
}

func drawLegend(c draw.Canvas, lines [][]placed) {
	for i, line := range lines {
		top := c.Max.Y - vg.Length(i)*lineHeight
		for _, e := range line {
			sample := draw.Canvas{Canvas: c.Canvas, Rectangle: vg.Rectangle{
				Min: vg.Point{X: c.Min.X + e.x, Y: top - lineHeight}, Max: vg.Point{X: c.Min.X + e.x + sampleWidth, Y: top},
			}}
			e.Sample.Thumbnail(&sample)
			c.FillText(legendStyle(), vg.Point{X: sample.Max.X + 4, Y: sample.Center().Y}, e.Name)
		}
	}
}
