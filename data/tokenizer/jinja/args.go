package jinja

import (
	"slices"
	"strings"
)

// callArgs are the arguments of a call, a filter, or a test.
type callArgs struct {
	callee string // for errors
	values []Value
	names  []string
	named  []Value
}

// bound contains the values of parameters. Those not given are missing.
type bound []Value

// bind returns the value of each parameter. A parameter whose name ends in "?" is optional. If the first parameter is
// "/", the following ones cannot be passed by name.
func (c *callArgs) bind(parameters ...string) (bound, error) {
	byName := true
	if len(parameters) > 0 && parameters[0] == "/" {
		byName, parameters = false, parameters[1:]
	}
	if len(c.values) > len(parameters) {
		return nil, typeError("%s takes at most %d argument(s), got %d", c.callee, len(parameters), len(c.values))
	}
	b := make(bound, len(parameters))
	for i, p := range parameters {
		id, optional := strings.CutSuffix(p, "?")
		k := slices.Index(c.names, id)
		switch {
		case i < len(c.values) && k >= 0:
			return nil, typeError("%s got multiple values for argument %s", c.callee, quote(id))
		case i < len(c.values):
			b[i] = c.values[i]
		case k >= 0 && byName:
			b[i] = c.named[k]
		case optional:
			b[i] = missing
		default:
			return nil, typeError("%s needs the argument %s", c.callee, quote(id))
		}
	}
	for _, id := range c.names {
		if !byName || !slices.Contains(parameters, id) && !slices.Contains(parameters, id+"?") {
			return nil, typeError("%s takes no argument %s", c.callee, quote(id))
		}
	}
	return b, nil
}

// none checks a call that takes no arguments.
func (c *callArgs) none() error {
	_, err := c.bind()
	return err
}

// noNames rejects keyword arguments.
func (c *callArgs) noNames() error {
	if len(c.names) > 0 {
		return typeError("%s takes no keyword arguments", c.callee)
	}
	return nil
}

// value returns parameter i, or otherwise if it is missing.
func (b bound) value(i int, otherwise Value) Value {
	if b[i] == missing {
		return otherwise
	}
	return b[i]
}

func (b bound) int(i, otherwise int) (int, error) {
	if b[i] == missing {
		return otherwise, nil
	}
	if n, ok := asInt(b[i]); ok {
		return n, nil
	}
	return 0, notInteger(b[i])
}

func notInteger(v Value) error {
	if u, ok := v.(*undefined); ok {
		return u
	}
	return typeError("'%s' object cannot be interpreted as an integer", typeName(v))
}

// text returns parameter i as a string and rejects other types.
func (b bound) text(i int, otherwise string) (string, error) {
	if b[i] == missing {
		return otherwise, nil
	}
	if s, ok := asText(b[i]); ok {
		return s, nil
	}
	return "", notString(b[i])
}

func notString(v Value) error {
	if u, ok := v.(*undefined); ok {
		return u
	}
	return typeError("must be str, not %s", typeName(v))
}

// truth reports whether parameter i is given and true.
func (b bound) truth(i int) bool { return b[i] != missing && truth(b[i]) }

// nullable returns parameter i, or nil if it is None or missing.
func (b bound) nullable(i int) Value { return b.value(i, nil) }
