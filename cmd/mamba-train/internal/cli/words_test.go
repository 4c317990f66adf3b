package cli

import (
	"strings"
	"testing"
)

func TestWordWriter(t *testing.T) {
	for _, c := range []struct {
		columns    int
		text, want string
	}{
		{10, "The owl keeps the lamp.", "The owl\nkeeps the\nlamp.\n"},
		{10, "0123456789 ab", "0123456789\nab\n"},
		{10, "012345678 901", "012345678\n901\n"},
		{10, "a\n\n  b  c \nd", "a\n\n  b  c\nd\n"},
		{10, "0123456789abcdef g", "0123456789\nabcdef g\n"},
		{10, "漢字漢字 漢字", "漢字漢字\n漢字\n"},
		{10, "\tb", "        b\n"},
		{10, "", "\n"},
		{0, "The owl keeps \x41 the lamp. ", "The owl keeps A the lamp. \n"},
	} {
		for _, size := range []int{1, 3, 100} {
			var b strings.Builder
			w := WordWriter{To: &b, Columns: c.columns}
			runes := []rune(c.text)
			for len(runes) > 0 {
				n := min(size, len(runes))
				w.Add(string(runes[:n]))
				runes = runes[n:]
			}
			w.End()
			if b.String() != c.want {
				t.Errorf("%q in pieces of %d: %q, want %q", c.text, size, b.String(), c.want)
			}
		}
	}
}
