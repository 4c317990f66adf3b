package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// textCall is a call of a method of the string s. self is the same string as str or Markup.
type textCall struct {
	*run
	self Value
	s    string
	args *callArgs
}

// textMethod returns the method id of a string.
func textMethod(self Value, s, id string) (Value, bool) {
	m, ok := textMethods[id]
	if !ok {
		return nil, false
	}
	return &method{self, id, func(r *run, c *callArgs) (Value, error) {
		if err := r.step(len(s) >> 4); err != nil {
			return nil, err
		}
		return m(textCall{r, self, s, c})
	}}, true
}

var textMethods map[string]func(t textCall) (Value, error)

func init() {
	textMethods = map[string]func(t textCall) (Value, error){
		"capitalize":   func(t textCall) (Value, error) { return t.whole(capitalize) },
		"casefold":     textCasefold,
		"center":       func(t textCall) (Value, error) { return t.pad(padCenter) },
		"count":        textCount,
		"endswith":     func(t textCall) (Value, error) { return t.affix(strings.HasSuffix) },
		"expandtabs":   textExpandTabs,
		"find":         func(t textCall) (Value, error) { return t.find(strings.Index) },
		"format":       textFormat,
		"format_map":   textFormatMap,
		"index":        func(t textCall) (Value, error) { return t.index(strings.Index) },
		"isalnum":      func(t textCall) (Value, error) { return t.every(isAlnum) },
		"isalpha":      func(t textCall) (Value, error) { return t.every(unicode.IsLetter) },
		"isascii":      func(t textCall) (Value, error) { return isASCII(t.s), t.args.none() },
		"isdecimal":    func(t textCall) (Value, error) { return t.every(unicode.IsDigit) },
		"isdigit":      textIsDigit,
		"isidentifier": func(t textCall) (Value, error) { return t.s != "" && nameLength(t.s) == len(t.s), t.args.none() },
		"islower":      func(t textCall) (Value, error) { return isLower(t.s), t.args.none() },
		"isnumeric":    textIsNumeric,
		"isprintable": func(t textCall) (Value, error) {
			return strings.IndexFunc(t.s, func(c rune) bool { return !isPrintable(c) }) < 0, t.args.none()
		},
		"isspace":      func(t textCall) (Value, error) { return t.every(isSpace) },
		"istitle":      func(t textCall) (Value, error) { return isTitle(t.s), t.args.none() },
		"isupper":      func(t textCall) (Value, error) { return isUpper(t.s), t.args.none() },
		"join":         textJoin,
		"ljust":        func(t textCall) (Value, error) { return t.pad(func(_, n int) (int, int) { return 0, n }) },
		"lower":        func(t textCall) (Value, error) { return t.whole(lower) },
		"lstrip":       func(t textCall) (Value, error) { return t.strip(strings.TrimLeftFunc) },
		"partition":    textPartition,
		"removeprefix": func(t textCall) (Value, error) { return t.remove(strings.TrimPrefix) },
		"removesuffix": func(t textCall) (Value, error) { return t.remove(strings.TrimSuffix) },
		"replace":      textReplace,
		"rfind":        func(t textCall) (Value, error) { return t.find(strings.LastIndex) },
		"rindex":       func(t textCall) (Value, error) { return t.index(strings.LastIndex) },
		"rjust":        func(t textCall) (Value, error) { return t.pad(func(_, n int) (int, int) { return n, 0 }) },
		"rpartition":   textRPartition,
		"rsplit":       func(t textCall) (Value, error) { return t.split(rsplitSpaces, rsplitAt) },
		"rstrip":       func(t textCall) (Value, error) { return t.strip(strings.TrimRightFunc) },
		"split":        func(t textCall) (Value, error) { return t.split(splitSpaces, splitAt) },
		"splitlines":   textSplitLines,
		"startswith":   func(t textCall) (Value, error) { return t.affix(strings.HasPrefix) },
		"strip":        func(t textCall) (Value, error) { return t.strip(strings.TrimFunc) },
		"swapcase":     func(t textCall) (Value, error) { return t.whole(swapCase) },
		"title":        func(t textCall) (Value, error) { return t.whole(title) },
		"upper":        func(t textCall) (Value, error) { return t.whole(upper) },
		"zfill":        textZfill,
	}
}

// whole implements a method without arguments.
func (t textCall) whole(f func(string) string) (Value, error) {
	if err := t.args.none(); err != nil {
		return nil, err
	}
	return t.result(f(t.s))
}

func (t textCall) result(s string) (Value, error) { return sameText(t.self, s), t.alloc(len(s)) }

