package jinja

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// unescapeString resolves the escape sequences in a string literal as Jinja2 does: it first converts non-ASCII
// characters to \x, \u, or \U sequences, and then decodes everything as Python's unicode-escape.
func unescapeString(s string) (string, error) {
	if strings.IndexByte(s, '\\') < 0 {
		return s, nil
	}
	s = escapeNonASCII(s)
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			i++
			continue
		}
		c, n, err := escapeSequence(s[i+1:])
		if err != nil {
			return "", err
		}
		b.WriteString(c)
		i += 1 + n
	}
	return b.String(), nil
}

func escapeNonASCII(s string) string {
	var b strings.Builder
	for _, c := range s {
		if c < utf8.RuneSelf {
			b.WriteRune(c)
		} else {
			b.WriteString(escapeRune(c))
		}
	}
	return b.String()
}

// escapeRune writes c as Python's backslashreplace does.
func escapeRune(c rune) string {
	switch {
	case c < 0x100:
		return fmt.Sprintf(`\x%02x`, c)
	case c < 0x10000:
		return fmt.Sprintf(`\u%04x`, c)
	}
	return fmt.Sprintf(`\U%08x`, c)
}

const simpleEscapes = "\\\\''\"\"a\ab\bf\fn\nr\rt\tv\v"

// escapeSequence decodes the text after a backslash and returns the number of bytes consumed.
func escapeSequence(s string) (string, int, error) {
	if s == "" {
		return "", 0, errors.New(`\ at end of string`)
	}
	if s[0] == '\n' {
		return "", 1, nil
	}
	for i := 0; i < len(simpleEscapes); i += 2 {
		if simpleEscapes[i] == s[0] {
			return simpleEscapes[i+1 : i+2], 1, nil
		}
	}
	switch s[0] {
	case 'x':
		return hexEscape(s, 2)
	case 'u':
		return hexEscape(s, 4)
	case 'U':
		return hexEscape(s, 8)
	case 'N':
		return "", 0, unsupported(`\N{…} in a string`)
	}
	n := 0
	for n < 3 && n < len(s) && '0' <= s[n] && s[n] <= '7' {
		n++
	}
	if n > 0 {
		c, _ := strconv.ParseUint(s[:n], 8, 32)
		return string(rune(c)), n, nil
	}
	return `\`, 0, nil
}

func hexEscape(s string, n int) (string, int, error) {
	if len(s) < 1+n {
		return "", 0, fmt.Errorf(`truncated \%cXX escape`, s[0])
	}
	c, err := strconv.ParseUint(s[1:1+n], 16, 32)
	if err != nil {
		return "", 0, fmt.Errorf(`truncated \%cXX escape`, s[0])
	}
	if !utf8.ValidRune(rune(c)) || c > utf8.MaxRune {
		return "", 0, fmt.Errorf(`\%s is not a character`, s[:1+n])
	}
	return string(rune(c)), 1 + n, nil
}
