package jinja

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

func filterLength(_ *run, v Value, c *callArgs) (Value, error) {
	if l, ok := v.(*loopValue); ok {
		n, err := l.length()
		return n, err
	}
	n, ok := length(v)
	if !ok {
		return nil, typeError("object of type '%s' has no len()", typeName(v))
	}
	return n, c.none()
}

func filterList(r *run, v Value, c *callArgs) (Value, error) {
	if err := c.none(); err != nil {
		return nil, err
	}
	items, err := r.items(v)
	return &List{items}, err
}

func filterFirst(r *run, v Value, c *callArgs) (Value, error) {
	if err := c.none(); err != nil {
		return nil, err
	}
	it, err := r.iterate(v)
	if err != nil {
		return nil, err
	}
	return firstOf(it, "no first item, sequence was empty")
}

func firstOf(it *iterator, otherwise string) (Value, error) {
	first, ok, err := it.next()
	if err == nil && !ok {
		return &undefined{hint: otherwise}, nil
	}
	return first, err
}

func filterLast(r *run, v Value, c *callArgs) (Value, error) {
	if err := c.none(); err != nil {
		return nil, err
	}
	it, ok, err := r.reversed(v)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, typeError("'%s' object is not reversible", typeName(v))
	}
	return firstOf(it, "no last item, sequence was empty")
}

func filterReverse(r *run, v Value, c *callArgs) (Value, error) {
	if err := c.none(); err != nil {
		return nil, err
	}
	if s, ok := asText(v); ok {
		chars := []rune(s)
		slices.Reverse(chars)
		return sameText(v, string(chars)), r.alloc(len(s))
	}
	it, ok, err := r.reversed(v)
	if err != nil || ok {
		return it, err
	}
	items, err := r.items(v)
	if err != nil {
		return nil, err
	}
	items = slices.Clone(items)
	slices.Reverse(items)
	return &List{items}, nil
}

func filterJoin(r *run, v Value, c *callArgs) (Value, error) {
	a, err := c.bind("d?", "attribute?")
	if err != nil {
		return nil, err
	}
	items, err := r.items(v)
	if err != nil {
		return nil, err
	}
	if a.nullable(1) != nil {
		get := r.getter(a[1], missing)
		items = slices.Clone(items)
		for i := range items {
			if items[i], err = get(items[i]); err != nil {
				return nil, err
			}
		}
	}
	separator, err := r.str(a.value(0, ""))
	if err != nil {
		return nil, err
	}
	return r.join(separator, items)
}

func filterItems(r *run, v Value, c *callArgs) (Value, error) {
	if err := c.none(); err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case *undefined:
		return generator(overSlice(nil).next), nil
	case *Dict:
		it, err := r.iterate(&view{v, "items"})
		if err != nil {
			return nil, err
		}
		return generator(it.next), nil
	}
	return generator(func() (Value, bool, error) {
		return nil, false, typeError("can only get item pairs from a mapping")
	}), nil
}

func generator(next func() (Value, bool, error)) *iterator {
	return &iterator{what: "generator", next: next}
}

// lazily returns a generator that starts when it is first read. The number of generators that read from each other is
// limited, because each takes space on the stack.
func (r *run) lazily(start func() (next func() (Value, bool, error), err error)) (Value, error) {
	var next func() (Value, bool, error)
	g := generator(func() (v Value, ok bool, err error) {
		if r.reads++; r.reads > deepestValue {
			return nil, false, errTooDeep
		}
		if err := r.step(1); err != nil {
			return nil, false, err
		}
		if next == nil {
			if next, err = start(); err != nil {
				return nil, false, err
			}
		}
		v, ok, err = next()
		r.reads--
		return v, ok, err
	})
	return g, r.allocItems(generatorItems)
}

// getter returns a function that reads an attribute of its argument, given as a dotted path in which numbers are
// indices. An undefined value along the path becomes otherwise, unless that is missing.
func (r *run) getter(attribute, otherwise Value) func(v Value) (Value, error) {
	path := attributePath(attribute)
	return func(v Value) (Value, error) {
		for _, key := range path {
			if err := r.step(1); err != nil {
				return nil, err
			}
			var err error
			if v, err = r.item(v, key); err != nil {
				return nil, err
			}
			if _, ok := v.(*undefined); ok && otherwise != missing {
				v = otherwise
			}
		}
		return v, nil
	}
}

func attributePath(attribute Value) []Value {
	s, ok := asText(attribute)
	switch {
	case attribute == nil || attribute == missing:
		return nil
	case !ok:
		return []Value{attribute}
	}
	var path []Value
	for _, part := range strings.Split(s, ".") {
		if n, err := strconv.Atoi(part); err == nil && strings.Trim(part, "0123456789") == "" {
			path = append(path, n)
		} else {
			path = append(path, part)
		}
	}
	return path
}

