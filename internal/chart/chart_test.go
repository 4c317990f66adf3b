package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"image/png"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
)

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		low, high float64
		whole     bool
		want      string
	}{
		{10, 690, true, "0 100 200 300 400 500 600 700"},
		{10, 650, true, "0 100 200 300 400 500 600 700"},
		{0.00003, 0.00197, false, "0 0.0005 0.0010 0.0015 0.0020"},
		{2e-5, 1e-4, false, "2e-5 3e-5 4e-5 5e-5 6e-5 7e-5 8e-5 9e-5 1e-4"},
		{2.31, 5.08, false, "2.0 2.5 3.0 3.5 4.0 4.5 5.0 5.5"},
		{1, 2, true, "1 2"},
		{3, 3, true, "2 3 4"},
		{2.5, 2.5, false, "2.2 2.3 2.4 2.5 2.6 2.7 2.8"},
		{0, 0, false, "-1.0 -0.5 0 0.5 1.0"},
		{0, 284_000, true, "0 50,000 100,000 150,000 200,000 250,000 300,000"},
		{1e17, 1e17, false, "9e16 9.5e16 1e17 1.05e17 1.1e17"},
		{-1.7e308, 1.7e308, false, "-1.5e308 -1e308 -5e307 0 5e307 1e308 1.5e308"},
		{math.MaxFloat64, math.MaxFloat64, false, "1.65e308 1.7e308 1.75e308"},
		{5e-324, 5e-324, false, "-1.0 -0.5 0 0.5 1.0"},
		{math.Inf(1), math.Inf(-1), false, "0 0.2 0.4 0.6 0.8 1.0"}, // no values
	} {
		a := plot.Axis{Min: c.low, Max: c.high}
		a.Tick.Marker = Ticks{Whole: c.whole}
		setRange(&a)
		var got []string
		for _, tick := range a.Tick.Marker.Ticks(a.Min, a.Max) {
			got = append(got, tick.Label)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%g to %g: ticks %v, want %s", c.low, c.high, got, c.want)
		}
	}
}

// Each text has its anchor set, so that it is placed correctly in any font, and no external font file is read.
func TestFigure_svgTextNeedsNoFont(t *testing.T) {
	p := New("a <title>", "step", "nats per token")
	line, _, _ := plotter.NewLinePoints(plotter.XYs{{X: 0, Y: 1}, {X: 100, Y: 2}})
	p.Add(line)
	f := Figure{Charts: []*plot.Plot{p}, Legend: []Entry{{"first & only", line}}}
	var b bytes.Buffer
	if err := f.Write(&b, "svg"); err != nil {
		t.Fatal(err)
	}
	anchors := map[string]string{}
	for d := xml.NewDecoder(&b); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		e, ok := token.(xml.StartElement)
		if !ok || e.Name.Local != "text" {
			continue
		}
		var text string
		if err := d.DecodeElement(&text, &e); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(e.Attr, func(a xml.Attr) bool { return a.Name.Local == "text-anchor" })
		if i < 0 {
			t.Fatalf("text %q has no text-anchor", text)
		}
		anchors[text] = e.Attr[i].Value
	}
	for text, want := range map[string]string{"a <title>": "middle", "step": "middle", "nats per token": "middle", "first & only": "start", "1.2": "end", "20": "middle"} {
		if anchors[text] != want {
			t.Errorf("text %q is anchored at its %q, want %q", text, anchors[text], want)
		}
	}
}

// Entries that do not fit on a line continue on the next, and the charts start below them.
func TestFigure_longLegend(t *testing.T) {
	var f Figure
	for i := range 40 {
		p := plotter.Line{}
		f.Legend = append(f.Legend, Entry{fmt.Sprintf("runs/a rather long name %d", i), &p})
	}
	for _, line := range f.lines() {
		last := line[len(line)-1]
		if end := last.x + sampleWidth + legendStyle().Width(last.Name); end > width-2*margin {
			t.Errorf("%q ends at %v of %v", last.Name, end, width-2*margin)
		}
	}
	f.Charts = []*plot.Plot{New("loss", "step", "loss")}
	var b bytes.Buffer
	if err := f.Write(&b, "png"); err != nil {
		t.Fatal(err)
	}
	if picture, err := png.Decode(&b); err != nil || picture.Bounds().Dy() < 2*int(float64(len(f.lines()))*float64(lineHeight)) {
		t.Errorf("%v, %v", picture.Bounds(), err)
	}
}

func TestFormatOf(t *testing.T) {
	for path, want := range map[string]string{"a.svg": "svg", "b/c.PNG": "png", "a.pdf": "", "svg": "", "": "", "a.png.gz": ""} {
		if got, err := FormatOf(path); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", path, got, err, want)
		}
	}
	if err := (Figure{}).Write(io.Discard, "gif"); err == nil {
		t.Error("gif was accepted")
	}
}
