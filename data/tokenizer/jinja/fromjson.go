package jinja

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"mambatrain/internal/pyjson"
)

// FromJSON decodes JSON as Python's json.loads does: keys keep their order, and a number with a point or an exponent is
// a float, any other an int.
func FromJSON(data []byte) (Value, error) {
	if pyjson.LoneSurrogate(data) != "" {
		return nil, errors.New("jinja: half of a surrogate pair, which is not a character")
	}
	d := jsonReader{json.NewDecoder(bytes.NewReader(data))}
	d.UseNumber()
	v, err := d.value(0)
	if err != nil {
		return nil, fmt.Errorf("jinja: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("jinja: more than one JSON value")
	}
	return v, nil
}

type jsonReader struct{ *json.Decoder }

func (d jsonReader) value(depth int) (Value, error) {
	if depth > deepestValue {
		return nil, errTooDeep
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '[' {
			return d.list(depth)
		}
		return d.dict(depth)
	case json.Number:
		return number(string(t))
	}
	return t, nil
}

func (d jsonReader) list(depth int) (Value, error) {
	l := &List{Items: []Value{}}
	for d.More() {
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		l.Items = append(l.Items, v)
	}
	_, err := d.Token()
	return l, err
}

func (d jsonReader) dict(depth int) (Value, error) {
	m := NewDict()
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		m.Set(key.(string), v)
	}
	_, err := d.Token()
	return m, err
}

func number(s string) (Value, error) {
	if strings.ContainsAny(s, ".eE") {
		f, _ := strconv.ParseFloat(s, 64) // infinite on overflow, as in Python
		return f, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return integer(s), nil
	}
	return n, nil
}
