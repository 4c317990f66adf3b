package jinja

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// kind is the type of a token. Each operator has its own kind.
type kind string

const (
	tokData          kind = "data"
	tokBlockBegin    kind = "block_begin"
	tokBlockEnd      kind = "block_end"
	tokVariableBegin kind = "variable_begin"
	tokVariableEnd   kind = "variable_end"
	tokName          kind = "name"
	tokString        kind = "string"
	tokInteger       kind = "integer"
	tokFloat         kind = "float"
	tokEOF           kind = "eof"
)

type token struct {
	kind  kind
	text  string // of data, names, and strings
	value Value  // of numbers
	line  int
}

// String describes a token for error messages.
func (t token) String() string {
	if t.kind == tokName {
		return t.text
	}
	switch t.kind {
	case tokBlockBegin:
		return "begin of statement block"
	case tokBlockEnd:
		return "end of statement block"
	case tokVariableBegin:
		return "begin of print statement"
	case tokVariableEnd:
		return "end of print statement"
	case tokData:
		return "template data"
	case tokEOF:
		return "end of template"
	}
	return string(t.kind)
}

// operators lists two-character operators before those of one character.
var operators = []string{"**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}",
	">", "<", "=", ".", ":", "|", ",", ";"}

// lexer splits a template into tokens, with trim_blocks and lstrip_blocks.
type lexer struct {
	src       string
	pos, line int
	lineStart bool   // the previous output ended in a newline
	open      []byte // open brackets
	tokens    []token
}

func lex(source string) ([]token, error) {
	source = strings.TrimSuffix(normalizeNewlines(source), "\n")
	l := &lexer{src: source, line: 1, lineStart: true}
	for l.pos < len(l.src) {
		if err := l.next(); err != nil {
			return nil, err
		}
	}
	l.emit(token{kind: tokEOF})
	return l.tokens, nil
}

func normalizeNewlines(s string) string {
	if strings.IndexByte(s, '\r') < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
}

func (l *lexer) emit(t token) {
	t.line = l.line
	l.tokens = append(l.tokens, t)
}

func (l *lexer) fail(format string, args ...any) error {
	return &Error{Line: l.line, Problem: oneLine(fmt.Sprintf(format, args...))}
}

// take advances by n bytes and counts lines.
func (l *lexer) take(n int) {
	part := l.src[l.pos : l.pos+n]
	l.line += strings.Count(part, "\n")
	l.lineStart = strings.HasSuffix(part, "\n")
	l.pos += n
}

// next reads the text up to the next tag, and then the tag.
func (l *lexer) next() error {
	start := nextTag(l.src[l.pos:])
	if start < 0 {
		l.emit(token{kind: tokData, text: l.src[l.pos:]})
		l.pos = len(l.src)
		return nil
	}
	text, tag := l.src[l.pos:l.pos+start], l.src[l.pos+start:]
	body, isRaw := rawBegin(tag)
	l.text(text, tag[2:], tag[1] == '{')
	switch {
	case isRaw:
		l.take(body)
		return l.raw()
	case tag[1] == '#':
		l.take(2 + sign(tag[2:]))
		return l.comment()
	case tag[1] == '{':
		l.emit(token{kind: tokVariableBegin})
	default:
		l.emit(token{kind: tokBlockBegin})
	}
	l.take(2 + sign(tag[2:]))
	return l.code(tag[1])
}

// nextTag returns the offset of the first {%, {{, or {# in s, or -1.
func nextTag(s string) int {
	for i := 0; ; i++ {
		k := strings.IndexByte(s[i:], '{')
		if k < 0 || i+k+1 >= len(s) {
			return -1
		}
		i += k
		if c := s[i+1]; c == '%' || c == '{' || c == '#' {
			return i
		}
	}
}

// sign returns the length of the whitespace control at the start of s.
func sign(s string) int {
	if s != "" && (s[0] == '-' || s[0] == '+') {
		return 1
	}
	return 0
}

