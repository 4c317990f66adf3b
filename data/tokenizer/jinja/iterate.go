package jinja

// iterator yields values one by one. Iterators made by filters are lazy, like Python's generators: they do their work
// when read, and can be read only once.
type iterator struct {
	what string // name of its type in Python
	next func() (v Value, ok bool, err error)
}

// overSlice iterates over items.
func overSlice(items []Value) *iterator {
	i := 0
	return &iterator{what: "iterator", next: func() (Value, bool, error) {
		if i == len(items) {
			return nil, false, nil
		}
		i++
		return items[i-1], true, nil
	}}
}

// iterate is Python's iter(v).
func (r *run) iterate(v Value) (*iterator, error) {
	it, err := iterate(v)
	if err != nil {
		return nil, err
	}
	if v == Value(it) {
		return it, nil
	}
	next := it.next
	it.next = func() (Value, bool, error) {
		if err := r.step(1); err != nil {
			return nil, false, err
		}
		return next()
	}
	return it, nil
}

func iterate(v Value) (*iterator, error) {
	if items, ok := sequence(v); ok {
		return overSlice(items), nil
	}
	switch v := v.(type) {
	case *iterator:
		return v, nil
	case string:
		return overCharacters(v), nil
	case markup:
		return overCharacters(string(v)), nil
	case *Dict:
		return overSlice(v.keys), nil
	case *view:
		return v.iterate(), nil
	case *numbers:
		return v.iterate(), nil
	case *undefined:
		return overSlice(nil), nil
	case *loopValue:
		return nil, unsupported("iterating over loop")
	}
	return nil, typeError("'%s' object is not iterable", typeName(v))
}

func overCharacters(s string) *iterator {
	return &iterator{what: "str_iterator", next: func() (Value, bool, error) {
		for i := range s {
			if i > 0 {
				c := s[:i]
				s = s[i:]
				return c, true, nil
			}
		}
		c := s
		s = ""
		return c, c != "", nil
	}}
}

func (n *numbers) iterate() *iterator {
	i, end := 0, n.len()
	return &iterator{what: "range_iterator", next: func() (Value, bool, error) {
		if i == end {
			return nil, false, nil
		}
		i++
		return n.start + (i-1)*n.step, true, nil
	}}
}

func (v *view) iterate() *iterator {
	i := 0
	return &iterator{what: "dict_" + v.of + "iterator", next: func() (Value, bool, error) {
		if i == len(v.dict.keys) {
			return nil, false, nil
		}
		i++
		return v.at(i - 1), true, nil
	}}
}

// at returns entry i of a view.
func (v *view) at(i int) Value {
	switch v.of {
	case "keys":
		return v.dict.keys[i]
	case "values":
		return v.dict.values[i]
	}
	return &Tuple{[]Value{v.dict.keys[i], v.dict.values[i]}}
}

// items returns all values of v. The caller must not modify the slice.
func (r *run) items(v Value) ([]Value, error) {
	if items, ok := sequence(v); ok {
		return items, r.step(len(items))
	}
	it, err := r.iterate(v)
	if err != nil {
		return nil, err
	}
	var items []Value
	for {
		v, ok, err := it.next()
		if err != nil || !ok {
			return items, err
		}
		if len(items)%1024 == 0 {
			if err := r.allocItems(1024); err != nil {
				return nil, err
			}
		}
		if len(items) == maxItems {
			return nil, errManyItems
		}
		items = append(items, v)
	}
}

// reversed is Python's reversed(v). ok is false if v cannot be reversed.
func (r *run) reversed(v Value) (it *iterator, ok bool, err error) {
	switch v.(type) {
	case *iterator, nil, bool, int, float64, *namespace, *function, *method, *macroValue, *loopValue, *cycler, *joiner, integer:
		return nil, false, nil
	}
	items, err := r.items(v)
	if err != nil {
		return nil, false, err
	}
	back := make([]Value, len(items))
	for i, item := range items {
		back[len(items)-1-i] = item
	}
	return &iterator{what: "reversed", next: overSlice(back).next}, true, r.allocItems(len(items))
}
