// Package ordered provides objects that keep the order of their keys, as in JSON files and Arrow structs. Chat
// templates print the arguments of a tool in that order.
package ordered

import (
	"encoding/json"
	"errors"
)

// Object is an object with values of the types nil, bool, int64, uint64, float64, string, []any, and *Object.
type Object struct {
	keys   []string
	values map[string]any
}

// Set adds key or replaces its value. A replaced key keeps its position.
func (o *Object) Set(key string, v any) {
	if o.values == nil {
		o.values = map[string]any{}
	}
	if _, ok := o.values[key]; !ok {
		o.keys = append(o.keys, key)
	}
	o.values[key] = v
}

// Get returns the value of key and reports whether it exists.
func (o *Object) Get(key string) (any, bool) {
	v, ok := o.values[key]
	return v, ok
}

// Keys returns the keys in order. The slice must not be changed.
func (o *Object) Keys() []string { return o.keys }

// deepest is the maximum nesting depth of lists and objects, as in encoding/json.
const deepest = 10000

// Decode reads the next value of d. Objects have type [*Object]; the type of numbers depends on how d is configured.
func Decode(d *json.Decoder) (any, error) { return decode(d, 0) }

func decode(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	if depth > deepest {
		return nil, errors.New("nested too deeply")
	}
	switch t {
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := decode(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	case json.Delim('{'):
		o := &Object{}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := decode(d, depth+1)
			if err != nil {
				return nil, err
			}
			o.Set(key.(string), v)
		}
		_, err := d.Token()
		return o, err
	}
	return t, nil
}

// Plain returns v with each object replaced by a map.
func Plain(v any) any {
	switch v := v.(type) {
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = Plain(v[i])
		}
		return list
	case *Object:
		m := make(map[string]any, len(v.keys))
		for key, value := range v.values {
			m[key] = Plain(value)
		}
		return m
	}
	return v
}