func ignoreCase(v Value) Value {
	if s, ok := asText(v); ok {
		return sameText(v, lower(s))
	}
	return v
}

// sortKey returns the key function for sort and related filters.
func (r *run) sortKey(attribute, otherwise Value, caseSensitive bool) func(v Value) (Value, error) {
	get := r.getter(attribute, otherwise)
	return func(v Value) (Value, error) {
		v, err := get(v)
		if err != nil || caseSensitive {
			return v, err
		}
		return ignoreCase(v), r.step(1)
	}
}

// sorted sorts items by their keys, as Python's stable sort does.
func (r *run) sorted(items, keys []Value, reverse bool) ([]Value, error) {
	order := make([]int, len(items))
	for i := range order {
		order[i] = i
	}
	var failed error
	slices.SortStableFunc(order, func(i, j int) int {
		if failed != nil {
			return 0
		}
		if reverse {
			i, j = j, i
		}
		less, err := r.ordered("<", keys[i], keys[j], 0)
		if err == nil && !less {
			var more bool
			if more, err = r.ordered("<", keys[j], keys[i], 0); more {
				return 1
			}
		}
		failed = err
		if less {
			return -1
		}
		return 0
	})
	sorted := make([]Value, len(items))
	for i, k := range order {
		sorted[i] = items[k]
	}
	return sorted, failed
}

func (r *run) keysOf(items []Value, key func(v Value) (Value, error)) ([]Value, error) {
	keys := make([]Value, len(items))
	for i, v := range items {
		var err error
		if keys[i], err = key(v); err != nil {
			return nil, err
		}
	}
	return keys, r.allocItems(len(keys))
}

func filterSort(r *run, v Value, c *callArgs) (Value, error) {
	a, err := c.bind("reverse?", "case_sensitive?", "attribute?")
	if err != nil {
		return nil, err
	}
	items, err := r.items(v)
	if err != nil {
		return nil, err
	}
	attributes := []Value{a.nullable(2)}
	if s, ok := asText(a.nullable(2)); ok {
		attributes = nil
		for _, part := range strings.Split(s, ",") {
			attributes = append(attributes, part)
		}
	}
	keys, err := r.keysOf(items, func(v Value) (Value, error) {
		if err := r.allocItems(8 * len(attributes)); err != nil {
			return nil, err
		}
		key := make([]Value, len(attributes))
		for i, attribute := range attributes {
			var err error
			if key[i], err = r.sortKey(attribute, missing, a.truth(1))(v); err != nil {
				return nil, err
			}
		}
		return &List{key}, nil
	})
	if err != nil {
		return nil, err
	}
	reverse, err := a.int(0, 0)
	if err != nil {
		return nil, err
	}
	sorted, err := r.sorted(items, keys, reverse != 0)
	return &List{sorted}, err
}

func filterDictSort(r *run, v Value, c *callArgs) (Value, error) {
	a, err := c.bind("case_sensitive?", "by?", "reverse?")
	if err != nil {
		return nil, err
	}
	by, ok := asText(a.value(1, "key"))
	if !ok || by != "key" && by != "value" {
		return nil, typeError(`you can only sort by either "key" or "value"`)
	}
	d, ok := v.(*Dict)
	if !ok {
		return nil, typeError("'%s' object has no attribute 'items'", typeName(v))
	}
	pairs, err := r.items(&view{d, "items"})
	if err != nil {
		return nil, err
	}
	keys := d.keys
	if by == "value" {
		keys = d.values
	}
	if !a.truth(0) {
		if keys, err = r.keysOf(keys, r.sortKey(nil, missing, false)); err != nil {
			return nil, err
		}
	}
	reverse, err := a.int(2, 0)
	if err != nil {
		return nil, err
	}
	sorted, err := r.sorted(pairs, keys, reverse != 0)
	return &List{sorted}, err
}

// filterExtreme implements min and max. Of equal items, the first one wins.
func filterExtreme(r *run, v Value, c *callArgs, op kind) (Value, error) {
	a, err := c.bind("case_sensitive?", "attribute?")
	if err != nil {
		return nil, err
	}
	items, err := r.items(v)
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return &undefined{hint: "no aggregated item, sequence was empty"}, nil
	}
	keys, err := r.keysOf(items, r.sortKey(a.nullable(1), missing, a.truth(0)))
	if err != nil {
		return nil, err
	}
	best := 0
	for i := 1; i < len(items); i++ {
		better, err := r.ordered(op, keys[i], keys[best], 0)
		if err != nil {
			return nil, err
		}
		if better {
			best = i
		}
	}
	return items[best], nil
}