// text emits the data before a tag, whose sign is at the start of after. A "-" strips all trailing whitespace. Without
// a sign, whitespace is stripped back to the start of the tag's line, except before a tag that prints a variable.
func (l *lexer) text(text, after string, variable bool) {
	stripped := text
	switch {
	case strings.HasPrefix(after, "-"):
		stripped = strings.TrimRightFunc(text, isSpace)
	case strings.HasPrefix(after, "+") || variable:
	default:
		line := strings.LastIndexByte(text, '\n') + 1
		if (line > 0 || l.lineStart) && strings.TrimLeftFunc(text[line:], isSpace) == "" {
			stripped = text[:line]
		}
	}
	if stripped != "" {
		l.emit(token{kind: tokData, text: stripped})
	}
	l.take(len(text))
}

// tagEnd returns the length of the tag end at the start of s, or 0 if there is none. A "-" also consumes all whitespace
// after it, and blocks and comments consume one newline unless there is a "+".
func tagEnd(s, end string) int {
	if strings.HasPrefix(s, "-"+end) {
		n := 1 + len(end)
		return n + spaces(s[n:])
	}
	if end != "}}" && strings.HasPrefix(s, "+"+end) {
		return 1 + len(end)
	}
	if !strings.HasPrefix(s, end) {
		return 0
	}
	if n := len(end); end != "}}" && strings.HasPrefix(s[n:], "\n") {
		return n + 1
	}
	return len(end)
}

// spaces returns the number of bytes of leading whitespace in s.
func spaces(s string) int { return len(s) - len(strings.TrimLeftFunc(s, isSpace)) }

// rawBegin reports whether s starts with {% raw %}, and its length.
func rawBegin(s string) (int, bool) {
	if !strings.HasPrefix(s, "{%") {
		return 0, false
	}
	n := 2 + sign(s[2:])
	n += spaces(s[n:])
	if !strings.HasPrefix(s[n:], "raw") {
		return 0, false
	}
	n += len("raw")
	n += spaces(s[n:])
	switch {
	case strings.HasPrefix(s[n:], "-%}"):
		n += len("-%}")
		return n + spaces(s[n:]), true
	case strings.HasPrefix(s[n:], "%}"):
		return n + len("%}"), true
	}
	return 0, false
}

// raw reads through {% endraw %}.
func (l *lexer) raw() error {
	rest := l.src[l.pos:]
	if rest == "" { // Jinja2 accepts this
		return nil
	}
	for from := 0; ; from++ {
		k := strings.Index(rest[from:], "{%")
		if k < 0 {
			return l.fail("missing end of raw directive")
		}
		from += k
		n := from + 2
		n += sign(rest[n:])
		n += spaces(rest[n:])
		if !strings.HasPrefix(rest[n:], "endraw") {
			continue
		}
		n += len("endraw")
		n += spaces(rest[n:])
		if end := tagEnd(rest[n:], "%}"); end > 0 {
			l.text(rest[:from], rest[from+2:], false)
			l.take(n + end - from)
			return nil
		}
	}
}

func (l *lexer) comment() error {
	rest := l.src[l.pos:]
	end := strings.Index(rest, "#}")
	if rest == "" { // Jinja2 accepts this
		return nil
	}
	if end < 0 {
		return l.fail("missing end of comment tag")
	}
	if end > 0 && (rest[end-1] == '-' || rest[end-1] == '+') {
		end--
	}
	l.take(end + tagEnd(rest[end:], "#}"))
	return nil
}

// code reads the tokens of a tag, through its end.
func (l *lexer) code(begin byte) error {
	end, kind := "%}", tokBlockEnd
	if begin == '{' {
		end, kind = "}}", tokVariableEnd
	}
	for l.pos < len(l.src) {
		rest := l.src[l.pos:]
		if n := tagEnd(rest, end); n > 0 && len(l.open) == 0 {
			l.emit(token{kind: kind})
			l.take(n)
			return nil
		}
		if n := spaces(rest); n > 0 {
			l.take(n)
			continue
		}
		if err := l.codeToken(rest); err != nil {
			return err
		}
	}
	return nil // the parser reports the end of the template
}

