package cli

import (
	"os"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/term"
	"golang.org/x/text/width"
)

// Columns returns the width of the terminal behind a stream, or 0 if it is not a terminal.
func Columns(stream any) int {
	f := terminal(stream)
	if f == nil {
		return 0
	}
	if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
		return n
	}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	return 80
}

// narrowest is the width of the narrowest terminal for which lines are wrapped.
const narrowest = 20

// Wrap wraps lines longer than columns, never within a word. If a line has parts separated by two spaces, Wrap prefers to
// break between parts. Continuation lines are aligned with the text after the line's first part. If columns is less than
// narrowest, such as 0, Wrap returns text unchanged.
func Wrap(text string, columns int) string {
	if columns < narrowest {
		return text
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if displayWidth(line) > columns {
			lines[i] = wrapLine(line, columns, hang(line, columns))
		}
	}
	return strings.Join(lines, "\n")
}

// wrapCommand is like Wrap for a command. It ends broken lines so that they can be pasted together, and prefers to break
// before flags.
func wrapCommand(text string, columns int) string {
	const mark = " \\"
	if columns < narrowest || displayWidth(text) <= columns {
		return text
	}
	gap, _, _ := cutPart(text)
	lines := strings.Split(wrapLine(strings.ReplaceAll(text, " --", "  --"), columns-len(mark), len(gap)+2), "\n")
	for i, line := range lines {
		command := strings.TrimLeft(line, " ")
		lines[i] = line[:len(line)-len(command)] + strings.ReplaceAll(command, "  --", " --")
	}
	return strings.Join(lines, mark+"\n")
}

// WrapHelp wraps the help text of a command, which contains paragraphs, lists, and example commands.
func WrapHelp(text string, columns int) string {
	lines := strings.Split(text, "\n")
	var out []string
	for i := 0; i < len(lines); i++ {
		switch line := lines[i]; {
		case strings.HasPrefix(line, "  mamba-train "):
			out = append(out, wrapCommand(line, columns))
		case strings.HasPrefix(line, " ") || displayWidth(line) <= columns || columns < narrowest:
			out = append(out, Wrap(line, columns))
		default: // together with the remainder of the paragraph
			for i+1 < len(lines) && lines[i+1] != "" && lines[i+1][0] != ' ' {
				i++
				line += " " + lines[i]
			}
			out = append(out, wrapLine(line, columns, 0))
		}
	}
	return strings.Join(out, "\n")
}

func wrapLine(line string, columns, indent int) string {
	w := wrapper{columns: columns, indent: indent}
	for line != "" {
		gap, part, rest := cutPart(line)
		line = rest
		if w.fits(gap, part) || !strings.Contains(part, " ") {
			w.add(gap, part)
			continue
		}
		if alone := w.indent + displayWidth(part); w.used > w.indent && alone <= columns {
			w.add(gap, part)
			continue
		}
		for i, word := range strings.Split(part, " ") {
			if i > 0 {
				gap = " "
			}
			w.add(gap, word)
		}
	}
	return w.text.String()
}

// hang returns the indentation of continuation lines.
func hang(line string, columns int) int {
	const list = 8 // a line indented by less is a list entry; by more, a value below its label
	gap, part, rest := cutPart(line)
	next, _, _ := cutPart(rest)
	n := displayWidth(gap+part) + len(next)
	switch {
	case rest != "" && n <= columns/2:
		return n
	case len(gap) > list:
		return min(len(gap), columns/2)
	}
	return len(gap) + 2
}

// cutPart splits a line into its leading spaces, its first part, and the remainder, which starts with two spaces.
func cutPart(line string) (gap, part, rest string) {
	text := strings.TrimLeft(line, " ")
	gap = line[:len(line)-len(text)]
	if i := strings.Index(text, "  "); i >= 0 {
		return gap, text[:i], text[i:]
	}
	return gap, text, ""
}

// wrapper fills lines.
type wrapper struct {
	text            strings.Builder
	columns, indent int
	used            int // columns used on the current line
}

func (w *wrapper) fits(gap, word string) bool {
	return w.used+len(gap)+displayWidth(word) <= w.columns
}

// add appends a word to the line or starts another line with it.
func (w *wrapper) add(gap, word string) {
	if !w.fits(gap, word) && w.used > w.indent {
		w.text.WriteString("\n" + strings.Repeat(" ", w.indent) + word)
		w.used = w.indent + displayWidth(word)
		return
	}
	w.text.WriteString(gap + word)
	w.used += len(gap) + displayWidth(word)
}

// displayWidth returns the number of columns that s takes up on a terminal.
func displayWidth(s string) (n int) {
	for _, r := range s {
		switch k := width.LookupRune(r).Kind(); {
		case unicode.Is(unicode.Mn, r):
		case k == width.EastAsianWide, k == width.EastAsianFullwidth:
			n += 2
		default:
			n++
		}
	}
	return n
}