func filterUnique(r *run, v Value, c *callArgs) (Value, error) {
	a, err := c.bind("case_sensitive?", "attribute?")
	if err != nil {
		return nil, err
	}
	key := r.sortKey(a.nullable(1), missing, a.truth(0))
	return r.lazily(func() (func() (Value, bool, error), error) {
		seen := NewDict()
		it, err := r.iterate(v)
		if err != nil {
			return nil, err
		}
		return func() (Value, bool, error) {
			for {
				item, ok, err := it.next()
				if err != nil || !ok {
					return nil, false, err
				}
				k, err := key(item)
				if err != nil {
					return nil, false, err
				}
				_, known, err := r.lookup(seen, k)
				if err != nil {
					return nil, false, err
				}
				if known {
					continue
				}
				if err := r.allocItems(8); err != nil {
					return nil, false, err
				}
				return item, true, r.store(seen, k, true)
			}
		}, nil
	})
}

func filterGroupBy(r *run, v Value, c *callArgs) (Value, error) {
	a, err := c.bind("attribute", "default?", "case_sensitive?")
	if err != nil {
		return nil, err
	}
	otherwise := a.value(1, missing)
	if otherwise == nil {
		otherwise = missing
	}
	items, err := r.items(v)
	if err != nil {
		return nil, err
	}
	key := r.sortKey(a[0], otherwise, a.truth(2))
	keys, err := r.keysOf(items, key)
	if err != nil {
		return nil, err
	}
	if items, err = r.sorted(items, keys, false); err != nil {
		return nil, err
	}
	groups := &List{}
	var last Value
	for i, item := range items {
		k, err := key(item)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			same, err := r.equal(k, last, 0)
			if err != nil {
				return nil, err
			}
			if same {
				members := groups.Items[len(groups.Items)-1].(*group).Items[1].(*List)
				members.Items = append(members.Items, item)
				continue
			}
		}
		last = k
		name, err := r.getter(a[0], otherwise)(item)
		if err != nil {
			return nil, err
		}
		groups.Items = append(groups.Items, &group{Tuple{[]Value{name, &List{[]Value{item}}}}})
	}
	return groups, r.allocItems(4 * len(groups.Items))
}

func filterBatch(r *run, v Value, c *callArgs) (Value, error) {
	a, err := c.bind("linecount", "fill_with?")
	if err != nil {
		return nil, err
	}
	return r.lazily(func() (func() (Value, bool, error), error) {
		size, ok := asInt(a[0])
		if !ok || size <= 0 {
			return nil, unsupported("batches of " + shortRepr(a[0]))
		}
		items, err := r.items(v)
		if err != nil {
			return nil, err
		}
		return func() (Value, bool, error) {
			if len(items) == 0 {
				return nil, false, nil
			}
			n := min(len(items), size)
			part := slices.Clone(items[:n])
			items = items[n:]
			if fill := a.nullable(1); fill != nil && n < size {
				if err := r.allocItems(size); err != nil {
					return nil, false, err
				}
				part = append(part, slices.Repeat([]Value{fill}, size-n)...)
			}
			return &List{part}, true, nil
		}, nil
	})
}

func filterSlice(r *run, v Value, c *callArgs) (Value, error) {
	a, err := c.bind("slices", "fill_with?")
	if err != nil {
		return nil, err
	}
	return r.lazily(func() (func() (Value, bool, error), error) {
		items, err := r.items(v)
		if err != nil {
			return nil, err
		}
		count, err := a.int(0, 0)
		if err != nil {
			return nil, err
		}
		if count == 0 {
			return nil, errZeroDivisor
		}
		if count < 0 {
			return overSlice(nil).next, nil
		}
		i, each, extra := 0, len(items)/count, len(items)%count
		return func() (Value, bool, error) {
			if i == count {
				return nil, false, nil
			}
			n := each
			if i < extra {
				n++
			}
			part := slices.Clone(items[:n])
			items = items[n:]
			if fill := a.nullable(1); fill != nil && i >= extra {
				part = append(part, fill)
			}
			i++
			return &List{part}, true, r.allocItems(len(part) + 4)
		}, nil
	})
}

