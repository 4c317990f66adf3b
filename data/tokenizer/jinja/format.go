package jinja

import (
	"cmp"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// formatter is Python's str.format in the sandbox.
type formatter struct {
	*run
	positional []Value
	named      *Dict
	next       int // index of the next field without a number; -1 once fields have numbers
	automatic  bool
}

func textFormat(t textCall) (Value, error) {
	named := NewDict()
	for i, id := range t.args.names {
		named.Set(id, t.args.named[i])
	}
	f := &formatter{run: t.run, positional: t.args.values, named: named}
	s, err := f.format(t.s, 2)
	return s, err
}

func textFormatMap(t textCall) (Value, error) {
	a, err := t.args.bind("/", "mapping")
	if err != nil {
		return nil, err
	}
	d, ok := a[0].(*Dict)
	if !ok {
		return nil, unsupported("format_map with a " + typeName(a[0]))
	}
	f := &formatter{run: t.run, named: d}
	s, err := f.format(t.s, 2)
	return s, err
}

// format replaces the fields of s. depth limits the nesting of fields in format specifications.
func (f *formatter) format(s string, depth int) (string, error) {
	if depth == 0 {
		return "", typeError("max string recursion exceeded")
	}
	var b strings.Builder
	for s != "" {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:i])
		c := s[i]
		s = s[i+1:]
		switch {
		case s != "" && s[0] == c:
			b.WriteByte(c)
			s = s[1:]
			continue
		case c == '}':
			return "", typeError("single '}' encountered in format string")
		}
		end := closingBrace(s)
		if end < 0 {
			return "", typeError("expected '}' before end of string")
		}
		field, err := f.field(s[:end], depth)
		if err != nil {
			return "", err
		}
		b.WriteString(field)
		s = s[end+1:]
		if b.Len() > maxText {
			return "", f.alloc(-1)
		}
	}
	return b.String(), f.alloc(b.Len())
}

func closingBrace(s string) int {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth == 0 {
				return i
			}
			depth--
		}
	}
	return -1
}

func (f *formatter) field(s string, depth int) (string, error) {
	id, spec := s, ""
	conversion := rune(0)
	if i := strings.IndexAny(s, "!:"); i >= 0 {
		id, spec = s[:i], s[i+1:]
		if s[i] == '!' {
			c, size := utf8.DecodeRuneInString(spec)
			conversion, spec = c, spec[size:]
			if !strings.ContainsRune("sra", c) || spec != "" && spec[0] != ':' {
				return "", typeError("bad conversion in the field {%s}", s)
			}
			spec = strings.TrimPrefix(spec, ":")
		}
	}
	v, err := f.value(id)
	if err != nil {
		return "", err
	}
	if conversion != 0 {
		if v, err = f.convertText(conversion, v); err != nil {
			return "", err
		}
	}
	if spec, err = f.format(spec, depth-1+boolInt(spec == "")); err != nil {
		return "", err
	}
	return f.formatValue(v, spec)
}

func boolInt(b bool) int {
	n, _ := asInt(b)
	return n
}

// value returns the value of a field: an index or a name, with .attributes and [items].
func (f *formatter) value(field string) (Value, error) {
	end := strings.IndexAny(field, ".[")
	if end < 0 {
		end = len(field)
	}
	v, err := f.argument(field[:end], end == len(field))
	for rest := field[end:]; rest != "" && err == nil; {
		attribute := rest[0] == '.'
		key := rest[1:]
		if attribute {
			n := strings.IndexAny(key, ".[")
			if n < 0 {
				n = len(key)
			}
			key, rest = key[:n], key[n:]
			v, err = f.attribute(v, key)
		} else {
			var ok bool
			if key, rest, ok = strings.Cut(key, "]"); !ok || rest != "" && rest[0] != '.' && rest[0] != '[' {
				return nil, typeError("missing ']' in format string")
			}
			v, err = f.item(v, fieldKey(key))
		}
		if key == "" {
			return nil, typeError("empty attribute in format string")
		}
	}
	return v, err
}

func fieldKey(s string) Value {
	if n, err := strconv.Atoi(s); err == nil && strings.Trim(s, "0123456789") == "" {
		return n
	}
	return s
}

// argument looks up an argument by index or name. Only fields without attributes or items (alone) affect automatic numbering.
func (f *formatter) argument(id string, alone bool) (Value, error) {
	key := fieldKey(id)
	if id == "" && alone {
		if f.next < 0 {
			return nil, typeError("cannot switch from manual field specification to automatic field numbering")
		}
		key = f.next
		f.next++
		f.automatic = true
	} else if _, ok := key.(int); ok && alone {
		if f.automatic {
			return nil, typeError("cannot switch from automatic field numbering to manual field specification")
		}
		f.next = -1
	}
	if i, ok := key.(int); ok {
		if i >= len(f.positional) {
			return nil, typeError("replacement index %d out of range for positional args tuple", i)
		}
		return f.positional[i], nil
	}
	v, ok := f.named.Get(id)
	if !ok {
		return nil, typeError("the format needs the argument %s", quote(id))
	}
	return v, nil
}

// formatSpec is the format specification of a field.
type formatSpec struct {
	fill      string
	align     byte // < > ^ =, or 0
	sign      byte
	alternate bool
	zero      bool
	width     int
	group     byte
	precision int // -1 if not given
	verb      byte
}

