package jinja

import (
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type filterFunc func(r *run, v Value, c *callArgs) (Value, error)

// filters are the filters of Jinja2 except unsupportedFilters. Those for sequences are in sequences.go.
var filters map[string]filterFunc

// unsupportedFilters are the Jinja2 filters that are not implemented, and why.
var unsupportedFilters = map[string]string{
	"pprint":    "chat templates do not need it",
	"random":    "its result is not defined",
	"striptags": "chat templates are not HTML",
	"urlize":    "chat templates are not HTML",
	"wordwrap":  "chat templates do not need it",
}

// filterProblem returns what is wrong with the filter named id, or "".
func filterProblem(id string) string {
	if why := unsupportedFilters[id]; why != "" {
		return "is not supported: " + why
	}
	if filters[id] == nil {
		return "does not exist"
	}
	return ""
}

func init() {
	filters = map[string]filterFunc{
		"abs":            filterAbs,
		"attr":           filterAttr,
		"batch":          filterBatch,
		"capitalize":     textFilter(capitalize),
		"center":         filterCenter,
		"count":          filterLength,
		"d":              filterDefault,
		"default":        filterDefault,
		"dictsort":       filterDictSort,
		"e":              filterEscape,
		"escape":         filterEscape,
		"filesizeformat": filterFileSize,
		"first":          filterFirst,
		"float":          filterFloat,
		"forceescape":    filterForceEscape,
		"format":         filterFormat,
		"groupby":        filterGroupBy,
		"indent":         filterIndent,
		"int":            filterInt,
		"items":          filterItems,
		"join":           filterJoin,
		"last":           filterLast,
		"length":         filterLength,
		"list":           filterList,
		"lower":          textFilter(lower),
		"map":            filterMap,
		"max":            func(r *run, v Value, c *callArgs) (Value, error) { return filterExtreme(r, v, c, ">") },
		"min":            func(r *run, v Value, c *callArgs) (Value, error) { return filterExtreme(r, v, c, "<") },
		"reject":         func(r *run, v Value, c *callArgs) (Value, error) { return selecting(r, v, c, false, 0) },
		"rejectattr":     func(r *run, v Value, c *callArgs) (Value, error) { return selecting(r, v, c, false, 1) },
		"replace":        filterReplace,
		"reverse":        filterReverse,
		"round":          filterRound,
		"safe":           filterSafe,
		"select":         func(r *run, v Value, c *callArgs) (Value, error) { return selecting(r, v, c, true, 0) },
		"selectattr":     func(r *run, v Value, c *callArgs) (Value, error) { return selecting(r, v, c, true, 1) },
		"slice":          filterSlice,
		"sort":           filterSort,
		"string":         filterString,
		"sum":            filterSum,
		"title":          textFilter(filterTitle),
		"tojson":         filterToJSON,
		"trim":           filterTrim,
		"truncate":       filterTruncate,
		"unique":         filterUnique,
		"upper":          textFilter(upper),
		"urlencode":      filterURLEncode,
		"wordcount":      filterWordCount,
		"xmlattr":        filterXMLAttr,
	}
}

// softText converts v to a string, keeping Markup as Markup.
func (r *run) softText(v Value) (Value, string, error) {
	if s, ok := asText(v); ok {
		return v, s, nil
	}
	s, err := r.str(v)
	return s, s, err
}

// textFilter turns a function on strings into a filter.
func textFilter(f func(string) string) filterFunc {
	return func(r *run, v Value, c *callArgs) (Value, error) {
		soft, s, err := r.softText(v)
		if err != nil {
			return nil, err
		}
		if err := c.none(); err != nil {
			return nil, err
		}
		s = f(s)
		return sameText(soft, s), r.alloc(len(s))
	}
}

func filterTitle(s string) string {
	var b strings.Builder
	first := true
	start := 0
	flush := func(end int) {
		word := s[start:end]
		_, size := utf8.DecodeRuneInString(word)
		b.WriteString(upper(word[:size]) + lower(word[size:]))
		start = end
	}
	for i, c := range s {
		separator := strings.ContainsRune("-({[<", c) || isSpace(c)
		if i > 0 && separator != first {
			flush(i)
		}
		first = separator
	}
	flush(len(s))
	return b.String()
}

func filterAbs(_ *run, v Value, c *callArgs) (Value, error) {
	if err := c.none(); err != nil {
		return nil, err
	}
	if f, ok := v.(float64); ok {
		return math.Abs(f), nil
	}
	n, ok := asInt(v)
	if !ok {
		return nil, typeError("bad operand type for abs(): '%s'", typeName(v))
	}
	if n < 0 {
		return signed("-", n)
	}
	return n, nil
}

func filterCenter(r *run, v Value, c *callArgs) (Value, error) {
	a, err := c.bind("width?")
	if err != nil {
		return nil, err
	}
	width, err := a.int(0, 80)
	if err != nil {
		return nil, err
	}
	soft, s, err := r.softText(v)
	if err != nil {
		return nil, err
	}
	s, err = r.padded(s, width, " ", padCenter)
	return sameText(soft, s), err
}

func filterDefault(_ *run, v Value, c *callArgs) (Value, error) {
	a, err := c.bind("default_value?", "boolean?")
	if err != nil {
		return nil, err
	}
	if _, ok := v.(*undefined); ok || a.truth(1) && !truth(v) {
		return a.value(0, ""), nil
	}
	return v, nil
}

func filterEscape(r *run, v Value, c *callArgs) (Value, error) {
	if m, ok := v.(markup); ok {
		return m, c.none()
	}
	return filterForceEscape(r, v, c)
}

func filterForceEscape(r *run, v Value, c *callArgs) (Value, error) {
	s, err := r.str(v)
	if err != nil {
		return nil, err
	}
	s = escapeHTML(s)
	if err := r.alloc(len(s)); err != nil {
		return nil, err
	}
	return markup(s), c.none()
}

func filterSafe(r *run, v Value, c *callArgs) (Value, error) {
	s, err := r.str(v)
	if err != nil {
		return nil, err
	}
	return markup(s), c.none()
}

func filterString(r *run, v Value, c *callArgs) (Value, error) {
	soft, _, err := r.softText(v)
	if err != nil {
		return nil, err
	}
	return soft, c.none()
}

func filterTrim(r *run, v Value, c *callArgs) (Value, error) {
	soft, s, err := r.softText(v)
	if err != nil {
		return nil, err
	}
	a, err := c.bind("chars?")
	if err != nil {
		return nil, err
	}
	return textMethods["strip"](textCall{r, soft, s, &callArgs{callee: "trim", values: []Value{a.nullable(0)}}})
}

func filterReplace(r *run, v Value, c *callArgs) (Value, error) {
	a, err := c.bind("old", "new", "count?")
	if err != nil {
		return nil, err
	}
	var s [3]string
	for i, v := range []Value{v, a[0], a[1]} {
		if s[i], err = r.str(v); err != nil {
			return nil, err
		}
	}
	n := -1
	if a.nullable(2) != nil {
		if n, err = a.int(2, -1); err != nil {
			return nil, err
		}
	}
	return r.replace(s[0], s[1], s[2], n)
}

func filterIndent(r *run, v Value, c *callArgs) (Value, error) {
	a, err := c.bind("width?", "first?", "blank?")
	if err != nil {
		return nil, err
	}
	s, ok := asText(v)
	if !ok {
		return nil, badOperands("+", v, "\n")
	}
	indent, ok := asText(a.value(0, 4))
	if !ok {
		width, err := a.int(0, 4)
		if err != nil {
			return nil, err
		}
		width = max(width, 0)
		if err := r.alloc(width); err != nil {
			return nil, err
		}
		indent = strings.Repeat(" ", width)
	}
	lines := splitLines(s+"\n", false)
	if size := product(len(lines), len(indent)); size < 0 || size+len(s) > maxText {
		return nil, r.alloc(-1)
	}
	for i, l := range lines {
		if i == 0 && a.truth(1) || i > 0 && (l != "" || a.truth(2)) {
			lines[i] = indent + l
		}
	}
	joined := strings.Join(lines, "\n")
	return sameText(v, joined), r.alloc(len(joined))
}

func filterTruncate(r *run, v Value, c *callArgs) (Value, error) {
	a, err := c.bind("length?", "killwords?", "end?", "leeway?")
	if err != nil {
		return nil, err
	}
	size, err := a.int(0, 255)
	if err != nil {
		return nil, err
	}
	end, err := a.text(2, "...")
	if err != nil {
		return nil, err
	}
	leeway := 5
	if a.nullable(3) != nil {
		if leeway, err = a.int(3, 5); err != nil {
			return nil, err
		}
	}
	if size < characters(end) || leeway < 0 {
		return nil, typeError("expected length >= %d and leeway >= 0, got %d and %d", characters(end), size, leeway)
	}
	n, ok := length(v)
	if !ok {
		return nil, typeError("object of type '%s' has no len()", typeName(v))
	}
	if n <= size+leeway {
		return v, nil
	}
	s, ok := asText(v)
	if !ok {
		return nil, notString(v)
	}
	s = substring(s, 0, size-characters(end))
	if !a.truth(1) {
		s = rsplitAt(s, " ", 1)[0]
	}
	return r.addText(sameText(v, s), a.value(2, end), s, end)
}

func filterURLEncode(r *run, v Value, c *callArgs) (Value, error) {
	if err := c.none(); err != nil {
		return nil, err
	}
	it, err := r.iterate(v)
	if _, isText := asText(v); isText || err != nil {
		s, err := r.str(v)
		if err != nil {
			return nil, err
		}
		return r.urlQuote(s, "/")
	}
	if d, ok := v.(*Dict); ok {
		it = (&view{d, "items"}).iterate()
	}
	pairs, err := r.items(it)
	if err != nil {
		return nil, err
	}
	parts := make([]Value, len(pairs))
	for i, p := range pairs {
		kv, err := r.unpack(p, 2)
		if err != nil {
			return nil, err
		}
		var s [2]string
		for k := range s {
			if s[k], err = r.str(kv[k]); err != nil {
				return nil, err
			}
			if s[k], err = r.urlQuote(s[k], ""); err != nil {
				return nil, err
			}
			s[k] = strings.ReplaceAll(s[k], "%20", "+")
		}
		parts[i] = s[0] + "=" + s[1]
	}
	return r.join("&", parts)
}

func (r *run) urlQuote(s, safe string) (string, error) {
	if err := r.alloc(3 * len(s)); err != nil {
		return "", err
	}
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c < utf8.RuneSelf && (isAlnum(rune(c)) || strings.IndexByte("_.-~"+safe, c) >= 0) {
			b.WriteByte(c)
		} else {
			b.WriteString("%" + strings.ToUpper(strconv.FormatUint(uint64(c)+0x100, 16)[1:]))
		}
	}
	return b.String(), nil
}

