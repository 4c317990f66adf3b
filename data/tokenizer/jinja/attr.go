package jinja

import (
	"math"
	"slices"
	"strings"
)

// attribute evaluates v.id: an attribute of the value if Python has one, otherwise the item with that key.
func (r *run) attribute(v Value, id string) (Value, error) {
	a, ok, err := r.attributeOnly(v, id)
	if err != nil || ok {
		return a, err
	}
	if d, ok := v.(*Dict); ok {
		if item, ok := d.Get(id); ok {
			return item, nil
		}
	}
	return lacks(v, id), nil
}

// attributeOnly is Python's getattr in Jinja2's sandbox, which hides names that begin with an underscore and methods
// that modify a list or dict.
func (r *run) attributeOnly(v Value, id string) (Value, bool, error) {
	if ns, ok := v.(*namespace); ok {
		a, ok := ns.attrs.Get(id)
		return a, ok, nil
	}
	if strings.HasPrefix(id, "__") && slices.Contains(dunders, id) || slices.Contains(changing[typeName(v)], id) {
		return &undefined{hint: "access to attribute " + quote(id) + " of '" + typeName(v) + "' object is unsafe"}, true, nil
	}
	switch v := v.(type) {
	case *undefined:
		return nil, false, v
	case *loopValue:
		return v.attr(id)
	case *macroValue:
		a, ok := v.attr(id)
		return a, ok, r.allocItems(len(v.args))
	case *cycler:
		a, ok := v.attr(id)
		return a, ok, nil
	case *group:
		switch id {
		case "grouper":
			return v.Items[0], true, nil
		case "list":
			return v.Items[1], true, nil
		}
	case *numbers:
		switch id {
		case "start":
			return v.start, true, nil
		case "stop":
			return v.stop, true, nil
		case "step":
			return v.step, true, nil
		}
	}
	m, ok := methodOf(v, id)
	return m, ok, nil
}

// item evaluates v[index]: the item if there is one, otherwise the attribute with that name.
func (r *run) item(v, index Value) (Value, error) {
	if u, ok := v.(*undefined); ok {
		return nil, u
	}
	if d, ok := v.(*Dict); ok {
		if item, ok, err := r.lookup(d, index); err == nil && ok {
			return item, nil
		}
	} else if i, ok := asInt(index); ok {
		if err := r.scan(v); err != nil {
			return nil, err
		}
		if item, ok := r.at(v, i); ok {
			return item, nil
		}
	}
	if id, ok := asText(index); ok {
		a, ok, err := r.attributeOnly(v, id)
		if err != nil || ok {
			return a, err
		}
	}
	return lacks(v, index), nil
}

// at returns item i of a sequence. Negative indices count from the end.
func (r *run) at(v Value, i int) (Value, bool) {
	n, ok := length(v)
	if !ok {
		return nil, false
	}
	if i < 0 {
		i += n
	}
	if i < 0 || i >= n {
		return nil, false
	}
	if items, ok := sequence(v); ok {
		return items[i], true
	}
	switch s := v.(type) {
	case string, markup:
		t, _ := asText(s)
		return sameText(v, substring(t, i, i+1)), true
	case *numbers:
		return s.start + i*s.step, true
	}
	return nil, false
}

// lacks returns the result of looking up a key that v does not have.
func lacks(v, key Value) Value {
	u := &undefined{object: v, key: key}
	u.dict, _ = v.(*Dict)
	return u
}

// slice evaluates v[start:stop:step].
func (r *run) slice(v Value, bounds [3]Value) (Value, error) {
	n, ok := length(v)
	if u, is := v.(*undefined); is {
		return nil, u
	}
	items, isSequence := sequence(v)
	s, isText := asText(v)
	ns, isRange := v.(*numbers)
	if !ok || !isSequence && !isText && !isRange {
		return nil, typeError("'%s' object cannot be sliced", typeName(v))
	}
	of, err := sliceIndices(bounds, n)
	if err != nil {
		return nil, err
	}
	switch {
	case isRange:
		step, ok := multiply(ns.step, of.step)
		if !ok {
			return nil, errBigInteger
		}
		return &numbers{ns.start + of.start*ns.step, ns.start + of.stop*ns.step, step}, nil
	case isText:
		return r.sliceText(v, s, of)
	}
	count := of.len()
	if err := r.allocItems(count); err != nil {
		return nil, err
	}
	part := make([]Value, count)
	for i := range part {
		part[i] = items[of.start+i*of.step]
	}
	if isTuple(v) {
		return &Tuple{part}, nil
	}
	return &List{part}, nil
}

func (r *run) sliceText(v Value, s string, of *numbers) (Value, error) {
	if err := r.alloc(len(s)); err != nil {
		return nil, err
	}
	if of.step == 1 {
		return sameText(v, substring(s, of.start, of.stop)), nil
	}
	chars := []rune(s)
	part := make([]rune, of.len())
	for i := range part {
		part[i] = chars[of.start+i*of.step]
	}
	return sameText(v, string(part)), nil
}

// sliceIndices returns the indices that a slice selects from n items.
func sliceIndices(bounds [3]Value, n int) (*numbers, error) {
	b := [3]int{0, n, 1}
	for i, v := range bounds {
		if v == nil {
			continue
		}
		k, ok := asInt(v)
		if !ok {
			if u, ok := v.(*undefined); ok {
				return nil, u
			}
			return nil, typeError("slice indices must be integers or None")
		}
		b[i] = k
	}
	low, high := 0, n
	switch {
	case b[2] == 0:
		return nil, typeError("slice step cannot be zero")
	case b[2] < 0:
		b[2] = max(b[2], -math.MaxInt)
		low, high = -1, n-1
	}
	for i := range 2 {
		switch {
		case bounds[i] == nil && b[2] < 0:
			b[i] = []int{high, low}[i]
		case b[i] < 0:
			b[i] = max(b[i]+n, low)
		default:
			b[i] = min(b[i], high)
		}
	}
	return &numbers{b[0], b[1], b[2]}, nil
}

// changing lists the attributes that the sandbox hides because they would modify the value.
var changing = map[string][]string{
	"list": {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"},
	"dict": {"clear", "pop", "popitem", "setdefault", "update"},
}

// dunders lists the special attributes of Python's objects, which the sandbox hides.
var dunders = []string{"__class__", "__contains__", "__delattr__", "__dir__", "__doc__", "__eq__", "__format__", "__ge__",
	"__getattribute__", "__getitem__", "__getstate__", "__gt__", "__hash__", "__init__", "__init_subclass__", "__iter__",
	"__le__", "__len__", "__lt__", "__ne__", "__new__", "__reduce__", "__reduce_ex__", "__repr__", "__setattr__",
	"__sizeof__", "__str__", "__subclasshook__", "__add__", "__mul__", "__mod__", "__rmul__", "__rmod__", "__bool__",
	"__call__", "__dict__", "__globals__", "__module__", "__name__", "__self__", "__reversed__", "__setitem__", "__delitem__"}