func parseSpec(s string) (formatSpec, error) {
	f := formatSpec{precision: -1}
	full := s
	if _, size := utf8.DecodeRuneInString(s); size < len(s) && size > 0 && strings.IndexByte("<>^=", s[size]) >= 0 {
		f.fill, f.align, s = s[:size], s[size], s[size+1:]
	} else if s != "" && strings.IndexByte("<>^=", s[0]) >= 0 {
		f.align, s = s[0], s[1:]
	}
	if s != "" && strings.IndexByte("+- ", s[0]) >= 0 {
		f.sign, s = s[0], s[1:]
	}
	if strings.HasPrefix(s, "#") {
		f.alternate, s = true, s[1:]
	}
	if strings.HasPrefix(s, "0") {
		f.zero, s = true, s[1:]
		if f.fill == "" {
			f.fill = "0"
		}
	}
	if f.fill == "" {
		f.fill = " "
	}
	f.width, s = leadingInt(s)
	if s != "" && (s[0] == ',' || s[0] == '_') {
		f.group, s = s[0], s[1:]
	}
	if strings.HasPrefix(s, ".") {
		rest := s[1:]
		if f.precision, s = leadingInt(rest); s == rest {
			return f, typeError("format specifier missing precision")
		}
	}
	if len(s) == 1 {
		f.verb, s = s[0], ""
	}
	if s != "" {
		return f, typeError("invalid format specifier %s", quote(full))
	}
	return f, nil
}

func leadingInt(s string) (int, string) {
	n := 0
	for s != "" && isDecimal(s[0]) {
		n = min(n*10+int(s[0]-'0'), maxText+1)
		s = s[1:]
	}
	return n, s
}

// formatValue is Python's format(v, spec).
func (r *run) formatValue(v Value, spec string) (string, error) {
	if spec == "" {
		return r.str(v)
	}
	f, err := parseSpec(spec)
	if err != nil {
		return "", err
	}
	if f.width > maxText || f.precision > maxText {
		return "", r.alloc(-1)
	}
	if err := cmp.Or(r.alloc(f.width), r.scan(v)); err != nil {
		return "", err
	}
	if s, ok := asText(v); ok {
		return f.text(s)
	}
	if n, ok := asInt(v); ok {
		return f.integer(n)
	}
	if x, ok := v.(float64); ok {
		return f.float(x)
	}
	return "", typeError("unsupported format string passed to %s", typeName(v))
}

func (f formatSpec) text(s string) (string, error) {
	if f.sign != 0 || f.alternate || f.group != 0 || f.align == '=' || f.verb != 0 && f.verb != 's' {
		return "", typeError("invalid format specifier for a string")
	}
	if f.align == 0 {
		f.align = '<'
	}
	if f.precision >= 0 {
		s = substring(s, 0, f.precision)
	}
	return f.pad("", s), nil
}

func (f formatSpec) integer(n int) (string, error) {
	base, prefix := 10, ""
	switch f.verb {
	case 0, 'd':
	case 'b':
		base, prefix = 2, "0b"
	case 'o':
		base, prefix = 8, "0o"
	case 'x', 'X':
		base, prefix = 16, "0"+string(f.verb)
	case 'e', 'E', 'f', 'F', 'g', 'G', '%':
		return f.float(float64(n))
	default:
		return "", unsupported("the format '" + string(rune(f.verb)) + "' of an integer")
	}
	if f.precision >= 0 {
		return "", typeError("precision not allowed in integer format specifier")
	}
	digits := strconv.FormatUint(magnitude(n), base)
	if f.verb == 'X' {
		digits = strings.ToUpper(digits)
	}
	if !f.alternate {
		prefix = ""
	}
	if f.group != 0 && base != 10 {
		return "", unsupported("grouping the digits of this format")
	}
	return f.number(n < 0, prefix, digits, "")
}

func (f formatSpec) float(x float64) (string, error) {
	verb, precision, tail := f.verb, f.precision, ""
	if precision < 0 {
		precision = 6
	}
	if f.alternate || f.precision > 1000 {
		return "", unsupported("this format of a float")
	}
	var digits string
	switch verb {
	case 0:
		if f.precision >= 0 {
			return "", unsupported("a precision without a type of format")
		}
		digits = floatRepr(math.Abs(x))
	case '%':
		x, verb, tail = x*100, 'f', "%"
		fallthrough
	case 'e', 'E', 'f', 'F', 'g', 'G':
		digits = floatDigits(x, verb, precision)
	default:
		return "", unsupported("the format '" + string(rune(verb)) + "' of a float")
	}
	if i := strings.IndexAny(digits, ".eE"); i >= 0 {
		digits, tail = digits[:i], digits[i:]+tail
	}
	return f.number(math.Signbit(x) && !math.IsNaN(x), "", digits, tail)
}

// number formats a number from its sign and prefix, the digits before the point, and what follows them.
func (f formatSpec) number(negative bool, prefix, digits, tail string) (string, error) {
	switch {
	case negative:
		prefix = "-" + prefix
	case f.sign == '+' || f.sign == ' ':
		prefix = string(f.sign) + prefix
	}
	if f.zero && f.align == 0 {
		f.align = '='
	}
	if f.group != 0 {
		if f.align == '=' {
			return "", unsupported("grouping digits and filling with zeros")
		}
		digits = grouped(digits, string(f.group))
	}
	if f.align == 0 {
		f.align = '>'
	}
	return f.pad(prefix, digits+tail), nil
}

func grouped(digits, separator string) string {
	if strings.Trim(digits, "0123456789") != "" {
		return digits // infinity
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + separator + digits[i:]
	}
	return digits
}

// pad aligns prefix and s to the width.
func (f formatSpec) pad(prefix, s string) string {
	n := max(f.width-characters(prefix)-characters(s), 0)
	switch f.align {
	case '<':
		return prefix + s + strings.Repeat(f.fill, n)
	case '^':
		return strings.Repeat(f.fill, n/2) + prefix + s + strings.Repeat(f.fill, n-n/2)
	case '=':
		return prefix + strings.Repeat(f.fill, n) + s
	}
	return strings.Repeat(f.fill, n) + prefix + s
}
