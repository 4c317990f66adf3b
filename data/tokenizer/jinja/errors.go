package jinja

import (
	"fmt"
	"strings"
	"unicode"
)

// Error is an error in a template or in the values passed to it.
type Error struct {
	Template string // the name given to Parse
	Line     int
	Problem  string // one line
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: line %d: %s", e.Template, e.Line, e.Problem)
}

// longestProblem is the maximum number of characters of a problem that are shown.
const longestProblem = 300

// oneLine makes a problem printable. It escapes control characters and truncates long texts, since both the template
// and the data may be untrusted.
func oneLine(s string) string {
	var b strings.Builder
	n := 0
	for _, c := range s {
		if n++; n > longestProblem {
			b.WriteString("…")
			break
		}
		if c == unicode.ReplacementChar || !isPrintable(c) {
			b.WriteString(escapeRune(c))
		} else {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// The errors below have no line; the evaluator adds it.

// typeError reports an operation that Python rejects for these types, or whose result this package cannot reproduce exactly.
func typeError(format string, args ...any) error { return fmt.Errorf(format, args...) }

// unsupported reports a Jinja2 construct that this package does not implement.
func unsupported(what string) error { return fmt.Errorf("%s is not supported", what) }