func filterWordCount(r *run, v Value, c *callArgs) (Value, error) {
	s, err := r.str(v)
	if err != nil {
		return nil, err
	}
	n, inWord := 0, false
	for _, c := range s {
		is := c == '_' || isAlnum(c)
		if is && !inWord {
			n++
		}
		inWord = is
	}
	return n, c.none()
}

func filterXMLAttr(r *run, v Value, c *callArgs) (Value, error) {
	a, err := c.bind("autospace?")
	if err != nil {
		return nil, err
	}
	d, ok := v.(*Dict)
	if !ok {
		return nil, typeError("xmlattr needs a mapping, not %s", typeName(v))
	}
	if err := r.step(len(d.keys)); err != nil {
		return nil, err
	}
	var parts []Value
	for i, k := range d.keys {
		if _, ok := d.values[i].(*undefined); ok || d.values[i] == nil {
			continue
		}
		key, ok := asText(k)
		if !ok {
			return nil, notString(k)
		}
		if strings.ContainsAny(key, " \t\n\v\f\r/>=") {
			return nil, typeError("invalid character in attribute name: %s", quote(key))
		}
		s, err := filterEscape(r, d.values[i], &callArgs{})
		if err != nil {
			return nil, err
		}
		parts = append(parts, escapeHTML(key)+`="`+string(s.(markup))+`"`)
	}
	s, err := r.join(" ", parts)
	if err == nil && s != "" && (a[0] == missing || truth(a[0])) {
		s = " " + s
	}
	return s, err
}

