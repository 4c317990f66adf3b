package main

import (
	"bufio"
	"fmt"
	"image/color"
	"io"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"mambatrain/internal/chart"
)

// curve is a column of the table: memory in GiB by number of tokens.
type curve struct {
	name   string
	points plotter.XYs
}

// drawLines draws a line chart of a record.
func drawLines(w io.Writer, r io.Reader) error {
	curves, err := readCurves(r)
	if err != nil {
		return err
	}
	p := chart.New("Peak memory of a training step on one document", "tokens", "GiB")
	p.X.Tick.Marker = chart.Ticks{Whole: true}
	p.Y.Min = 0
	figure := chart.Figure{Charts: []*plot.Plot{p}}
	colors := []color.Color{chart.Blue, color.RGBA{0xd9, 0x5f, 0x02, 255}, color.RGBA{0x2c, 0xa0, 0x2c, 255}}
	for i, c := range curves {
		line, dots, err := plotter.NewLinePoints(c.points)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		line.Color, line.Width = colors[i%len(colors)], 2
		dots.Color, dots.Shape, dots.Radius = line.Color, draw.CircleGlyph{}, vg.Points(3)
		p.Add(line, dots)
		figure.Legend = append(figure.Legend, chart.Entry{Name: c.name, Sample: line})
	}
	return figure.Write(w, "svg")
}

// readCurves reads the first table whose first column is tokens. An empty cell means not measured.
func readCurves(r io.Reader) (curves []curve, err error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		cells := cellsOf(lines.Text())
		switch {
		case curves == nil && len(cells) > 1 && cells[0] == "tokens":
			for _, name := range cells[1:] {
				curves = append(curves, curve{name: name})
			}
		case curves == nil || len(cells) > 0 && strings.HasPrefix(cells[0], "---"):
		case len(cells) == 0:
			return curves, nil
		default:
			if err := addRow(curves, cells); err != nil {
				return nil, err
			}
		}
	}
	if curves == nil {
		return nil, fmt.Errorf("no table whose first column is tokens")
	}
	return curves, lines.Err()
}

// cellsOf returns the cells of a table row, or nil if the line is not one.
func cellsOf(line string) []string {
	inner, ok := strings.CutPrefix(strings.TrimSpace(line), "|")
	if !ok {
		return nil
	}
	cells := strings.Split(strings.TrimSuffix(inner, "|"), "|")
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	return cells
}

func addRow(curves []curve, cells []string) error {
	if len(cells) != len(curves)+1 {
		return fmt.Errorf("row %q has %d cells, want %d", cells, len(cells), len(curves)+1)
	}
	tokens, err := strconv.ParseFloat(strings.ReplaceAll(cells[0], ",", ""), 64)
	if err != nil {
		return fmt.Errorf("row %q: %w", cells, err)
	}
	for i, cell := range cells[1:] {
		if cell == "" {
			continue
		}
		gib, err := strconv.ParseFloat(strings.TrimSuffix(cell, " GiB"), 64)
		if err != nil {
			return fmt.Errorf("row %q: %w", cells, err)
		}
		curves[i].points = append(curves[i].points, plotter.XY{X: tokens, Y: gib})
	}
	return nil
}
