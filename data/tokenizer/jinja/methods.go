package jinja

import "slices"

// methodOf returns the method id of v for a later call.
func methodOf(v Value, id string) (Value, bool) {
	switch v := v.(type) {
	case string:
		if m, ok := textMethod(v, v, id); ok {
			return m, true
		}
	case markup:
		if _, escapes := markupMethods[id]; escapes {
			return &method{v, id, refuseMethod}, true
		}
		if m, ok := textMethod(v, string(v), id); ok {
			return m, true
		}
	case *Dict:
		if m, ok := dictMethods[id]; ok {
			return &method{v, id, func(r *run, c *callArgs) (Value, error) { return m(r, v, c) }}, true
		}
	case *List, *Tuple, *group:
		if m, ok := listMethods[id]; ok && (id != "copy" || !isTuple(v)) {
			return &method{v, id, func(r *run, c *callArgs) (Value, error) { return m(r, v, c) }}, true
		}
	case *function:
		if v.id == "dict" && id == "fromkeys" {
			return &method{v, id, dictFromKeys}, true
		}
	case int, bool:
		n, _ := asInt(v)
		if a, ok := map[string]int{"real": n, "numerator": n, "imag": 0, "denominator": 1}[id]; ok {
			return a, true
		}
	case float64:
		if a, ok := map[string]float64{"real": v, "imag": 0}[id]; ok {
			return a, true
		}
	}
	if slices.Contains(otherMethods[typeName(v)], id) {
		return &method{v, id, refuseMethod}, true
	}
	return nil, false
}

// otherMethods lists other methods of Python's types, which templates cannot use here. They are defined, but calling
// them is an error.
var otherMethods = map[string][]string{
	"str":    {"encode", "maketrans", "translate"},
	"Markup": {"encode", "maketrans", "translate", "escape", "unescape", "striptags"},
	"bool":   {"as_integer_ratio", "bit_count", "bit_length", "conjugate", "from_bytes", "to_bytes"},
	"int":    {"as_integer_ratio", "bit_count", "bit_length", "conjugate", "from_bytes", "to_bytes"},
	"float":  {"as_integer_ratio", "conjugate", "fromhex", "hex", "is_integer"},
	"range":  {"count", "index"},

	"dict_keys":   {"isdisjoint", "mapping"},
	"dict_values": {"mapping"},
	"dict_items":  {"isdisjoint", "mapping"},
	"generator":   {"close", "send", "throw", "gi_running", "gi_suspended", "gi_yieldfrom"},
	"Macro":       {"caller", "catch_kwargs", "catch_varargs", "explicit_caller"},
}

// markupMethods lists the methods of Markup that escape their arguments.
var markupMethods = map[string]bool{"format": true, "format_map": true, "join": true, "replace": true, "ljust": true, "rjust": true, "center": true}

func refuseMethod(_ *run, c *callArgs) (Value, error) {
	return nil, unsupported("the method " + c.callee)
}

var dictMethods map[string]func(r *run, d *Dict, c *callArgs) (Value, error)

var listMethods map[string]func(r *run, v Value, c *callArgs) (Value, error)

func init() {
	dictMethods = map[string]func(r *run, d *Dict, c *callArgs) (Value, error){
		"get":    dictGet,
		"items":  func(_ *run, d *Dict, c *callArgs) (Value, error) { return &view{d, "items"}, c.none() },
		"keys":   func(_ *run, d *Dict, c *callArgs) (Value, error) { return &view{d, "keys"}, c.none() },
		"values": func(_ *run, d *Dict, c *callArgs) (Value, error) { return &view{d, "values"}, c.none() },
		"copy": func(r *run, d *Dict, c *callArgs) (Value, error) {
			if err := c.none(); err != nil {
				return nil, err
			}
			return d.copy(), r.allocItems(4 * len(d.keys))
		},
		"fromkeys": func(r *run, _ *Dict, c *callArgs) (Value, error) { return dictFromKeys(r, c) },
	}
	listMethods = map[string]func(r *run, v Value, c *callArgs) (Value, error){
		"index": listIndex,
		"count": listCount,
		"copy": func(_ *run, v Value, c *callArgs) (Value, error) {
			items, _ := sequence(v)
			return &List{items}, c.none()
		},
	}
}

func dictGet(r *run, d *Dict, c *callArgs) (Value, error) {
	a, err := c.bind("/", "key", "default?")
	if err != nil {
		return nil, err
	}
	v, ok, err := r.lookup(d, a[0])
	if err != nil || ok {
		return v, err
	}
	return a.nullable(1), nil
}

func dictFromKeys(r *run, c *callArgs) (Value, error) {
	a, err := c.bind("/", "iterable", "value?")
	if err != nil {
		return nil, err
	}
	keys, err := r.items(a[0])
	if err != nil {
		return nil, err
	}
	d := NewDict()
	for _, k := range keys {
		if err := r.store(d, k, a.nullable(1)); err != nil {
			return nil, err
		}
	}
	return d, r.allocItems(4 * len(keys))
}

func listIndex(r *run, v Value, c *callArgs) (Value, error) {
	a, err := c.bind("/", "value", "start?", "stop?")
	if err != nil {
		return nil, err
	}
	items, _ := sequence(v)
	start, stop, err := a.window(1, len(items))
	if err != nil {
		return nil, err
	}
	for i := start; i < stop; i++ {
		if same, err := r.identical(items[i], a[0], 0); err != nil || same {
			return i, err
		}
	}
	return nil, typeError("%s is not in %s", shortRepr(a[0]), typeName(v))
}

func listCount(r *run, v Value, c *callArgs) (Value, error) {
	a, err := c.bind("/", "value")
	if err != nil {
		return nil, err
	}
	items, _ := sequence(v)
	n := 0
	for _, item := range items {
		same, err := r.identical(item, a[0], 0)
		if err != nil {
			return nil, err
		}
		if same {
			n++
		}
	}
	return n, nil
}

// window returns the range of n items that the parameters at and at+1 select, as in a slice.
func (b bound) window(at, n int) (start, stop int, err error) {
	of, err := sliceIndices([3]Value{b.nullable(at), b.nullable(at + 1)}, n)
	if err != nil {
		return 0, 0, err
	}
	return of.start, of.stop, nil
}
