package jinja

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// NewDict returns an empty dict.
func NewDict() *Dict { return &Dict{index: map[any]int{}} }

// Set adds key or replaces its value. An existing key keeps its position.
func (d *Dict) Set(key string, v Value) { d.put(key, key, v) }

// Get returns the value of key, and whether there is one.
func (d *Dict) Get(key string) (Value, bool) {
	if i, ok := d.index[key]; ok {
		return d.values[i], true
	}
	return nil, false
}

// Keys returns the keys that are strings, in order.
func (d *Dict) Keys() []string {
	keys := make([]string, 0, len(d.keys))
	for _, k := range d.keys {
		if s, ok := asText(k); ok {
			keys = append(keys, s)
		}
	}
	return keys
}

func (d *Dict) put(hash any, key, v Value) {
	if i, ok := d.index[hash]; ok {
		d.values[i] = v
		return
	}
	d.index[hash] = len(d.keys)
	d.keys = append(d.keys, key)
	d.values = append(d.values, v)
}

// store sets a key of any type in d.
func (l *limits) store(d *Dict, key, v Value) error {
	h, err := l.hash(key, 0)
	if err != nil {
		return err
	}
	d.put(h, key, v)
	return nil
}

// lookup looks up a key of any type in d.
func (l *limits) lookup(d *Dict, key Value) (v Value, ok bool, err error) {
	h, err := l.hash(key, 0)
	if err != nil {
		return nil, false, err
	}
	i, ok := d.index[h]
	if !ok {
		return nil, false, nil
	}
	return d.values[i], true, nil
}

func (d *Dict) copy() *Dict {
	return &Dict{slices.Clone(d.keys), slices.Clone(d.values), maps.Clone(d.index)}
}

type (
	noneHash      struct{}
	undefinedHash struct{}
	tupleHash     string
	integerHash   string
)

// longestKey is the maximum size in bytes of the hash of a tuple.
const longestKey = 1 << 20

// hash returns a comparable value that is equal for values that are the same key in Python.
func (l *limits) hash(v Value, depth int) (any, error) {
	if err := l.scan(v); err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case nil:
		return noneHash{}, nil
	case bool:
		n, _ := asInt(v)
		return n, nil
	case int, string:
		return v, nil
	case markup:
		return string(v), nil
	case integer:
		return integerHash(v), nil
	case float64:
		if n := int(v); v == math.Trunc(v) && math.Abs(v) < 1<<62 {
			return n, nil
		}
		return v, nil
	case *undefined:
		return undefinedHash{}, nil
	}
	items, ok := sequence(v)
	if _, isDict := v.(*Dict); isDict || ok && !isTuple(v) {
		return nil, typeError("unhashable type: '%s'", typeName(v))
	} else if !ok {
		return nil, unsupported("a " + typeName(v) + " as a key")
	}
	if depth > deepestValue {
		return nil, errTooDeep
	}
	var b strings.Builder
	for _, item := range items {
		h, err := l.hash(item, depth+1)
		if err != nil {
			return nil, err
		}
		s := fmt.Sprintf("%T %v", h, h)
		if err := l.scan(s); err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%d:%s", len(s), s)
		if b.Len() > longestKey {
			return nil, errTooDeep
		}
	}
	return tupleHash(b.String()), nil
}
