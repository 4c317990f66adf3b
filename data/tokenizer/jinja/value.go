package jinja

import "fmt"

// Value is a template value: nil (None), bool, int, float64, string, *List, *Dict, or a type that only templates
// create. A template never modifies a value, except for namespaces, cyclers, and iterators.
type Value any

// List is a Python list.
type List struct{ Items []Value }

// Tuple is a Python tuple.
type Tuple struct{ Items []Value }

// Dict is a Python dict. It keeps its keys in the order in which they were first set.
type Dict struct {
	keys, values []Value
	index        map[any]int // by hash
}

// markup is a string that is already HTML-escaped. Strings joined to it are escaped.
type markup string

// integer is a JSON integer that does not fit into 64 bits. It prints unchanged, but arithmetic with it is an error.
type integer string

// numbers is the result of range.
type numbers struct{ start, stop, step int }

// view is the result of keys, values, or items of a dict.
type view struct {
	dict *Dict
	of   string // keys, values, or items
}

// namespace is an object whose attributes can be assigned by set.
type namespace struct{ attrs *Dict }

// group is an entry of groupby: a tuple with named items.
type group struct {
	Tuple
}

// method is a method of a value, not yet called.
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

// undefined is the result of a name or key without a value. It prints as nothing, and most other uses are errors.
type undefined struct {
	hint   string // replaces the message from the next fields
	object Value  // object without the key
	ofName bool   // the key is a variable, and there is no object
	key    Value
	dict   *Dict // the object, if it is a dict
}

// A frame slot that was never set is unset. A slot without a value at this point of the template is missing.
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
	case string:
		return v != ""
	case markup:
		return v != ""
	}
	if n, ok := length(v); ok {
		return n > 0
	}
	return true
}

// length is Python's len(v). ok is false if v has no length.
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

// asText returns the string in a str or Markup.
func asText(v Value) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case markup:
		return string(v), true
	}
	return "", false
}

// asInt returns a value that Python accepts as an index: an int or bool.
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

// sequence returns the items of a value that can be indexed like a list.
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