func (t textCall) results(list []string) (Value, error) {
	items := make([]Value, len(list))
	for i, s := range list {
		items[i] = sameText(t.self, s)
	}
	return &List{items}, nil
}

// every implements a method that tests all characters. It is false for an empty string.
func (t textCall) every(is func(rune) bool) (Value, error) {
	return t.s != "" && strings.IndexFunc(t.s, func(c rune) bool { return !is(c) }) < 0, t.args.none()
}

func isAlnum(c rune) bool { return unicode.IsLetter(c) || unicode.IsNumber(c) }

func isLower(s string) bool {
	cased := false
	for _, c := range s {
		if isUpperRune(c) || unicode.Is(unicode.Lt, c) {
			return false
		}
		cased = cased || isLowerRune(c)
	}
	return cased
}

func isUpper(s string) bool {
	cased := false
	for _, c := range s {
		if isLowerRune(c) || unicode.Is(unicode.Lt, c) {
			return false
		}
		cased = cased || isUpperRune(c)
	}
	return cased
}

func isTitle(s string) bool {
	cased, inWord := false, false
	for _, c := range s {
		switch {
		case isUpperRune(c) || unicode.Is(unicode.Lt, c):
			if inWord {
				return false
			}
			cased, inWord = true, true
		case isLowerRune(c):
			if !inWord {
				return false
			}
		default:
			inWord = false
		}
	}
	return cased
}

func textCasefold(t textCall) (Value, error) {
	if !isASCII(t.s) {
		return nil, unsupported("casefold of characters beyond ASCII")
	}
	return t.whole(strings.ToLower)
}

func textIsDigit(t textCall) (Value, error) {
	return t.every(func(c rune) bool { return unicode.IsDigit(c) || unicode.Is(otherDigits, c) })
}

func textIsNumeric(t textCall) (Value, error) {
	if strings.IndexFunc(t.s, func(c rune) bool { return c > 0x7f && unicode.Is(unicode.Lo, c) }) >= 0 {
		return nil, unsupported("isnumeric of ideographs")
	}
	return t.every(unicode.IsNumber)
}

// find implements find and rfind; index implements index and rindex, which require a match.
func (t textCall) find(search func(s, sub string) int) (Value, error) {
	a, err := t.args.bind("/", "sub", "start?", "end?")
	if err != nil {
		return nil, err
	}
	sub, err := a.text(0, "")
	if err != nil {
		return nil, err
	}
	part, start, ok, err := t.window(a, 1)
	if err != nil || !ok {
		return -1, err
	}
	i := search(part, sub)
	if i < 0 {
		return -1, nil
	}
	return start + characters(part[:i]), nil
}

func (t textCall) index(search func(s, sub string) int) (Value, error) {
	v, err := t.find(search)
	if err == nil && v == Value(-1) {
		return nil, typeError("substring not found")
	}
	return v, err
}

// window returns the part of the string that the parameters at and at+1 select, and the index of its first character.
// ok is false if start is past the end of the string, where not even an empty string is found.
func (t textCall) window(a bound, at int) (part string, start int, ok bool, err error) {
	n := characters(t.s)
	start, stop, err := a.window(at, n)
	if err != nil {
		return "", 0, false, err
	}
	if first, given := asInt(a.nullable(at)); given && first > n || start > stop {
		return "", 0, false, nil
	}
	return substring(t.s, start, stop), start, true, nil
}

func textCount(t textCall) (Value, error) {
	a, err := t.args.bind("/", "sub", "start?", "end?")
	if err != nil {
		return nil, err
	}
	sub, err := a.text(0, "")
	if err != nil {
		return nil, err
	}
	part, _, ok, err := t.window(a, 1)
	if err != nil || !ok {
		return 0, err
	}
	return strings.Count(part, sub), nil
}

// affix implements startswith and endswith. The argument may be a tuple.
func (t textCall) affix(has func(s, affix string) bool) (Value, error) {
	a, err := t.args.bind("/", "affix", "start?", "end?")
	if err != nil {
		return nil, err
	}
	part, _, ok, err := t.window(a, 1)
	if err != nil {
		return nil, err
	}
	affixes := []Value{a[0]}
	if items, seq := sequence(a[0]); seq && isTuple(a[0]) {
		affixes = items
	}
	if err := t.step(len(affixes)); err != nil {
		return nil, err
	}
	for _, v := range affixes {
		affix, isText := asText(v)
		if !isText {
			return nil, notString(v)
		}
		if ok && has(part, affix) {
			return true, nil
		}
	}
	return false, nil
}

