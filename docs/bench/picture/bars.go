package main

import (
	"bufio"
	"fmt"
	"html"
	"io"
	"strings"
)

// bar is a row of the table.
type bar struct {
	name         string
	speed        float64 // tokens per second
	memory       float64 // GiB
	ours, repeat bool
}

// drawBars draws a bar chart of a record.
func drawBars(w io.Writer, r io.Reader) error {
	bars, title, err := readBars(r)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, barsSVG(title, bars))
	return err
}

// readBars returns the rows of the table and the line above it, which describes the benchmark.
func readBars(r io.Reader) (bars []bar, title string, err error) {
	lines := bufio.NewScanner(r)
	inTable := false
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		switch {
		case strings.HasPrefix(line, "| | tokens per second | peak memory |"):
			inTable = true
		case !inTable && line != "":
			title = line
		case inTable && strings.HasPrefix(line, "|---"):
		case inTable && strings.HasPrefix(line, "|"):
			b, err := parseBar(line)
			if err != nil {
				return nil, "", err
			}
			bars = append(bars, b)
		case inTable:
			return bars, title, nil
		}
	}
	if len(bars) == 0 {
		return nil, "", fmt.Errorf("no table of tokens per second and peak memory")
	}
	return bars, title, lines.Err()
}

// parseBar parses a row such as “| name | 320 | 0.81 GiB |”.
func parseBar(line string) (bar, error) {
	cells := strings.Split(strings.Trim(line, "|"), "|")
	if len(cells) != 3 {
		return bar{}, fmt.Errorf("%q has %d cells, want 3", line, len(cells))
	}
	b := bar{name: strings.TrimSpace(cells[0])}
	b.ours = strings.HasPrefix(b.name, "mamba-train")
	b.repeat = strings.HasSuffix(b.name, ", again")
	_, err := fmt.Sscanf(cells[1]+cells[2], "%f %f GiB", &b.speed, &b.memory)
	if err != nil {
		return bar{}, fmt.Errorf("%q: %w", line, err)
	}
	return b, nil
}

const (
	width, left, gap  = 800, 250, 60
	rowHeight, barTop = 30, 64
	panel             = (width - left - gap - 60) / 2
)

// barsSVG returns an SVG with one panel for speed and one for memory. It omits repeated runs, which are in the record.
func barsSVG(title string, bars []bar) string {
	var ours, peers []bar
	var speed, memory float64
	for _, b := range bars {
		switch {
		case b.repeat:
			continue
		case b.ours:
			ours = append(ours, b)
		default:
			peers = append(peers, b)
		}
		speed, memory = max(speed, b.speed), max(memory, b.memory)
	}
	shown := append(ours, peers...)
	height := barTop + rowHeight*len(shown) + 12
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" font-family="system-ui, sans-serif" font-size="13">`+"\n", width, height)
	fmt.Fprintf(&s, "<title>%s</title>\n", html.EscapeString(title))
	s.WriteString(`<style>text{fill:#24292f}.peer{fill:#8c959f}.ours{fill:#0b6e75}` +
		`@media (prefers-color-scheme: dark){text{fill:#e6edf3}.peer{fill:#6e7681}.ours{fill:#3fb6bd}}</style>` + "\n")
	fmt.Fprintf(&s, `<text x="0" y="18" font-weight="600">%s</text>`+"\n", html.EscapeString(title))
	second := left + panel + gap
	fmt.Fprintf(&s, `<text x="%d" y="48">tokens per second</text><text x="%d" y="48">peak memory, GiB</text>`+"\n", left, second)
	for i, b := range shown {
		y := barTop + rowHeight*i
		class := "peer"
		if b.ours {
			class = "ours"
		}
		fmt.Fprintf(&s, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", left-10, y+15, html.EscapeString(b.name))
		writeBar(&s, class, left, y, b.speed/speed, fmt.Sprintf("%.0f", b.speed))
		writeBar(&s, class, second, y, b.memory/memory, fmt.Sprintf("%.2f", b.memory))
	}
	s.WriteString("</svg>\n")
	return s.String()
}

// writeBar draws a bar that fills the given share of a panel, with its value.
func writeBar(s *strings.Builder, class string, x, y int, share float64, value string) {
	w := share * panel
	fmt.Fprintf(s, `<rect class="%s" x="%d" y="%d" width="%.1f" height="20" rx="2"/><text x="%.1f" y="%d">%s</text>`+"\n", class, x, y, w, float64(x)+w+6, y+15, value)
}
