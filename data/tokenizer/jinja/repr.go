package jinja

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
)

// str is Python's str(v), the text that is printed. A missing dict key is recorded, because nothing is printed for it.
func (r *run) str(v Value) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case markup:
		return string(v), nil
	case *undefined:
		r.noteMissing(v)
		return "", nil
	}
	s, err := repr(v)
	if err != nil {
		return "", err
	}
	return s, r.alloc(len(s))
}

// maxMissing limits the number of missing keys recorded.
const maxMissing = 10000

func (r *run) noteMissing(u *undefined) {
	key, ok := u.key.(string)
	at := missingKey{u.dict, key}
	if !ok || u.dict == nil || r.noted[at] || len(r.missing) == maxMissing {
		return
	}
	if r.noted == nil {
		r.noted = map[missingKey]bool{}
	}
	r.noted[at] = true
	r.missing = append(r.missing, MissingKey{u.dict, key, r.line})
}

// repr is Python's repr(v).
func repr(v Value) (string, error) {
	var w reprWriter
	err := w.value(v, 0)
	return w.String(), err
}

// shortRepr is a truncated repr for error messages.
func shortRepr(v Value) string {
	s, err := repr(v)
	if err != nil {
		return "a " + typeName(v)
	}
	return s
}

type reprWriter struct{ strings.Builder }

func (w *reprWriter) value(v Value, depth int) error {
	if depth > deepestValue {
		return errTooDeep
	}
	if w.Len() > maxText {
		return errors.New("a string is longer than 16 MiB")
	}
	switch v := v.(type) {
	case nil:
		w.WriteString("None")
	case bool:
		w.WriteString(map[bool]string{true: "True", false: "False"}[v])
	case int:
		w.WriteString(strconv.Itoa(v))
	case integer:
		w.WriteString(string(v))
	case float64:
		w.WriteString(floatRepr(v))
	case string:
		w.WriteString(quote(v))
	case markup:
		w.WriteString("Markup(" + quote(string(v)) + ")")
	case *List:
		return w.items("[", v.Items, "]", depth)
	case *Tuple:
		return w.tuple(v.Items, depth)
	case *group:
		return w.tuple(v.Items, depth)
	case *Dict:
		return w.dict(v, depth)
	case *numbers:
		w.numbers(v)
	case *view:
		return w.view(v, depth)
	case *namespace:
		w.WriteString("<Namespace ")
		if err := w.dict(v.attrs, depth+1); err != nil {
			return err
		}
		w.WriteString(">")
	case *undefined:
		w.WriteString("Undefined")
	case *macroValue:
		if v.id == "" {
			w.WriteString("<Macro anonymous>")
		} else {
			w.WriteString("<Macro " + quote(v.id) + ">")
		}
	case *loopValue:
		if _, err := v.length(); err != nil {
			return err
		}
		w.WriteString(v.String())
	default:
		return typeError("printing a %s would print its address", typeName(v))
	}
	return nil
}

func (w *reprWriter) items(open string, items []Value, shut string, depth int) error {
	w.WriteString(open)
	for i, item := range items {
		if i > 0 {
			w.WriteString(", ")
		}
		if err := w.value(item, depth+1); err != nil {
			return err
		}
	}
	w.WriteString(shut)
	return nil
}

func (w *reprWriter) tuple(items []Value, depth int) error {
	if len(items) == 1 {
		return w.items("(", items, ",)", depth)
	}
	return w.items("(", items, ")", depth)
}

func (w *reprWriter) dict(d *Dict, depth int) error {
	w.WriteString("{")
	for i, k := range d.keys {
		if i > 0 {
			w.WriteString(", ")
		}
		if err := w.value(k, depth+1); err != nil {
			return err
		}
		w.WriteString(": ")
		if err := w.value(d.values[i], depth+1); err != nil {
			return err
		}
	}
	w.WriteString("}")
	return nil
}

func (w *reprWriter) numbers(n *numbers) {
	if n.step == 1 {
		fmt.Fprintf(w, "range(%d, %d)", n.start, n.stop)
	} else {
		fmt.Fprintf(w, "range(%d, %d, %d)", n.start, n.stop, n.step)
	}
}

func (w *reprWriter) view(v *view, depth int) error {
	w.WriteString("dict_" + v.of + "(")
	items := make([]Value, len(v.dict.keys))
	for i := range items {
		items[i] = v.at(i)
	}
	if err := w.items("[", items, "]", depth+1); err != nil {
		return err
	}
	w.WriteString(")")
	return nil
}

// floatRepr formats a float as Python does: the shortest digits that round-trip, an exponent below 1e-4 and from 1e16
// on, and always a point or an exponent.
func floatRepr(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// quote formats a string as Python's repr does.
func quote(s string) string {
	mark := '\''
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		mark = '"'
	}
	var b strings.Builder
	b.WriteRune(mark)
	for _, c := range s {
		switch {
		case c == mark || c == '\\':
			b.WriteRune('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case !isPrintable(c):
			b.WriteString(escapeRune(c))
		default:
			b.WriteRune(c)
		}
	}
	b.WriteRune(mark)
	return b.String()
}

// isPrintable is Python's str.isprintable for one character.
func isPrintable(c rune) bool {
	if c < 0x80 {
		return ' ' <= c && c < 0x7f
	}
	return unicode.IsPrint(c)
}