func (l *lexer) codeToken(rest string) error {
	if n := floatLength(rest); n > 0 && (l.pos == 0 || l.src[l.pos-1] != '.') {
		f, err := strconv.ParseFloat(strings.ReplaceAll(rest[:n], "_", ""), 64)
		if err != nil {
			return l.fail("the number %s is too large", rest[:n])
		}
		return l.add(token{kind: tokFloat, value: f}, n)
	}
	if n := integerLength(rest); n > 0 {
		i, err := strconv.ParseInt(strings.ReplaceAll(rest[:n], "_", ""), 0, 64)
		if err != nil {
			return l.fail("the integer %s needs more than 64 bits", rest[:n])
		}
		return l.add(token{kind: tokInteger, value: int(i)}, n)
	}
	if n := nameLength(rest); n > 0 {
		return l.add(token{kind: tokName, text: rest[:n]}, n)
	}
	if n := stringLength(rest); n > 0 {
		s, err := unescapeString(normalizeNewlines(rest[1 : n-1]))
		if err != nil {
			return l.fail("%v", err)
		}
		return l.add(token{kind: tokString, text: s}, n)
	}
	for _, op := range operators {
		if strings.HasPrefix(rest, op) {
			if err := l.balance(op[0]); err != nil {
				return err
			}
			return l.add(token{kind: kind(op)}, len(op))
		}
	}
	c, _ := utf8.DecodeRuneInString(rest)
	return l.fail("unexpected character %q", c)
}

func (l *lexer) add(t token, n int) error {
	l.emit(t)
	l.take(n)
	return nil
}

// balance maintains the stack of open brackets. A tag can end only outside all brackets.
func (l *lexer) balance(c byte) error {
	switch c {
	case '{':
		l.open = append(l.open, '}')
	case '(':
		l.open = append(l.open, ')')
	case '[':
		l.open = append(l.open, ']')
	case '}', ')', ']':
		if len(l.open) == 0 {
			return l.fail("unexpected '%c'", c)
		}
		if want := l.open[len(l.open)-1]; want != c {
			return l.fail("unexpected '%c', expected '%c'", c, want)
		}
		l.open = l.open[:len(l.open)-1]
	}
	return nil
}

// digits returns the length of the digits at the start of s, which may be separated by single underscores.
func digits(s string, is func(byte) bool) int {
	n := 0
	for n < len(s) && is(s[n]) {
		n++
		if n+1 < len(s) && s[n] == '_' && is(s[n+1]) {
			n++
		}
	}
	return n
}

func isDecimal(c byte) bool { return '0' <= c && c <= '9' }

func floatLength(s string) int {
	n := digits(s, isDecimal)
	if n == 0 {
		return 0
	}
	whole := n
	if n < len(s) && s[n] == '.' {
		if k := digits(s[n+1:], isDecimal); k > 0 {
			n += 1 + k
		}
	}
	if n < len(s) && (s[n] == 'e' || s[n] == 'E') {
		m := n + 1 + sign(s[n+1:])
		if k := digits(s[m:], isDecimal); k > 0 {
			return m + k
		}
	}
	if n == whole {
		return 0
	}
	return n
}

func integerLength(s string) int {
	if s == "" || !isDecimal(s[0]) {
		return 0
	}
	if len(s) > 1 && s[0] == '0' {
		var is func(byte) bool
		switch s[1] | 0x20 {
		case 'b':
			is = func(c byte) bool { return c == '0' || c == '1' }
		case 'o':
			is = func(c byte) bool { return '0' <= c && c <= '7' }
		case 'x':
			is = func(c byte) bool { return isDecimal(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }
		}
		if is != nil {
			m := 2
			if len(s) > 3 && s[2] == '_' {
				m++
			}
			if k := digits(s[m:], is); k > 0 {
				return m + k
			}
		}
		return digits(s, func(c byte) bool { return c == '0' })
	}
	return digits(s, isDecimal)
}

func nameLength(s string) int {
	for i, c := range s {
		start := c == '_' || unicode.IsLetter(c) || unicode.Is(unicode.Nl, c)
		if !start && (i == 0 || !unicode.In(c, unicode.Nd, unicode.Mn, unicode.Mc, unicode.Pc)) {
			return i
		}
	}
	return len(s)
}

// stringLength returns the length of the quoted string at the start of s, or 0 if there is none.
func stringLength(s string) int {
	if s == "" || s[0] != '\'' && s[0] != '"' {
		return 0
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case s[0]:
			return i + 1
		}
	}
	return 0
}
