package jinja

import "fmt"

// Value is a value of a template: nil (None), bool, int, float64, string, *List, *Dict, or one of the types that only
// templates make. A value never changes once a template has it; only namespaces, cyclers and iterators do.
type Value any

// List is a list of Python.
type List struct{ Items []Value }

// Tuple is a tuple of Python.
type Tuple struct{ Items []Value }

// Dict is a dict of Python: it keeps the order in which its keys were set first.
type Dict struct {
	keys, values []Value
	index        map[any]int // by hash
}

// markup is a string that was escaped as HTML: what is joined to it is escaped, too.
type markup string

// integer is one of JSON that needs more than 64 bits. It prints as it is; arithmetic with it is refused.
type integer string

// numbers is the result of range.
type numbers struct{ start, stop, step int }

// view is what keys, values and items of a dict return.
type view struct {
	dict *Dict
	of   string // keys, values, items
}

// namespace is an object whose attributes set can assign.
type namespace struct{ attrs *Dict }

// group is an entry of groupby: a tuple whose items have names.
type group struct {
	Tuple
}

// method is a method of a value that has not been called yet.
type method struct {
	object Value
	id     string
	call   func(r *run, c *callArgs) (Value, error)
}

// function is a global function.
type function struct {
	id   string
	call func(r *run, c *callArgs) (Value, error)
}

// undefined is what a name or key without a value gives: it prints as nothing, and most else is an error.
type undefined struct {
	hint   string // instead of what the next fields say
	object Value  // that lacks key
	ofName bool   // no object: a variable
	key    Value
	dict   *Dict // the object, if it is a dict
}

// A slot of a frame that was never set is unset, one that has no value at this place of the template is missing.
type (
	unsetType   struct{}
	missingType struct{}
)

var (
	unset   = &unsetType{}
	missing = &missingType{}
)

func (u *undefined) Error() string {
	switch {
	case u.hint != "":
		return u.hint
	case u.ofName:
		return fmt.Sprintf("%s is undefined", quote(fmt.Sprint(u.key)))
	}
	if key, ok := u.key.(string); ok {
		return fmt.Sprintf("'%s' has no attribute %s", objectName(u.object), quote(key))
	}
	return fmt.Sprintf("%s has no element %v", objectName(u.object), shortRepr(u.key))
}

func objectName(v Value) string {
	if v == nil {
		return "None"
	}
	return typeName(v) + " object"
}

// typeName returns the name of a value's type in Python.
func typeName(v Value) string {
	switch v := v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int, integer:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case markup:
		return "Markup"
	case *List:
		return "list"
	case *Tuple, *group:
		return "tuple"
	case *Dict:
		return "dict"
	case *numbers:
		return "range"
	case *view:
		return "dict_" + v.of
	case *iterator:
		return v.what
	case *namespace:
		return "Namespace"
	case *undefined:
		return "Undefined"
	case *method, *function:
		return "function"
	case *macroValue:
		return "Macro"
	case *loopValue:
		return "LoopContext"
	case *cycler:
		return "Cycler"
	case *joiner:
		return "Joiner"
	}
	return "object"
}

// truth is Python's bool(v).
func truth(v Value) bool {
	switch v := v.(type) {
	case nil, *undefined:
		return false
	case bool:
		return v
	case int:
		return v != 0
	case float64:
		return v != 0
	}
	if n, ok := length(v); ok {
		return n > 0
	}
	return true
}

// length is Python's len(v); ok tells whether v has one.
func length(v Value) (n int, ok bool) {
	switch v := v.(type) {
	case string:
		return characters(v), true
	case markup:
		return characters(string(v)), true
	case *List:
		return len(v.Items), true
	case *Tuple:
		return len(v.Items), true
	case *group:
		return len(v.Items), true
	case *Dict:
		return len(v.keys), true
	case *view:
		return len(v.dict.keys), true
	case *numbers:
		return v.len(), true
	case *undefined:
		return 0, true
	}
	return 0, false
}

// text returns the string in a str or Markup.
func asText(v Value) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case markup:
		return string(v), true
	}
	return "", false
}

// asInt returns what Python takes as an index: int or bool.
func asInt(v Value) (int, bool) {
	switch v := v.(type) {
	case int:
		return v, true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

func (n *numbers) len() int {
	switch {
	case n.step > 0 && n.start < n.stop:
		return (n.stop-n.start-1)/n.step + 1
	case n.step < 0 && n.start > n.stop:
		return (n.start-n.stop-1)/-n.step + 1
	}
	return 0
}

// sequence returns the items of what can be indexed like a list.
func sequence(v Value) ([]Value, bool) {
	switch v := v.(type) {
	case *List:
		return v.Items, true
	case *Tuple:
		return v.Items, true
	case *group:
		return v.Items, true
	}
	return nil, false
}

func isTuple(v Value) bool {
	switch v.(type) {
	case *Tuple, *group:
		return true
	}
	return false
}
