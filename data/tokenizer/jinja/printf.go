package jinja

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// printf is Python's format % args for strings.
func (r *run) printf(format string, args Value) (Value, error) {
	p := &printer{run: r, rest: format, single: args}
	if items, ok := sequence(args); ok && isTuple(args) {
		p.items, p.single = items, nil
		p.isTuple = true
	}
	for {
		before, after, ok := strings.Cut(p.rest, "%")
		p.WriteString(before)
		if !ok {
			break
		}
		p.rest = after
		if err := p.conversion(); err != nil {
			return nil, err
		}
		if p.Len() > maxText {
			return nil, r.alloc(-1)
		}
	}
	if !p.usedAll() {
		return nil, typeError("not all arguments converted during string formatting")
	}
	return p.String(), r.alloc(p.Len())
}

type printer struct {
	strings.Builder
	*run
	rest    string
	items   []Value // of a tuple
	isTuple bool
	single  Value // an argument that is not a tuple
	used    int
}

// usedAll reports whether all arguments were used. Those that can be subscripted need not be.
func (p *printer) usedAll() bool {
	if p.isTuple {
		return p.used >= len(p.items)
	}
	switch p.single.(type) {
	case *Dict, *List, *numbers, *undefined:
		return true
	}
	return p.used > 0
}

func (p *printer) next() (Value, error) {
	p.used++
	switch {
	case p.isTuple && p.used <= len(p.items):
		return p.items[p.used-1], nil
	case !p.isTuple && p.used == 1:
		return p.single, nil
	}
	return nil, typeError("not enough arguments for format string")
}

// layout is how a conversion formats a value.
type layout struct {
	left, plus, space, alternate, zero bool
	width, precision                   int // precision is -1 if not given
}

func (p *printer) conversion() error {
	if strings.HasPrefix(p.rest, "%") {
		p.WriteByte('%')
		p.rest = p.rest[1:]
		return nil
	}
	var value Value
	keyed := false
	if strings.HasPrefix(p.rest, "(") {
		var err error
		if value, err = p.keyed(); err != nil {
			return err
		}
		keyed = true
	}
	l, err := p.layout()
	if err != nil {
		return err
	}
	p.rest = strings.TrimLeft(p.rest, "hlL")
	verb, size := utf8.DecodeRuneInString(p.rest)
	if size == 0 {
		return typeError("incomplete format")
	}
	p.rest = p.rest[size:]
	if !keyed {
		if value, err = p.next(); err != nil {
			return err
		}
	}
	return p.convert(verb, l, value)
}

// keyed parses (key) and returns its value.
func (p *printer) keyed() (Value, error) {
	depth := 0
	for i, c := range p.rest {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth > 0 {
			continue
		}
		key := p.rest[1:i]
		p.rest = p.rest[i+1:]
		d, ok := p.single.(*Dict)
		if !ok {
			return nil, typeError("format requires a mapping")
		}
		v, ok := d.Get(key)
		if !ok {
			return nil, typeError("the format needs the key %s", quote(key))
		}
		p.used = 1
		return v, nil
	}
	return nil, typeError("incomplete format key")
}

func (p *printer) layout() (layout, error) {
	l := layout{precision: -1}
	for p.rest != "" && strings.IndexByte("-+ #0", p.rest[0]) >= 0 {
		switch p.rest[0] {
		case '-':
			l.left = true
		case '+':
			l.plus = true
		case ' ':
			l.space = true
		case '#':
			l.alternate = true
		case '0':
			l.zero = true
		}
		p.rest = p.rest[1:]
	}
	var err error
	if l.width, err = p.size(); err != nil {
		return l, err
	}
	if l.width < 0 {
		l.left, l.width = true, -l.width
	}
	if strings.HasPrefix(p.rest, ".") {
		p.rest = p.rest[1:]
		if l.precision, err = p.size(); err != nil {
			return l, err
		}
		l.precision = max(l.precision, 0)
	}
	if l.width > maxText || l.precision > maxText {
		return l, p.alloc(-1)
	}
	return l, nil
}

// size parses a width or a precision: digits, or * for an argument.
func (p *printer) size() (int, error) {
	if strings.HasPrefix(p.rest, "*") {
		p.rest = p.rest[1:]
		v, err := p.next()
		if err != nil {
			return 0, err
		}
		n, ok := asInt(v)
		if !ok || n < -maxText {
			return 0, typeError("* wants int")
		}
		return n, nil
	}
	n := 0
	for p.rest != "" && isDecimal(p.rest[0]) {
		n = min(n*10+int(p.rest[0]-'0'), maxText+1)
		p.rest = p.rest[1:]
	}
	return n, nil
}

