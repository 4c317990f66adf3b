package format_test

import (
	"testing"

	"mambatrain/internal/format"
)

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain — tab\tand\nline, 日本, 👩‍🚀": "plain — tab\tand\nline, 日本, 👩‍🚀",
		"\x1b[31mred\x07\r\x00":           `\x1b[31mred\x07\r\x00`,
		"\x9bm \u202eevil\u2028":          `\x9bm \u202eevil\u2028`,
		"bad \xff byte, \ufffd":           "bad \\xff byte, \ufffd",
		"\U000e0001tag":                   `\U000e0001tag`,
	} {
		if got := format.Printable(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