func filterSum(r *run, v Value, c *callArgs) (Value, error) {
	a, err := c.bind("attribute?", "start?")
	if err != nil {
		return nil, err
	}
	items, err := r.items(v)
	if err != nil {
		return nil, err
	}
	total := a.value(1, 0)
	if _, ok := asText(total); ok {
		return nil, typeError("sum() can't sum strings")
	}
	get := r.getter(a.nullable(0), missing)
	lost := 0.0 // to rounding
	for _, item := range items {
		if item, err = get(item); err != nil {
			return nil, err
		}
		before, _ := asFloat(total)
		if total, err = r.operate("+", total, item); err != nil {
			return nil, err
		}
		if sum, ok := total.(float64); ok {
			lost += roundingError(before, item, sum)
		}
	}
	if sum, ok := total.(float64); ok && sum+lost != sum {
		return nil, unsupported("a sum of floats that versions of Python round differently")
	}
	return total, nil
}

// roundingError returns the rounding error of a sum of floats.
func roundingError(a float64, item Value, sum float64) float64 {
	b, _ := asFloat(item)
	if math.Abs(a) >= math.Abs(b) {
		return a - sum + b
	}
	return b - sum + a
}

func filterAttr(r *run, v Value, c *callArgs) (Value, error) {
	a, err := c.bind("name")
	if err != nil {
		return nil, err
	}
	id, err := a.text(0, "")
	if err != nil {
		return nil, err
	}
	got, ok, err := r.attributeOnly(v, id)
	if err != nil || ok {
		return got, err
	}
	return lacks(v, id), nil
}

// filterMap applies a filter to each item, or reads an attribute of each.
func filterMap(r *run, v Value, c *callArgs) (Value, error) {
	args := *c
	return r.lazily(func() (func() (Value, bool, error), error) {
		if !truth(v) {
			return overSlice(nil).next, nil
		}
		apply, err := r.mapping(args)
		if err != nil {
			return nil, err
		}
		it, err := r.iterate(v)
		if err != nil {
			return nil, err
		}
		return func() (Value, bool, error) {
			item, ok, err := it.next()
			if err != nil || !ok {
				return nil, false, err
			}
			item, err = apply(item)
			return item, true, err
		}, nil
	})
}

func (r *run) mapping(c callArgs) (func(v Value) (Value, error), error) {
	if len(c.values) == 0 && slices.Contains(c.names, "attribute") {
		a, err := c.bind("attribute", "default?")
		if err != nil {
			return nil, err
		}
		otherwise := a.value(1, missing)
		if otherwise == nil {
			otherwise = missing
		}
		return r.getter(a[0], otherwise), nil
	}
	id, rest, err := c.called("map requires a filter argument")
	if err != nil {
		return nil, err
	}
	return func(v Value) (Value, error) {
		args := rest
		return r.filter(id, v, &args)
	}, nil
}

// called separates the name of a filter or test from its arguments.
func (c *callArgs) called(otherwise string) (string, callArgs, error) {
	if len(c.values) == 0 {
		return "", *c, typeError("%s", otherwise)
	}
	id, ok := asText(c.values[0])
	if !ok {
		if u, ok := c.values[0].(*undefined); ok {
			return "", *c, u
		}
		id = shortRepr(c.values[0]) // no filter has such a name
	}
	rest := *c
	rest.values = c.values[1:]
	return id, rest, nil
}

// selecting implements select and reject, and the related filters that test an attribute given first. keep is the test
// result for which an item is kept.
func selecting(r *run, v Value, c *callArgs, keep bool, attributes int) (Value, error) {
	args := *c
	return r.lazily(func() (func() (Value, bool, error), error) {
		if !truth(v) {
			return overSlice(nil).next, nil
		}
		passes, err := r.selection(args, attributes)
		if err != nil {
			return nil, err
		}
		it, err := r.iterate(v)
		if err != nil {
			return nil, err
		}
		return func() (Value, bool, error) {
			for {
				item, ok, err := it.next()
				if err != nil || !ok {
					return nil, false, err
				}
				passed, err := passes(item)
				if err != nil || passed == keep {
					return item, true, err
				}
			}
		}, nil
	})
}

func (r *run) selection(c callArgs, attributes int) (func(v Value) (bool, error), error) {
	get := func(v Value) (Value, error) { return v, nil }
	if attributes > 0 {
		if len(c.values) == 0 {
			return nil, typeError("missing parameter for attribute name")
		}
		get = r.getter(c.values[0], missing)
		c.values = c.values[1:]
	}
	if len(c.values) == 0 {
		return func(v Value) (bool, error) {
			v, err := get(v)
			return truth(v), err
		}, nil
	}
	id, rest, err := c.called("")
	if err != nil {
		return nil, err
	}
	return func(v Value) (bool, error) {
		v, err := get(v)
		if err != nil {
			return false, err
		}
		args := rest
		if v, err = r.test(id, v, &args); err != nil {
			return false, err
		}
		return truth(v), nil
	}, nil
}
