package jinja

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
)

// jsonStyle is the formatting of json.dumps.
type jsonStyle struct {
	ascii         bool
	sortKeys      bool
	indented      bool
	indent        string
	itemSeparator string
	keySeparator  string
}

// filterToJSON is the tojson filter of transformers: json.dumps with ensure_ascii=False and keys in their original order.
func filterToJSON(r *run, v Value, c *callArgs) (Value, error) {
	a, err := c.bind("ensure_ascii?", "indent?", "separators?", "sort_keys?")
	if err != nil {
		return nil, err
	}
	style := jsonStyle{ascii: a.truth(0), sortKeys: a.truth(3), itemSeparator: ", ", keySeparator: ": "}
	if indent := a.nullable(1); indent != nil {
		style.indented, style.itemSeparator = true, ","
		if style.indent, err = r.jsonIndent(indent); err != nil {
			return nil, err
		}
	}
	if separators := a.nullable(2); separators != nil {
		pair, err := r.unpack(separators, 2)
		if err != nil {
			return nil, err
		}
		item, itemOK := asText(pair[0])
		key, keyOK := asText(pair[1])
		if !itemOK || !keyOK {
			return nil, typeError("separators must be strings")
		}
		style.itemSeparator, style.keySeparator = item, key
	}
	w := jsonWriter{run: r, jsonStyle: style}
	if err := w.value(v, 0); err != nil {
		return nil, err
	}
	return w.String(), r.alloc(w.Len())
}

func (r *run) jsonIndent(v Value) (string, error) {
	if s, ok := asText(v); ok {
		return s, nil
	}
	n, ok := asInt(v)
	if !ok {
		return "", notInteger(v)
	}
	n = max(n, 0)
	if err := r.alloc(n); err != nil {
		return "", err
	}
	return strings.Repeat(" ", n), nil
}

type jsonWriter struct {
	strings.Builder
	*run
	jsonStyle
}

func (w *jsonWriter) value(v Value, depth int) error {
	if depth > deepestValue {
		return errTooDeep
	}
	if w.Len() > maxText {
		return w.alloc(-1)
	}
	switch v := v.(type) {
	case string:
		w.text(v)
		return nil
	case markup:
		w.text(string(v))
		return nil
	case *Dict:
		return w.dict(v, depth)
	case *undefined:
		return v
	}
	if items, ok := sequence(v); ok {
		return w.list("[", "]", len(items), depth, func(i int) error { return w.value(items[i], depth+1) })
	}
	s, ok := jsonScalar(v)
	if !ok {
		return typeError("object of type %s is not JSON serializable", typeName(v))
	}
	w.WriteString(s)
	return nil
}

func jsonScalar(v Value) (string, bool) {
	switch v := v.(type) {
	case nil:
		return "null", true
	case bool:
		return strconv.FormatBool(v), true
	case int:
		return strconv.Itoa(v), true
	case integer:
		return string(v), true
	case float64:
		switch {
		case math.IsNaN(v):
			return "NaN", true
		case math.IsInf(v, 0):
			return strings.Replace(floatRepr(v), "inf", "Infinity", 1), true
		}
		return floatRepr(v), true
	}
	return "", false
}

// list writes n elements, each on its own line if indented.
func (w *jsonWriter) list(open, shut string, n, depth int, element func(i int) error) error {
	w.WriteString(open)
	for i := range n {
		if i > 0 {
			w.WriteString(w.itemSeparator)
		}
		if err := w.newline(depth + 1); err != nil {
			return err
		}
		if err := element(i); err != nil {
			return err
		}
	}
	if n > 0 {
		if err := w.newline(depth); err != nil {
			return err
		}
	}
	w.WriteString(shut)
	return nil
}

func (w *jsonWriter) newline(depth int) error {
	if !w.indented {
		return nil
	}
	if n := product(len(w.indent), depth); n < 0 || w.Len()+n > maxText {
		return w.alloc(-1)
	}
	w.WriteString("\n")
	w.WriteString(repeatText(w.indent, depth))
	return nil
}

func (w *jsonWriter) dict(d *Dict, depth int) error {
	order := make([]Value, len(d.keys))
	for i := range order {
		order[i] = i
	}
	if w.sortKeys {
		var err error
		if order, err = w.sorted(order, d.keys, false); err != nil {
			return err
		}
	}
	return w.list("{", "}", len(order), depth, func(i int) error {
		k := order[i].(int)
		key, ok := asText(d.keys[k])
		if !ok {
			if key, ok = jsonScalar(d.keys[k]); !ok {
				return typeError("keys must be str, int, float, bool or None, not %s", typeName(d.keys[k]))
			}
		}
		w.text(key)
		w.WriteString(w.keySeparator)
		return w.value(d.values[k], depth+1)
	})
}

var jsonEscapes = map[rune]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\f': `\f`, '\b': `\b`}

func (w *jsonWriter) text(s string) {
	w.WriteByte('"')
	clean := 0
	for i, c := range s {
		if c != '"' && c != '\\' && c >= ' ' && (c <= '~' || !w.ascii) {
			continue
		}
		w.WriteString(s[clean:i])
		clean = i + len(string(c))
		if e, ok := jsonEscapes[c]; ok {
			w.WriteString(e)
		} else if c >= 0x10000 {
			high, low := utf16.EncodeRune(c)
			fmt.Fprintf(w, `\u%04x\u%04x`, high, low)
		} else {
			fmt.Fprintf(w, `\u%04x`, c)
		}
	}
	w.WriteString(s[clean:])
	w.WriteByte('"')
}