func filterInt(r *run, v Value, c *callArgs) (Value, error) {
	a, err := c.bind("default?", "base?")
	if err != nil {
		return nil, err
	}
	otherwise := a.value(0, 0)
	switch v := v.(type) {
	case *undefined:
		return nil, v
	case integer:
		return v, nil
	case float64:
		switch {
		case math.IsInf(v, 0):
			return nil, typeError("cannot convert float infinity to integer")
		case math.IsNaN(v):
			return otherwise, nil
		}
		return truncated(v)
	case string, markup:
		base, ok := asInt(a.value(1, 10))
		if !ok {
			base = noBase
		}
		s, _ := asText(v)
		return parseInt(s, base, otherwise)
	}
	if n, ok := asInt(v); ok {
		return n, nil
	}
	return otherwise, nil
}

func truncated(f float64) (Value, error) {
	if !(math.Abs(f) < 1<<63) {
		return nil, errBigInteger
	}
	return int(f), nil
}

// noBase makes parseInt parse s as a float, as Jinja2 does if the base is not a number.
const noBase = -1

// parseInt is int(s, base). A string that is not an integer is parsed as a float; if that fails too, the result is otherwise.
func parseInt(s string, base int, otherwise Value) (Value, error) {
	if hasOtherDigits(s) {
		return nil, unsupported("int of digits beyond ASCII")
	}
	s = strings.TrimFunc(s, isSpace)
	if n, ok, err := parseDigits(s, base); ok || err != nil {
		return n, err
	}
	f, ok := parseFloat(s)
	if !ok || math.IsInf(f, 0) || math.IsNaN(f) {
		return otherwise, nil
	}
	return truncated(f)
}

