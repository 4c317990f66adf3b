package jinja

import (
	"cmp"
	"math"
	"math/big"
	"slices"
	"strings"
)

// compare applies a comparison operator, in, or notin.
func (r *run) compare(op kind, a, b Value) (bool, error) {
	switch op {
	case "in":
		return r.contains(b, a)
	case "notin":
		in, err := r.contains(b, a)
		return !in, err
	case "==", "!=":
		same, err := r.equal(a, b, 0)
		return same == (op == "=="), err
	}
	return r.ordered(op, a, b, 0)
}

// equal is Python's a == b.
func (l *limits) equal(a, b Value, depth int) (bool, error) {
	if depth > deepestValue {
		return false, errTooDeep
	}
	if err := l.step(1); err != nil {
		return false, err
	}
	if s, ok := asText(a); ok {
		t, ok := asText(b)
		return ok && s == t, l.step(len(s) >> 4)
	}
	if isNumber(a) && isNumber(b) {
		c, err := compareNumbers(a, b)
		return c == 0, err
	}
	if x, ok := sequence(a); ok {
		y, ok := sequence(b)
		if !ok || isTuple(a) != isTuple(b) || len(x) != len(y) {
			return false, nil
		}
		for i := range x {
			if same, err := l.identical(x[i], y[i], depth+1); err != nil || !same {
				return false, err
			}
		}
		return true, nil
	}
	switch x := a.(type) {
	case nil:
		return b == nil, nil
	case integer:
		y, ok := b.(integer)
		return ok && x == y, nil
	case *Dict:
		y, ok := b.(*Dict)
		if !ok {
			return false, nil
		}
		return l.equalDicts(x, y, depth)
	case *undefined:
		_, ok := b.(*undefined)
		return ok, nil
	case *numbers:
		y, ok := b.(*numbers)
		return ok && slices.Equal(x.all(), y.all()), nil
	case *view, *method:
		return false, unsupported("comparing " + typeName(a) + " objects")
	}
	return a == b, nil
}

// identical compares items of lists as Python does: a value equals itself, even NaN.
func (l *limits) identical(a, b Value, depth int) (bool, error) {
	if f, ok := a.(float64); ok && f != f {
		return false, unsupported("comparing NaN within lists")
	}
	return l.equal(a, b, depth)
}

func (l *limits) equalDicts(a, b *Dict, depth int) (bool, error) {
	if len(a.keys) != len(b.keys) {
		return false, nil
	}
	for i, k := range a.keys {
		v, ok, err := l.lookup(b, k)
		if err != nil || !ok {
			return false, err
		}
		if same, err := l.identical(a.values[i], v, depth+1); err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

// all returns a canonical description of the numbers in a range.
func (n *numbers) all() []int {
	switch size := n.len(); size {
	case 0:
		return nil
	case 1:
		return []int{n.start}
	default:
		return []int{n.start, n.step, size}
	}
}

func isNumber(v Value) bool {
	switch v.(type) {
	case bool, int, float64:
		return true
	}
	return false
}

// notANumber is the result of comparing with NaN: neither less, equal, nor greater.
const notANumber = 2

// compareNumbers returns -1, 0, or 1, or else notANumber. Integers and floats compare exactly.
func compareNumbers(a, b Value) (int, error) {
	x, xInt := asInt(a)
	y, yInt := asInt(b)
	if xInt && yInt {
		return cmp.Compare(x, y), nil
	}
	f, _ := asFloat(a)
	g, _ := asFloat(b)
	switch {
	case math.IsNaN(f) || math.IsNaN(g):
		return notANumber, nil
	case xInt && !math.IsInf(g, 0):
		return new(big.Float).SetInt64(int64(x)).Cmp(big.NewFloat(g)), nil
	case yInt && !math.IsInf(f, 0):
		return big.NewFloat(f).Cmp(new(big.Float).SetInt64(int64(y))), nil
	}
	return cmp.Compare(f, g), nil
}

// ordered evaluates a < b, or another of the four ordering operators.
func (l *limits) ordered(op kind, a, b Value, depth int) (bool, error) {
	if depth > deepestValue {
		return false, errTooDeep
	}
	if isNumber(a) && isNumber(b) {
		c, err := compareNumbers(a, b)
		return c != notANumber && holds(op, c), err
	}
	s, sOK := asText(a)
	t, tOK := asText(b)
	if sOK && tOK {
		return holds(op, strings.Compare(s, t)), l.step(min(len(s), len(t)) >> 4)
	}
	x, xOK := sequence(a)
	y, yOK := sequence(b)
	if xOK && yOK && isTuple(a) == isTuple(b) {
		for i := range min(len(x), len(y)) {
			same, err := l.identical(x[i], y[i], depth+1)
			if err != nil {
				return false, err
			}
			if !same {
				return l.ordered(op, x[i], y[i], depth+1)
			}
		}
		return holds(op, cmp.Compare(len(x), len(y))), nil
	}
	for _, v := range []Value{a, b} {
		switch v := v.(type) {
		case *undefined:
			return false, v
		case integer:
			return false, errBigInteger
		case *view:
			return false, unsupported("comparing " + typeName(v) + " objects")
		}
	}
	return false, typeError("'%s' not supported between instances of '%s' and '%s'", op, typeName(a), typeName(b))
}

func holds(op kind, c int) bool {
	switch op {
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	}
	return c >= 0
}

// contains is Python's v in container.
func (r *run) contains(container, v Value) (bool, error) {
	switch c := container.(type) {
	case string, markup:
		s, _ := asText(c)
		t, ok := asText(v)
		if !ok {
			return false, typeError("'in <string>' requires string as left operand, not %s", typeName(v))
		}
		return strings.Contains(s, t), r.step(len(s) >> 4)
	case *Dict:
		_, ok, err := r.lookup(c, v)
		return ok, err
	case *view:
		if c.of == "keys" {
			_, ok, err := r.lookup(c.dict, v)
			return ok, err
		}
	}
	it, err := r.iterate(container)
	if err != nil {
		return false, typeError("argument of type '%s' is not iterable", typeName(container))
	}
	for {
		item, ok, err := it.next()
		if err != nil || !ok {
			return false, err
		}
		if same, err := r.identical(item, v, 0); err != nil || same {
			return same, err
		}
	}
}
