package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Strings are UTF-8 here but code points in Python. Indices count characters.

func characters(s string) int { return utf8.RuneCountInString(s) }

// offset returns the byte offset of character i of s.
func offset(s string, i int) int {
	if characters(s) == len(s) {
		return min(i, len(s))
	}
	for at := range s {
		if i == 0 {
			return at
		}
		i--
	}
	return len(s)
}

// substring returns characters start to stop of s, excluding stop.
func substring(s string, start, stop int) string {
	if start >= stop {
		return ""
	}
	s = s[offset(s, start):]
	return s[:offset(s, stop-start)]
}

// sameText returns s as a str or Markup, whichever v is.
func sameText(v Value, s string) Value {
	if _, ok := v.(markup); ok {
		return markup(s)
	}
	return s
}

func repeatText(s string, n int) string {
	if s == "" {
		return ""
	}
	return strings.Repeat(s, n)
}

// isSpace is Python's str.isspace for one character.
func isSpace(c rune) bool {
	switch {
	case c == ' ' || '\t' <= c && c <= '\r' || 0x1c <= c && c <= 0x1f || c == 0x85:
		return true
	case c < 0x80:
		return false
	}
	return unicode.Is(unicode.Zs, c) || c == 0x2028 || c == 0x2029
}

// isLineEnd reports whether str.splitlines splits at c.
func isLineEnd(c rune) bool {
	return '\n' <= c && c <= '\r' || 0x1c <= c && c <= 0x1e || c == 0x85 || c == 0x2028 || c == 0x2029
}

// splitLines is str.splitlines.
func splitLines(s string, keepEnds bool) []string {
	var lines []string
	for s != "" {
		end := strings.IndexFunc(s, isLineEnd)
		if end < 0 {
			return append(lines, s)
		}
		_, size := utf8.DecodeRuneInString(s[end:])
		if strings.HasPrefix(s[end:], "\r\n") {
			size = 2
		}
		if keepEnds {
			lines = append(lines, s[:end+size])
		} else {
			lines = append(lines, s[:end])
		}
		s = s[end+size:]
	}
	return lines
}

// escapeHTML escapes as markupsafe does.
func escapeHTML(s string) string { return htmlEscapes.Replace(s) }

var htmlEscapes = strings.NewReplacer("&", "&amp;", ">", "&gt;", "<", "&lt;", "'", "&#39;", `"`, "&#34;")

func isUpperRune(c rune) bool { return unicode.In(c, unicode.Lu, unicode.Other_Uppercase) }

func isLowerRune(c rune) bool { return unicode.In(c, unicode.Ll, unicode.Other_Lowercase) }

func isCased(c rune) bool { return isUpperRune(c) || isLowerRune(c) || unicode.Is(unicode.Lt, c) }

// lower is str.lower.
func lower(s string) string {
	if isASCII(s) {
		return strings.ToLower(s)
	}
	var b strings.Builder
	for i, c := range s {
		switch c {
		case 'İ':
			b.WriteString("i̇")
		case 'Σ':
			b.WriteRune(lowerSigma(s, i))
		default:
			b.WriteRune(unicode.ToLower(c))
		}
	}
	return b.String()
}

// lowerSigma returns the lower case of the sigma at s[i], which has a different form at the end of a word.
func lowerSigma(s string, i int) rune {
	before, after := false, false
	for rest := s[:i]; rest != ""; {
		c, size := utf8.DecodeLastRuneInString(rest)
		rest = rest[:len(rest)-size]
		if !isCaseIgnorable(c) {
			before = isCased(c)
			break
		}
	}
	for _, c := range s[i+len("Σ"):] {
		if !isCaseIgnorable(c) {
			after = isCased(c)
			break
		}
	}
	if before && !after {
		return 'ς'
	}
	return 'σ'
}

func isCaseIgnorable(c rune) bool {
	return unicode.In(c, unicode.Mn, unicode.Me, unicode.Cf, unicode.Lm, unicode.Sk) || strings.ContainsRune("'.:^`¨\u00ad·’‘․…‧﹒﹕＇．：＾", c)
}

// upper is str.upper.
func upper(s string) string {
	if isASCII(s) {
		return strings.ToUpper(s)
	}
	var b strings.Builder
	for _, c := range s {
		b.WriteString(upperRune(c))
	}
	return b.String()
}

func upperRune(c rune) string {
	if special, ok := specialUpper[c]; ok {
		return special
	}
	return string(unicode.ToUpper(c))
}

// titleRune is the title case of one character.
func titleRune(c rune) string {
	if special, ok := specialTitle[c]; ok {
		return special
	}
	return string(unicode.ToTitle(c))
}

// capitalize is str.capitalize.
func capitalize(s string) string {
	c, size := utf8.DecodeRuneInString(s)
	if size == 0 {
		return ""
	}
	return titleRune(c) + lowerRest(s, size)
}

// lowerRest returns the lower case of s[from:]. The text before it affects the form of a sigma.
func lowerRest(s string, from int) string { return lower(s)[len(lower(s[:from])):] }

// title is str.title: a letter after a letter becomes lower case, any other letter title case.
func title(s string) string {
	var b strings.Builder
	inWord := false
	for i, c := range s {
		switch {
		case !inWord:
			b.WriteString(titleRune(c))
		case c == 'Σ':
			b.WriteRune(lowerSigma(s, i))
		default:
			b.WriteString(lower(string(c)))
		}
		inWord = isCased(c)
	}
	return b.String()
}

func swapCase(s string) string {
	var b strings.Builder
	for i, c := range s {
		switch {
		case c == 'Σ':
			b.WriteRune(lowerSigma(s, i))
		case isUpperRune(c):
			b.WriteString(lower(string(c)))
		case isLowerRune(c):
			b.WriteString(upperRune(c))
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