// hasOtherDigits reports whether s has non-ASCII digits, which Python also reads as numbers.
func hasOtherDigits(s string) bool {
	return strings.IndexFunc(s, func(c rune) bool { return c > unicode.MaxASCII && unicode.IsDigit(c) }) >= 0
}

// parseDigits parses an integer. ok is false if s is not one.
func parseDigits(s string, base int) (n int, ok bool, err error) {
	if base != 0 && (base < 2 || base > 36) {
		return 0, false, nil
	}
	minus := strings.HasPrefix(s, "-")
	if minus || strings.HasPrefix(s, "+") {
		s = s[1:]
	}
	prefixed := false
	for _, p := range []struct {
		letter string
		base   int
	}{{"b", 2}, {"o", 8}, {"x", 16}} {
		if len(s) > 1 && s[0] == '0' && strings.EqualFold(s[1:2], p.letter) && (base == p.base || base == 0) {
			s, base, prefixed = s[2:], p.base, true
			break
		}
	}
	if prefixed {
		s = strings.TrimPrefix(s, "_")
	}
	if base == 0 {
		if strings.Trim(s, "0_") != "" && strings.HasPrefix(s, "0") {
			return 0, false, nil
		}
		base = 10
	}
	if s == "" || s[0] == '_' || s[len(s)-1] == '_' || strings.Contains(s, "__") || s[0] == '+' || s[0] == '-' {
		return 0, false, nil
	}
	u, err := strconv.ParseUint(strings.ReplaceAll(s, "_", ""), base, 63)
	if err != nil {
		if e, isNum := err.(*strconv.NumError); isNum && e.Err == strconv.ErrRange {
			return 0, false, errBigInteger
		}
		return 0, false, nil
	}
	if minus {
		return -int(u), true, nil
	}
	return int(u), true, nil
}

// parseFloat is Python's float(s).
func parseFloat(s string) (float64, bool) {
	s = strings.ToLower(strings.TrimFunc(s, isSpace))
	digitsOnly := strings.TrimLeft(s, "+-")
	switch digitsOnly {
	case "inf", "infinity", "nan":
	default:
		if strings.Trim(digitsOnly, "0123456789._e+-") != "" || strings.Contains(digitsOnly, "__") {
			return 0, false
		}
		for i := range len(s) {
			if s[i] == '_' && (i == 0 || i == len(s)-1 || !isDecimal(s[i-1]) || !isDecimal(s[i+1])) {
				return 0, false
			}
		}
		s = strings.ReplaceAll(s, "_", "")
	}
	if digitsOnly == "nan" {
		return math.NaN(), len(s)-len(digitsOnly) <= 1
	}
	f, err := strconv.ParseFloat(s, 64)
	if e, isNum := err.(*strconv.NumError); isNum && e.Err == strconv.ErrRange {
		err = nil // infinity
	}
	return f, err == nil
}

