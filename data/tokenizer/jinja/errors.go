package jinja

import (
	"fmt"
	"strings"
	"unicode"
)

// Error is a fault of a template, or of the values that it was given.
type Error struct {
	Template string // the name given to Parse
	Line     int
	Problem  string // one line
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: line %d: %s", e.Template, e.Line, e.Problem)
}

// longestProblem is the number of characters of a problem that are shown.
const longestProblem = 300

// oneLine makes a problem printable: control characters are escaped and long texts are cut, since both the template and
// the data may come from strangers.
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

// The errors of values know no line; the evaluator adds it.

// typeError reports an operation that Python refuses for these types, or whose result this package cannot give exactly.
func typeError(format string, args ...any) error { return fmt.Errorf(format, args...) }

// unsupported reports a construct of Jinja2 that this package does not have.
func unsupported(what string) error { return fmt.Errorf("%s is not supported", what) }