func textJoin(t textCall) (Value, error) {
	a, err := t.args.bind("/", "iterable")
	if err != nil {
		return nil, err
	}
	items, err := t.items(a[0])
	if err != nil {
		return nil, err
	}
	for i, v := range items {
		if _, ok := asText(v); !ok {
			return nil, typeError("sequence item %d: expected str instance, %s found", i, typeName(v))
		}
	}
	return t.join(t.s, items)
}

// strip removes whitespace or the given characters.
func (t textCall) strip(trim func(s string, f func(rune) bool) string) (Value, error) {
	a, err := t.args.bind("/", "chars?")
	if err != nil {
		return nil, err
	}
	if a.nullable(0) == nil {
		return t.result(trim(t.s, isSpace))
	}
	chars, err := a.text(0, "")
	if err != nil {
		return nil, err
	}
	if err := t.scan(chars); err != nil {
		return nil, err
	}
	set := map[rune]bool{}
	for _, c := range chars {
		set[c] = true
	}
	return t.result(trim(t.s, func(c rune) bool { return set[c] }))
}

func (t textCall) remove(trim func(s, affix string) string) (Value, error) {
	a, err := t.args.bind("/", "affix")
	if err != nil {
		return nil, err
	}
	affix, err := a.text(0, "")
	if err != nil {
		return nil, err
	}
	return t.result(trim(t.s, affix))
}

func textReplace(t textCall) (Value, error) {
	a, err := t.args.bind("/", "old", "new", "count?")
	if err != nil {
		return nil, err
	}
	from, err := a.text(0, "")
	if err != nil {
		return nil, err
	}
	to, err := a.text(1, "")
	if err != nil {
		return nil, err
	}
	n, err := a.int(2, -1)
	if err != nil {
		return nil, err
	}
	return t.replace(t.s, from, to, n)
}

// replace is str.replace. A negative n replaces all occurrences.
func (r *run) replace(s, from, to string, n int) (string, error) {
	if extra := len(to) - len(from); extra > 0 {
		found := strings.Count(s, from)
		if n >= 0 {
			found = min(found, n)
		}
		if grown := product(found, extra); grown < 0 || grown+len(s) > maxText {
			return "", r.alloc(-1)
		}
	}
	s = strings.Replace(s, from, to, n)
	return s, r.alloc(len(s))
}

// pad implements center, ljust, and rjust. share divides n missing characters between the two sides.
func (t textCall) pad(share func(width, n int) (left, right int)) (Value, error) {
	a, err := t.args.bind("/", "width", "fill?")
	if err != nil {
		return nil, err
	}
	width, err := a.int(0, 0)
	if err != nil {
		return nil, err
	}
	fill, err := a.text(1, " ")
	if err != nil {
		return nil, err
	}
	if characters(fill) != 1 {
		return nil, typeError("the fill character must be exactly one character long")
	}
	s, err := t.padded(t.s, width, fill, share)
	return sameText(t.self, s), err
}

func (r *run) padded(s string, width int, fill string, share func(width, n int) (int, int)) (string, error) {
	n := width - characters(s)
	if n <= 0 {
		return s, nil
	}
	if size := product(n, len(fill)); size < 0 || size+len(s) > maxText {
		return "", r.alloc(-1)
	}
	left, right := share(width, n)
	s = strings.Repeat(fill, left) + s + strings.Repeat(fill, right)
	return s, r.alloc(len(s))
}

// padCenter divides an odd number as str.center does.
func padCenter(width, n int) (left, right int) {
	left = n/2 + n&width&1
	return left, n - left
}

func textZfill(t textCall) (Value, error) {
	a, err := t.args.bind("/", "width")
	if err != nil {
		return nil, err
	}
	width, err := a.int(0, 0)
	if err != nil {
		return nil, err
	}
	sign := ""
	if rest := t.s; rest != "" && (rest[0] == '+' || rest[0] == '-') {
		sign = rest[:1]
	}
	s, err := t.padded(t.s[len(sign):], width-len(sign), "0", func(_, n int) (int, int) { return n, 0 })
	return sameText(t.self, sign+s), err
}

func textExpandTabs(t textCall) (Value, error) {
	a, err := t.args.bind("tabsize?")
	if err != nil {
		return nil, err
	}
	size, err := a.int(0, 8)
	if err != nil {
		return nil, err
	}
	if grown := product(strings.Count(t.s, "\t"), max(size, 0)); grown < 0 || grown+len(t.s) > maxText {
		return nil, t.alloc(-1)
	}
	var b strings.Builder
	column := 0
	for _, c := range t.s {
		switch {
		case c == '\t' && size > 0:
			n := size - column%size
			column += n
			b.WriteString(strings.Repeat(" ", n))
			continue
		case c == '\t':
			continue
		case c == '\n' || c == '\r':
			column = 0
		default:
			column++
		}
		b.WriteRune(c)
	}
	return t.result(b.String())
}