func filterFloat(_ *run, v Value, c *callArgs) (Value, error) {
	a, err := c.bind("default?")
	if err != nil {
		return nil, err
	}
	otherwise := a.value(0, 0.0)
	switch v := v.(type) {
	case *undefined:
		return nil, v
	case integer:
		f, _ := parseFloat(string(v))
		return f, nil
	}
	if f, ok := asFloat(v); ok {
		return f, nil
	}
	if s, ok := asText(v); ok {
		if hasOtherDigits(s) {
			return nil, unsupported("float of digits beyond ASCII")
		}
		if f, ok := parseFloat(s); ok {
			return f, nil
		}
	}
	return otherwise, nil
}

func filterRound(_ *run, v Value, c *callArgs) (Value, error) {
	a, err := c.bind("precision?", "method?")
	if err != nil {
		return nil, err
	}
	precision := 0
	if a[0] != nil { // round(v, None) returns an integer
		if precision, err = a.int(0, 0); err != nil {
			return nil, err
		}
	}
	method, ok := asText(a.value(1, "common"))
	if !ok || method != "common" && method != "ceil" && method != "floor" {
		return nil, typeError("method must be common, ceil or floor")
	}
	n, isInt := asInt(v)
	f, isFloat := asFloat(v)
	switch {
	case !isFloat || a[0] == nil && method != "common":
		return nil, typeError("type %s doesn't define __round__ method", typeName(v))
	case precision < 0 || precision > 22:
		return nil, unsupported("rounding to " + strconv.Itoa(precision) + " digits")
	case isInt && method == "common":
		return n, nil
	case isInt:
		return f, nil
	case method == "common":
		if a[0] == nil {
			return truncated(math.RoundToEven(f))
		}
		if math.IsInf(f, 0) || math.IsNaN(f) {
			return f, nil
		}
		f, err = strconv.ParseFloat(strconv.FormatFloat(f, 'f', precision, 64), 64)
		return f, err
	}
	return roundDirected(f, precision, method)
}

// roundDirected rounds up or down: method(v · 10**precision) / 10**precision.
func roundDirected(f float64, precision int, method string) (Value, error) {
	scale := math.Pow10(precision)
	f *= scale
	if method == "ceil" {
		f = math.Ceil(f)
	} else {
		f = math.Floor(f)
	}
	switch {
	case math.IsInf(f, 0) || math.IsNaN(f):
		return nil, typeError("cannot convert %s to integer", floatRepr(f))
	case math.Abs(f) >= 1<<53:
		return nil, errBigInteger
	}
	if f == 0 {
		f = 0 // not -0: Python's ceil and floor return integers
	}
	return f / scale, nil
}

func filterFileSize(r *run, v Value, c *callArgs) (Value, error) {
	a, err := c.bind("binary?")
	if err != nil {
		return nil, err
	}
	f, ok := asFloat(v)
	if s, isText := asText(v); isText {
		f, ok = parseFloat(s)
	}
	if !ok {
		return nil, typeError("filesizeformat needs a number, not %s", typeName(v))
	}
	base, units := 1000.0, []string{"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"}
	if a.truth(0) {
		base, units = 1024, []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"}
	}
	switch {
	case f == 1:
		return "1 Byte", nil
	case f < base:
		n, err := truncated(f)
		if err != nil {
			return nil, err
		}
		return strconv.Itoa(n.(int)) + " Bytes", nil
	}
	for i := 0; ; i++ {
		unit := math.Pow10(3 * (i + 2))
		if base == 1024 {
			unit = math.Ldexp(1, 10*(i+2))
		}
		if f < unit || i == len(units)-1 {
			return floatDigits(base*f/unit, 'f', 1) + " " + units[i], nil
		}
	}
}

func filterFormat(r *run, v Value, c *callArgs) (Value, error) {
	if len(c.values) > 0 && len(c.names) > 0 {
		return nil, typeError("can't handle positional and keyword arguments at the same time")
	}
	soft, s, err := r.softText(v)
	if err != nil {
		return nil, err
	}
	if _, ok := soft.(markup); ok {
		return nil, unsupported("format of an escaped string")
	}
	if len(c.names) == 0 {
		return r.printf(s, &Tuple{c.values})
	}
	d := NewDict()
	for i, id := range c.names {
		d.Set(id, c.named[i])
	}
	return r.printf(s, d)
}
