package autograd

import (
	"fmt"
	"html"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// SVG writes the drawing as a self-contained picture: numbered operations from top to bottom in the order in which they
// run, with the parts of the batch and of the model that they read on the left. An arrow connects an operation to a
// later one that reads its output. Where a backward pass reads a forward value, the number of that operation appears on
// the left instead. Gradients of parameters appear on the right. Layers have a gray background.
func (d Drawing) SVG(w io.Writer) error {
	s := newSketch(d)
	c := &canvas{}
	width, height := s.right+svgMargin, s.y(len(s.rows))+svgMargin
	fmt.Fprintf(c, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" font-family="ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="11">`+"\n", width, height, width, height)
	c.WriteString(`<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#475569"/></marker></defs>` + "\n")
	c.WriteString(`<rect width="100%" height="100%" fill="#ffffff"/>` + "\n")
	x := svgMargin
	for _, p := range s.legend() {
		p.draw(c, x, svgMargin+svgPill/2)
		x += p.width() + svgGap
	}
	s.backgrounds(c)
	for i := range s.rows {
		s.row(c, i)
	}
	for _, a := range s.arcs {
		s.arc(c, a)
	}
	c.WriteString("</svg>\n")
	_, err := io.WriteString(w, c.String())
	return err
}

// Dimensions of the picture, in pixels.
const (
	svgMargin = 16.0
	svgRow    = 40.0 // from one operation to the next
	svgBox    = 26.0 // height of an operation
	svgPill   = 20.0 // height of an input label
	svgGap    = 8.0
	svgLane   = 12.0 // between arrows on the right
	svgLetter = 6.7  // width of a monospaced letter
	svgTop    = 52.0 // above the first operation, for the legend
)

// kindColor maps each kind to its color. svgFar and svgResult are for values read and gradients produced by a backward
// pass.
var kindColor = map[Kind]string{Input: "#fff3c4", Parameter: "#dbeafe", Operation: "#ffffff", Gradient: "#f3e8ff"}

const (
	svgFar    = "#f1f5f9"
	svgResult = "#dcfce7"
)

// sketch is a drawing with its layout.
type sketch struct {
	rows        []sketchRow
	arcs        []sketchArc
	left, width float64 // of the boxes
	lanes       float64 // where the arrows end and the gradients begin
	right       float64
}

// sketchRow is an operation or its backward pass.
type sketchRow struct {
	title, shape string
	kind         Kind
	layer        string // the layer of its parameters, "" for none
	reads        []pill // on its left
	yields       []pill // on its right
	after        bool   // reads the output of the row above
}

type pill struct {
	text, fill string
}

func (p pill) width() float64 { return letters(p.text)*svgLetter + 2*svgGap }

// sketchArc connects a row to a later one that is not the next.
type sketchArc struct {
	from, to, lane int
	in, out        float64 // vertical offset from the middle of the boxes' right side
}

func letters(s string) float64 { return float64(len([]rune(s))) }

func newSketch(d Drawing) *sketch {
	s := &sketch{}
	row := map[int]int{} // by node; a take node has the row of its backward pass
	read := make([]bool, len(d.Nodes))
	for i, n := range d.Nodes {
		switch {
		case len(n.In) == 0:
		case d.takes(n):
			row[i] = row[n.In[0]]
		default:
			row[i] = len(s.rows)
			s.add(d, n, row)
		}
		for _, in := range n.In {
			read[in] = true
		}
	}
	for i, n := range d.Nodes {
		if d.takes(n) && !read[i] {
			r := &s.rows[row[i]]
			r.yields = append(r.yields, pill{"gradient " + formatShape(n.Shape), svgResult})
		}
	}
	s.place()
	return s
}

// takes reports whether a node only passes on one result of a backward pass.
func (d Drawing) takes(n DrawnNode) bool {
	return n.Kind == Gradient && len(n.In) == 1 && strings.HasPrefix(n.Name, d.Nodes[n.In[0]].Name+".")
}

// add appends a row for node n, whose inputs already have rows or are leaves.
func (s *sketch) add(d Drawing, n DrawnNode, row map[int]int) {
	i := len(s.rows)
	r := sketchRow{title: n.Name, shape: formatShape(n.Shape), kind: n.Kind}
	if i > 0 {
		r.layer = s.rows[i-1].layer
	}
	seen := map[int]bool{}
	parameters := false
	for _, in := range n.In {
		x := d.Nodes[in]
		from, inner := row[in]
		switch {
		case !inner:
			r.reads = append(r.reads, pill{shortName(x.Name), kindColor[x.Kind]})
			if x.Kind == Parameter && !parameters {
				r.layer, parameters = layerOf(x.Name), true
			}
		case seen[from]:
		case n.Kind == Gradient && s.rows[from].kind == Operation:
			r.reads = append(r.reads, pill{fmt.Sprintf("%d %s", from+1, s.rows[from].title), svgFar})
		case from == i-1:
			r.after = true
		default:
			s.arcs = append(s.arcs, sketchArc{from: from, to: i})
		}
		if inner {
			seen[from] = true
		}
	}
	s.rows = append(s.rows, r)
}

// place computes the columns and gives each arrow a lane so that no two overlap. Short arrows are innermost.
func (s *sketch) place() {
	number, results := letters(strconv.Itoa(len(s.rows))), 0.0
	for _, r := range s.rows {
		s.left = max(s.left, widthOf(r.reads))
		results = max(results, widthOf(r.yields))
		s.width = max(s.width, (number+letters(r.title)+letters(r.shape)+4)*svgLetter+2*svgGap)
	}
	s.left += 3 * svgMargin
	slices.SortStableFunc(s.arcs, func(a, b sketchArc) int { return (a.to - a.from) - (b.to - b.from) })
	lanes := 0
	for i := range s.arcs {
		a := &s.arcs[i]
		for slices.ContainsFunc(s.arcs[:i], func(b sketchArc) bool { return b.lane == a.lane && a.from < b.to && b.from < a.to }) {
			a.lane++
		}
		lanes = max(lanes, a.lane+1)
	}
	s.spread()
	s.lanes = s.left + s.width + float64(lanes+1)*svgLane
	s.right = max(s.lanes+results, svgMargin+widthOf(s.legend()))
}

// spread separates the start and end points of arrows at the same box.
func (s *sketch) spread() {
	for i := range s.rows {
		var ends []*float64
		for k := range s.arcs {
			if s.arcs[k].to == i {
				ends = append(ends, &s.arcs[k].in)
			}
		}
		for k := range slices.Backward(s.arcs) { // the outermost leaves first, so that it crosses no other
			if s.arcs[k].from == i {
				ends = append(ends, &s.arcs[k].out)
			}
		}
		step := math.Min(5, (svgBox-6)/float64(max(1, len(ends))))
		for k, end := range ends {
			*end = (float64(k) - float64(len(ends)-1)/2) * step
		}
	}
}

func widthOf(pills []pill) (w float64) {
	for _, p := range pills {
		w += p.width() + svgGap
	}
	return w
}

// y returns the top edge of row i.
func (s *sketch) y(i int) float64 { return svgTop + float64(i)*svgRow }

func (s *sketch) row(c *canvas, i int) {
	r, top := s.rows[i], s.y(i)
	middle := top + svgBox/2
	x := s.left - svgGap
	for _, p := range slices.Backward(r.reads) {
		x -= p.width()
		p.draw(c, x, middle)
		x -= svgGap
	}
	if len(r.reads) > 0 {
		c.line(s.left-svgGap, middle, s.left, middle)
	}
	c.rectangle(s.left, top, s.width, svgBox, 5, kindColor[r.kind], "#475569")
	c.label(s.left+svgGap, middle, "#94a3b8", strconv.Itoa(i+1))
	c.label(s.left+svgGap+(letters(strconv.Itoa(len(s.rows)))+1)*svgLetter, middle, "#0f172a", r.title)
	c.label(s.left+s.width-svgGap-letters(r.shape)*svgLetter, middle, "#64748b", r.shape)
	if r.after {
		c.line(s.left+s.width/2, s.y(i-1)+svgBox, s.left+s.width/2, top)
	}
	x = s.lanes
	if len(r.yields) > 0 {
		fmt.Fprintf(c, `<path d="M%.1f %.1fH%.1f" stroke="#94a3b8" stroke-dasharray="2 3"/>`+"\n", s.left+s.width, middle, x)
	}
	for _, p := range r.yields {
		p.draw(c, x, middle)
		x += p.width() + svgGap
	}
}

func (p pill) draw(c *canvas, x, middle float64) {
	c.rectangle(x, middle-svgPill/2, p.width(), svgPill, svgPill/2, p.fill, "#94a3b8")
	c.label(x+svgGap, middle, "#0f172a", p.text)
}

func (s *sketch) arc(c *canvas, a sketchArc) {
	const bend = 6.0
	x0, x1 := s.left+s.width, s.left+s.width+float64(a.lane+1)*svgLane
	y0, y1 := s.y(a.from)+svgBox/2+a.out, s.y(a.to)+svgBox/2+a.in
	fmt.Fprintf(c, `<path d="M%.1f %.1fH%.1fQ%.1f %.1f %.1f %.1fV%.1fQ%.1f %.1f %.1f %.1fH%.1f" fill="none" stroke="#475569" marker-end="url(#head)"/>`+"\n",
		x0, y0, x1-bend, x1, y0, x1, y0+bend, y1-bend, x1, y1, x1-bend, y1, x0)
}

// backgrounds draws a background behind the rows of each layer.
func (s *sketch) backgrounds(c *canvas) {
	for from := 0; from < len(s.rows); {
		to := from + 1
		for to < len(s.rows) && s.rows[to].layer == s.rows[from].layer {
			to++
		}
		if layer := s.rows[from].layer; layer != "" {
			const around = (svgRow - svgBox) / 2
			top, bottom := s.y(from)-around, s.y(to-1)+svgBox+around
			c.rectangle(svgMargin, top+1, s.right-svgMargin, bottom-top-2, 8, "#f8fafc", "#e2e8f0")
			fmt.Fprintf(c, `<text transform="translate(%.1f %.1f) rotate(-90)" text-anchor="middle" fill="#94a3b8">%s</text>`+"\n", svgMargin+14, (top+bottom)/2, html.EscapeString(layer))
		}
		from = to
	}
}

// legend lists the colors that occur.
func (s *sketch) legend() (list []pill) {
	used := map[string]bool{}
	for _, r := range s.rows {
		used[kindColor[r.kind]] = true
		for _, p := range append(slices.Clone(r.reads), r.yields...) {
			used[p.fill] = true
		}
	}
	for _, p := range []pill{
		{"batch", kindColor[Input]}, {"weight", kindColor[Parameter]}, {"operation", kindColor[Operation]},
		{"backward pass", kindColor[Gradient]}, {"value of an operation above", svgFar}, {"gradient of a weight", svgResult},
	} {
		if used[p.fill] {
			list = append(list, p)
		}
	}
	return list
}

// canvas accumulates the text of a picture.
type canvas struct{ strings.Builder }

func (c *canvas) rectangle(x, y, width, height, radius float64, fill, stroke string) {
	fmt.Fprintf(c, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="%.1f" fill="%s" stroke="%s"/>`+"\n", x, y, width, height, radius, fill, stroke)
}

// label writes text that is vertically centered at middle.
func (c *canvas) label(x, middle float64, fill, text string) {
	const down = 3.8 // from the middle of the letters to their baseline
	fmt.Fprintf(c, `<text x="%.1f" y="%.1f" fill="%s">%s</text>`+"\n", x, middle+down, fill, html.EscapeString(text))
}

func (c *canvas) line(x0, y0, x1, y1 float64) {
	fmt.Fprintf(c, `<path d="M%.1f %.1fL%.1f %.1f" fill="none" stroke="#475569" marker-end="url(#head)"/>`+"\n", x0, y0, x1, y1)
}

// formatShape formats a shape, such as 8 × 16.
func formatShape(shape []int) string {
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(shape), "[]"), " ", " × ")
}

// shortName removes the parts of a parameter's name that its place in the picture already shows.
func shortName(name string) string {
	for _, prefix := range []string{"base_model.model.", "backbone."} {
		name = strings.TrimPrefix(name, prefix)
	}
	if _, rest, ok := strings.Cut(name, ".mixer."); ok {
		return rest
	}
	if layer := layerOf(name); layer != "" {
		_, name, _ = strings.Cut(strings.TrimPrefix(name, "layers."), ".")
	}
	return name
}

// layerOf returns the layer of a parameter, such as "layer 0", or "" if it belongs to no layer.
func layerOf(name string) string {
	_, rest, ok := strings.Cut("."+name, ".layers.")
	if !ok {
		return ""
	}
	number, _, _ := strings.Cut(rest, ".")
	return "layer " + number
}