func textSplitLines(t textCall) (Value, error) {
	a, err := t.args.bind("keepends?")
	if err != nil {
		return nil, err
	}
	keepEnds, err := a.int(0, 0)
	if err != nil {
		return nil, err
	}
	if err := t.countItems(isLineEnd); err != nil {
		return nil, err
	}
	return t.results(splitLines(t.s, keepEnds != 0))
}

// split implements split and rsplit, at whitespace or at a separator.
func (t textCall) split(spaces func(s string, n int) []string, at func(s, sep string, n int) []string) (Value, error) {
	a, err := t.args.bind("sep?", "maxsplit?")
	if err != nil {
		return nil, err
	}
	n, err := a.int(1, -1)
	if err != nil {
		return nil, err
	}
	if n < 0 {
		n = len(t.s)
	}
	if a.nullable(0) == nil {
		if err := t.countItems(isSpace); err != nil {
			return nil, err
		}
		return t.results(spaces(t.s, n))
	}
	sep, err := a.text(0, "")
	if err != nil {
		return nil, err
	}
	if sep == "" {
		return nil, typeError("empty separator")
	}
	if err := t.allocItems(min(n, strings.Count(t.s, sep)) + 1); err != nil {
		return nil, err
	}
	return t.results(at(t.s, sep, n))
}

// countItems charges for the list that splitting at some characters is about to create.
func (t textCall) countItems(splits func(rune) bool) error {
	n := 1
	for _, c := range t.s {
		if splits(c) {
			n++
		}
	}
	return t.allocItems(n)
}

func splitAt(s, sep string, n int) []string {
	var parts []string
	for ; n > 0; n-- {
		head, tail, ok := strings.Cut(s, sep)
		if !ok {
			break
		}
		parts = append(parts, head)
		s = tail
	}
	return append(parts, s)
}

func rsplitAt(s, sep string, n int) []string {
	var parts []string
	for ; n > 0; n-- {
		i := strings.LastIndex(s, sep)
		if i < 0 {
			break
		}
		parts = append(parts, s[i+len(sep):])
		s = s[:i]
	}
	return backwards(append(parts, s))
}

func splitSpaces(s string, n int) []string {
	var parts []string
	for s = strings.TrimLeftFunc(s, isSpace); s != ""; s = strings.TrimLeftFunc(s, isSpace) {
		end := strings.IndexFunc(s, isSpace)
		if end < 0 || n == 0 {
			return append(parts, s)
		}
		parts = append(parts, s[:end])
		s = s[end:]
		n--
	}
	return parts
}

func rsplitSpaces(s string, n int) []string {
	var parts []string
	for s = strings.TrimRightFunc(s, isSpace); s != ""; s = strings.TrimRightFunc(s, isSpace) {
		i := strings.LastIndexFunc(s, isSpace)
		if i < 0 || n == 0 {
			return backwards(append(parts, s))
		}
		_, size := utf8.DecodeRuneInString(s[i:])
		parts = append(parts, s[i+size:])
		s = s[:i]
		n--
	}
	return backwards(parts)
}

func backwards(parts []string) []string {
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return parts
}

func textPartition(t textCall) (Value, error) {
	return t.parts(func(sep string) [3]string {
		head, tail, ok := strings.Cut(t.s, sep)
		if !ok {
			return [3]string{t.s}
		}
		return [3]string{head, sep, tail}
	})
}

func textRPartition(t textCall) (Value, error) {
	return t.parts(func(sep string) [3]string {
		i := strings.LastIndex(t.s, sep)
		if i < 0 {
			return [3]string{2: t.s}
		}
		return [3]string{t.s[:i], sep, t.s[i+len(sep):]}
	})
}

func (t textCall) parts(cut func(sep string) [3]string) (Value, error) {
	a, err := t.args.bind("/", "sep")
	if err != nil {
		return nil, err
	}
	sep, err := a.text(0, "")
	if err != nil {
		return nil, err
	}
	if sep == "" {
		return nil, typeError("empty separator")
	}
	tuple := &Tuple{}
	for _, s := range cut(sep) {
		tuple.Items = append(tuple.Items, sameText(t.self, s))
	}
	return tuple, nil
}
