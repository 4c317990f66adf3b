package jinja

import (
	"errors"
	"strings"
)

// globals are the functions that every template may call.
var globals map[string]Value

func init() {
	globals = map[string]Value{}
	for id, call := range map[string]func(r *run, c *callArgs) (Value, error){
		"range":           makeRange,
		"dict":            makeDict,
		"namespace":       makeNamespace,
		"cycler":          makeCycler,
		"joiner":          makeJoiner,
		"raise_exception": raiseException,
		"strftime_now":    strftimeNow,
		"lipsum":          func(*run, *callArgs) (Value, error) { return nil, unsupported("lipsum, a random text,") },
	} {
		globals[id] = &function{id, call}
	}
}

func raiseException(r *run, c *callArgs) (Value, error) {
	a, err := c.bind("message")
	if err != nil {
		return nil, err
	}
	message, err := r.str(a[0])
	if err != nil {
		return nil, err
	}
	return nil, errors.New(message)
}

func makeRange(_ *run, c *callArgs) (Value, error) {
	a, err := c.bind("/", "start", "stop?", "step?")
	if err != nil {
		return nil, err
	}
	var n [3]int
	for i, otherwise := range []int{0, 0, 1} {
		if n[i], err = a.int(i, otherwise); err != nil {
			return nil, err
		}
		if n[i] != n[i]<<1>>1 {
			return nil, errBigInteger
		}
	}
	if a[1] == missing {
		n[0], n[1] = 0, n[0]
	}
	if n[2] == 0 {
		return nil, typeError("range step must not be zero")
	}
	result := &numbers{n[0], n[1], n[2]}
	if result.len() > maxRange {
		return nil, typeError("range of more than %d numbers", maxRange)
	}
	return result, nil
}

// makeDict is dict(mapping or pairs, **named).
func makeDict(r *run, c *callArgs) (Value, error) {
	d, err := c.dict(r)
	if err != nil {
		return nil, err
	}
	return d, r.allocItems(8 * len(d.keys))
}

func (c *callArgs) dict(r *run) (*Dict, error) {
	d := NewDict()
	if len(c.values) > 1 {
		return nil, typeError("%s expected at most 1 argument, got %d", c.callee, len(c.values))
	}
	for _, v := range c.values {
		if from, ok := v.(*Dict); ok {
			d = from.copy()
			continue
		}
		pairs, err := r.items(v)
		if err != nil {
			return nil, err
		}
		for _, p := range pairs {
			kv, err := r.unpack(p, 2)
			if err != nil {
				return nil, err
			}
			if err := r.store(d, kv[0], kv[1]); err != nil {
				return nil, err
			}
		}
	}
	for i, id := range c.names {
		d.Set(id, c.named[i])
	}
	return d, nil
}

func makeNamespace(r *run, c *callArgs) (Value, error) {
	d, err := c.dict(r)
	if err != nil {
		return nil, err
	}
	for _, id := range d.Keys() {
		if err := checkAttr(id); err != nil {
			return nil, err
		}
	}
	return &namespace{d}, r.allocItems(8 * len(d.keys))
}

func checkAttr(id string) error {
	if strings.HasPrefix(id, "_") {
		return typeError("attributes of a namespace cannot begin with an underscore, but got %s", quote(id))
	}
	return nil
}

func (n *namespace) set(id string, v Value) error {
	if err := checkAttr(id); err != nil {
		return err
	}
	n.attrs.Set(id, v)
	return nil
}

// cycler returns its items in turn.
type cycler struct {
	items []Value
	at    int
}

func makeCycler(_ *run, c *callArgs) (Value, error) {
	if err := c.noNames(); err != nil {
		return nil, err
	}
	if len(c.values) == 0 {
		return nil, typeError("cycler needs at least one item")
	}
	return &cycler{items: c.values}, nil
}

func (c *cycler) attr(id string) (Value, bool) {
	switch id {
	case "current":
		return c.items[c.at], true
	case "next":
		return &method{c, id, func(_ *run, a *callArgs) (Value, error) {
			v := c.items[c.at]
			c.at = (c.at + 1) % len(c.items)
			return v, a.none()
		}}, true
	case "reset":
		return &method{c, id, func(_ *run, a *callArgs) (Value, error) {
			c.at = 0
			return nil, a.none()
		}}, true
	case "items":
		return &Tuple{c.items}, true
	case "pos":
		return c.at, true
	}
	return nil, false
}

// joiner returns an empty string the first time it is called, and its separator after that.
type joiner struct {
	separator Value
	used      bool
}

func makeJoiner(_ *run, c *callArgs) (Value, error) {
	a, err := c.bind("sep?")
	if err != nil {
		return nil, err
	}
	return &joiner{separator: a.value(0, ", ")}, nil
}

func (j *joiner) call(_ *run, c *callArgs) (Value, error) {
	c.callee = "a joiner"
	if err := c.none(); err != nil {
		return nil, err
	}
	if !j.used {
		j.used = true
		return "", nil
	}
	return j.separator, nil
}