func (p *printer) convert(verb rune, l layout, v Value) error {
	switch verb {
	case 's', 'r', 'a':
		return p.text(verb, l, v)
	case 'c':
		return p.character(l, v)
	case 'd', 'i', 'u', 'x', 'X', 'o':
		return p.integer(verb, l, v)
	case 'e', 'E', 'f', 'F', 'g', 'G':
		f, ok := asFloat(v)
		if !ok {
			return typeError("must be real number, not %s", typeName(v))
		}
		if l.alternate || l.zero && (math.IsInf(f, 0) || math.IsNaN(f)) || l.precision > 1000 {
			return unsupported("this format of a float")
		}
		if l.precision < 0 {
			l.precision = 6
		}
		p.number(l, math.Signbit(f) && !math.IsNaN(f), "", floatDigits(f, byte(verb), l.precision))
		return nil
	}
	return typeError("unsupported format character '%c'", verb)
}

// floatDigits formats |f|.
func floatDigits(f float64, verb byte, precision int) string {
	upperCase := verb < 'a'
	verb |= 0x20
	if verb == 'g' && precision == 0 {
		precision = 1
	}
	var s string
	switch {
	case math.IsInf(f, 0):
		s = "inf"
	case math.IsNaN(f):
		s = "nan"
	default:
		s = strconv.FormatFloat(math.Abs(f), verb, precision, 64)
	}
	if upperCase {
		return strings.ToUpper(s)
	}
	return s
}

func (p *printer) text(verb rune, l layout, v Value) error {
	s, err := p.convertText(verb, v)
	if err == nil {
		err = p.scan(s)
	}
	if err != nil {
		return err
	}
	if l.precision >= 0 {
		s = substring(s, 0, l.precision)
	}
	p.padded(l, s)
	return nil
}

// convertText returns the str, repr, or ascii of v.
func (r *run) convertText(verb rune, v Value) (string, error) {
	if verb == 's' {
		return r.str(v)
	}
	s, err := repr(v)
	if err == nil && verb == 'a' {
		s = escapeNonASCII(s)
	}
	if err == nil {
		err = r.alloc(len(s))
	}
	return s, err
}

func (p *printer) padded(l layout, s string) {
	n := max(l.width-characters(s), 0)
	if l.left {
		p.WriteString(s + strings.Repeat(" ", n))
	} else {
		p.WriteString(strings.Repeat(" ", n) + s)
	}
}

func (p *printer) character(l layout, v Value) error {
	if s, ok := asText(v); ok {
		if characters(s) != 1 {
			return typeError("%%c requires int or char")
		}
		p.padded(l, s)
		return nil
	}
	n, ok := asInt(v)
	if !ok || !utf8.ValidRune(rune(n)) || n != int(rune(n)) {
		return typeError("%%c requires int or char")
	}
	p.padded(l, string(rune(n)))
	return nil
}

func (p *printer) integer(verb rune, l layout, v Value) error {
	decimal := verb == 'd' || verb == 'i' || verb == 'u'
	n, ok := asInt(v)
	if f, isFloat := v.(float64); isFloat && decimal && !math.IsNaN(f) {
		whole, err := truncated(f)
		if err != nil {
			return err
		}
		n, ok = whole.(int), true
	}
	if !ok {
		if _, big := v.(integer); big {
			return errBigInteger
		}
		return typeError("%%%c format: a number is required, not %s", verb, typeName(v))
	}
	base := map[rune]int{'x': 16, 'X': 16, 'o': 8}[verb]
	if decimal {
		base = 10
	}
	digits, prefix := strconv.FormatUint(magnitude(n), base), ""
	if l.precision > len(digits) {
		digits = strings.Repeat("0", l.precision-len(digits)) + digits
	}
	if l.alternate && !decimal {
		prefix = "0" + string(verb)
	}
	if verb == 'X' {
		digits = strings.ToUpper(digits)
	}
	p.number(l, n < 0, prefix, digits)
	return nil
}

// number writes the digits of a number after its sign and prefix.
func (p *printer) number(l layout, negative bool, prefix, digits string) {
	switch {
	case negative:
		prefix = "-" + prefix
	case l.plus:
		prefix = "+" + prefix
	case l.space:
		prefix = " " + prefix
	}
	if n := l.width - len(prefix) - len(digits); l.zero && !l.left && n > 0 {
		digits = strings.Repeat("0", n) + digits
	}
	p.padded(l, prefix+digits)
}
