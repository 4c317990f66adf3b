package autograd_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	ag "mambatrain/autograd"
)

func TestDraw(t *testing.T) {
	table := param(t, "table", 1, 11, 4)
	g := ag.NewGraph(ag.Options{Rows: 5})
	ag.CrossEntropy(lookup(g, g.Param(table)), g.Param(table), ag.LowRank{}, ag.LossOptions{})
	var b strings.Builder
	if err := g.Draw().DOT(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`label="embedding\n5 × 4"`, `label="table\n11 × 4"`, `label="tokens\n5"`, `label="cross_entropy"`, "->"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
}

// The picture is well-formed, stays inside its frame, and names the operations in order, and no two arrows overlap.
func TestDrawSVG(t *testing.T) {
	table := param(t, "backbone.layers.0.mixer.<table>", 1, 11, 4)
	g := ag.NewGraph(ag.Options{Rows: 5})
	x := lookup(g, g.Param(table))
	y := x
	for range 3 { // each sum reads the previous one and the first value, so arrows run side by side
		y = ag.Add(x, y)
	}
	loss := ag.CrossEntropy(y, g.Param(table), ag.LowRank{}, ag.LossOptions{})
	if _, err := g.Compile(loss); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := g.Draw().SVG(&b); err != nil {
		t.Fatal(err)
	}
	var width, height float64
	var texts []string
	type span struct{ x, from, to float64 }
	var upright []span
	for d := xml.NewDecoder(strings.NewReader(b.String())); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, b.String())
		}
		switch e := token.(type) {
		case xml.CharData:
			texts = append(texts, string(e))
		case xml.StartElement:
			at := map[string]float64{}
			for _, a := range e.Attr {
				var v float64
				if _, err := fmt.Sscanf(a.Value, "%g", &v); err == nil {
					at[a.Name.Local] = v
				}
				if a.Name.Local == "d" && strings.Contains(a.Value, "Q") {
					var s span
					var skip float64
					fmt.Sscanf(a.Value, "M%g %gH%gQ%g %g %g %gV%g", &skip, &skip, &skip, &s.x, &skip, &skip, &s.from, &s.to)
					upright = append(upright, s)
				}
			}
			if e.Name.Local == "svg" {
				width, height = at["width"], at["height"]
			}
			if at["x"] < 0 || at["y"] < 0 || at["x"]+at["width"] > width && e.Name.Local == "rect" && at["width"] != 100 || at["y"]+at["height"] > height {
				t.Errorf("%s %v is outside %v × %v", e.Name.Local, at, width, height)
			}
		}
	}
	for i, s := range upright {
		for _, o := range upright[:i] {
			if s.x == o.x && s.from < o.to && o.from < s.to {
				t.Errorf("arrows at %v run from %v to %v and from %v to %v", s.x, s.from, s.to, o.from, o.to)
			}
		}
	}
	if len(upright) < 2 {
		t.Errorf("%d arrows next to the boxes, want some", len(upright))
	}
	all := strings.Join(texts, "\n")
	for _, want := range []string{"\nembedding\n", "\nadd\n", "\ncross_entropy\n", "\n∂cross_entropy\n", "\n∂embedding\n"} {
		at := strings.Index(all, want)
		if at < 0 {
			t.Fatalf("%q is missing, or out of order, in\n%s", want, b.String())
		}
		all = all[at:]
	}
	if !strings.Contains(b.String(), ">&lt;table&gt;<") || !strings.Contains(b.String(), ">layer 0<") {
		t.Error("the parameter or its layer is missing")
	}
}
