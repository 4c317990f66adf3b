package chart

import (
	"bytes"
	"fmt"
	"html"
	"image"
	"image/color"
	"io"
	"math"
	"strings"

	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// svg is a canvas whose text is aligned by the viewer, so that, unlike with gonum's vgsvg, it is placed correctly in
// any font. It draws only what charts need: no images and no transparent colors.
type svg struct {
	body          bytes.Buffer
	width, height vg.Length
	states        []svgState
	align         text.XAlignment // of the next text
}

type svgState struct {
	color  string
	line   vg.Length
	dashes []vg.Length
	groups int // opened since the state was pushed
}

func newSVG(width, height vg.Length) *svg {
	s := &svg{width: width, height: height, states: []svgState{{}}}
	vg.Initialize(s)
	return s
}

// anchored passes a text's alignment to an [svg] before it is drawn.
type anchored struct{ text.Plain }

func (a anchored) Draw(c vg.Canvas, txt string, style text.Style, at vg.Point) {
	if s := svgOf(c); s != nil {
		s.align = style.XAlign
	}
	a.Plain.Draw(c, txt, style, at)
}

// svgOf returns the svg canvas beneath any cropped canvases, or nil if it is another kind.
func svgOf(c vg.Canvas) *svg {
	switch c := c.(type) {
	case *svg:
		return c
	case *draw.Canvas:
		return svgOf(c.Canvas)
	case draw.Canvas:
		return svgOf(c.Canvas)
	}
	return nil
}

// Size implements [vg.CanvasSizer].
func (s *svg) Size() (width, height vg.Length) { return s.width, s.height }

func (s *svg) state() *svgState { return &s.states[len(s.states)-1] }

// The following methods implement [vg.Canvas].

func (s *svg) SetLineWidth(w vg.Length)                    { s.state().line = w }
func (s *svg) SetLineDash(dashes []vg.Length, _ vg.Length) { s.state().dashes = dashes }
func (s *svg) Rotate(angle float64)                        { s.group("rotate(%.5g)", -angle*180/math.Pi) }
func (s *svg) Translate(by vg.Point)                       { s.group("translate(%.5g %.5g)", by.X, -by.Y) }
func (s *svg) Scale(x, y float64)                          { s.group("scale(%.5g %.5g)", x, y) }
func (s *svg) DrawImage(vg.Rectangle, image.Image)         { panic("chart: an svg has no images") }

func (s *svg) SetColor(c color.Color) {
	if c == nil {
		c = color.Black
	}
	r, g, b, _ := c.RGBA()
	s.state().color = fmt.Sprintf("#%02x%02x%02x", r>>8, g>>8, b>>8)
}

func (s *svg) Push() {
	top := *s.state()
	top.groups = 0
	s.states = append(s.states, top)
}

func (s *svg) Pop() {
	s.body.WriteString(strings.Repeat("</g>\n", s.state().groups))
	s.states = s.states[:len(s.states)-1]
}

func (s *svg) group(transform string, args ...any) {
	fmt.Fprintf(&s.body, "<g transform=\""+transform+"\">\n", args...)
	s.state().groups++
}

func (s *svg) Stroke(p vg.Path) {
	st := s.state()
	if st.line <= 0 {
		return
	}
	dashes := ""
	for i, d := range st.dashes {
		dashes += []string{` stroke-dasharray="`, " "}[min(i, 1)] + fmt.Sprintf("%.5g", d)
	}
	if dashes != "" {
		dashes += `"`
	}
	fmt.Fprintf(&s.body, `<path d="%s" fill="none" stroke="%s" stroke-width="%.5g"%s/>`+"\n", outline(p), st.color, st.line, dashes)
}

func (s *svg) Fill(p vg.Path) {
	fmt.Fprintf(&s.body, `<path d="%s" fill="%s"/>`+"\n", outline(p), s.state().color)
}

// FillString is given the left end of a text and writes the point at which the text is anchored.
func (s *svg) FillString(f font.Face, at vg.Point, txt string) {
	anchor := "start"
	switch s.align {
	case text.XCenter:
		anchor = "middle"
	case text.XRight:
		anchor = "end"
	}
	x := at.X - vg.Length(s.align)*f.Width(txt)
	fmt.Fprintf(&s.body, `<text x="%.5g" y="%.5g" text-anchor="%s" font-size="%.5g" fill="%s">%s</text>`+"\n",
		x, -at.Y, anchor, f.Font.Size, s.state().color, html.EscapeString(txt))
}

// outline returns a path as SVG, with y pointing down.
func outline(p vg.Path) string {
	var b strings.Builder
	point := func(command string, at vg.Point) { fmt.Fprintf(&b, "%s%.5g %.5g", command, at.X, -at.Y) }
	for _, c := range p {
		switch c.Type {
		case vg.MoveComp:
			point("M", c.Pos)
		case vg.LineComp:
			point("L", c.Pos)
		case vg.ArcComp: // in two halves, because a whole circle ends where it starts
			around := func(angle float64) vg.Point {
				return c.Pos.Add(vg.Point{X: c.Radius * vg.Length(math.Cos(angle)), Y: c.Radius * vg.Length(math.Sin(angle))})
			}
			sweep := 0
			if c.Angle < 0 {
				sweep = 1
			}
			point(map[bool]string{true: "M", false: "L"}[b.Len() == 0], around(c.Start))
			for _, part := range []float64{0.5, 1} {
				point(fmt.Sprintf("A%.5g %.5g 0 0 %d ", c.Radius, c.Radius, sweep), around(c.Start+part*c.Angle))
			}
		case vg.CloseComp:
			b.WriteString("Z")
		default:
			panic("chart: an svg has no curves")
		}
	}
	return b.String()
}

// WriteTo writes the SVG document.
func (s *svg) WriteTo(w io.Writer) (int64, error) {
	n, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%gpt" height="%gpt" viewBox="0 %g %g %g" font-family="'Liberation Sans', Arial, Helvetica, sans-serif">
%s</svg>
`, s.width, s.height, -s.height, s.width, s.height, s.body.String())
	return int64(n), err
}
