package jinja

import (
	"cmp"
	"slices"
	"strings"
)

func (n *constant) eval(*run, *frame) (Value, error) { return n.value, nil }

func (n *text) eval(*run, *frame) (Value, error) { return n.data, nil }

func (n *namespaceAttr) eval(*run, *frame) (Value, error) {
	return nil, unsupported("a namespace target here") // it is parsed only as a target
}

func (n *name) eval(r *run, f *frame) (Value, error) {
	r.line = n.lineno()
	switch v := *f.at(n.slot); v {
	case missing:
		return &undefined{ofName: true, key: n.id}, nil
	case unset:
		return nil, typeError("%s is read before it is set", quote(n.id))
	default:
		return v, nil
	}
}

// visit evaluates e and counts it as a step.
func (r *run) visit(e expr, f *frame) (Value, error) {
	if err := r.step(1); err != nil {
		return nil, err
	}
	return e.eval(r, f)
}

func (r *run) visitAll(list []expr, f *frame) ([]Value, error) {
	values := make([]Value, len(list))
	for i, e := range list {
		v, err := r.visit(e, f)
		if err != nil {
			return nil, err
		}
		values[i] = v
	}
	return values, nil
}

func (n *tuple) eval(r *run, f *frame) (Value, error) {
	items, err := r.visitAll(n.items, f)
	if err != nil {
		return nil, err
	}
	return &Tuple{items}, r.allocItems(len(items))
}

func (n *list) eval(r *run, f *frame) (Value, error) {
	items, err := r.visitAll(n.items, f)
	if err != nil {
		return nil, err
	}
	return &List{items}, r.allocItems(len(items))
}

func (n *dict) eval(r *run, f *frame) (Value, error) {
	d := NewDict()
	for i := range n.keys {
		k, err := r.visit(n.keys[i], f)
		if err != nil {
			return nil, err
		}
		v, err := r.visit(n.values[i], f)
		if err != nil {
			return nil, err
		}
		if err := r.store(d, k, v); err != nil {
			return nil, err
		}
	}
	return d, r.allocItems(4 * len(d.keys))
}

func (n *conditional) eval(r *run, f *frame) (Value, error) {
	v, err := r.visit(n.test, f)
	switch {
	case err != nil:
		return nil, err
	case truth(v):
		return r.visit(n.then, f)
	case n.otherwise == nil:
		return &undefined{hint: "the inline if-expression evaluated to false and has no else"}, nil
	}
	return r.visit(n.otherwise, f)
}

func (n *not) eval(r *run, f *frame) (Value, error) {
	v, err := r.visit(n.operand, f)
	if err != nil {
		return nil, err
	}
	return !truth(v), nil
}

func (n *logical) eval(r *run, f *frame) (Value, error) {
	v, err := r.visit(n.left, f)
	if err != nil || truth(v) != n.and {
		return v, err
	}
	return r.visit(n.right, f)
}

func (n *unary) eval(r *run, f *frame) (Value, error) {
	v, err := r.visit(n.operand, f)
	if err != nil {
		return nil, err
	}
	r.line = n.lineno()
	return signed(n.op, v)
}

func (n *binary) eval(r *run, f *frame) (Value, error) {
	a, err := r.visit(n.left, f)
	if err != nil {
		return nil, err
	}
	b, err := r.visit(n.right, f)
	if err != nil {
		return nil, err
	}
	r.line = n.lineno()
	return r.operate(n.op, a, b)
}

func (n *comparison) eval(r *run, f *frame) (Value, error) {
	left, err := r.visit(n.first, f)
	if err != nil {
		return nil, err
	}
	for i, op := range n.ops {
		right, err := r.visit(n.operands[i], f)
		if err != nil {
			return nil, err
		}
		r.line = n.lineno()
		if ok, err := r.compare(op, left, right); err != nil || !ok {
			return false, err
		}
		left = right
	}
	return true, nil
}

func (n *concat) eval(r *run, f *frame) (Value, error) {
	values, err := r.visitAll(n.parts, f)
	if err != nil {
		return nil, err
	}
	r.line = n.lineno()
	return r.join("", values)
}

// join is Python's separator.join(map(str, values)).
func (r *run) join(separator string, values []Value) (string, error) {
	var b strings.Builder
	for i, v := range values {
		if i > 0 {
			b.WriteString(separator)
		}
		s, err := r.str(v)
		if err != nil {
			return "", err
		}
		if b.Len()+len(s) > maxText {
			return "", r.alloc(-1)
		}
		b.WriteString(s)
	}
	return b.String(), r.alloc(b.Len())
}

func (n *filter) eval(r *run, f *frame) (Value, error) {
	v, err := r.visit(n.operand, f)
	if err != nil {
		return nil, err
	}
	return n.apply(r, f, v)
}

// apply applies the filter to v.
func (n *filter) apply(r *run, f *frame, v Value) (Value, error) {
	c, err := n.args.eval(r, f)
	if err != nil {
		return nil, err
	}
	r.line = n.lineno()
	return r.filter(n.id, v, c)
}

func (r *run) filter(id string, v Value, c *callArgs) (Value, error) {
	if problem := filterProblem(id); problem != "" {
		return nil, typeError("the filter %s %s", quote(id), problem)
	}
	if err := cmp.Or(r.scan(v), r.scan(c.values...), r.scan(c.named...)); err != nil {
		return nil, err
	}
	c.callee = id
	return filters[id](r, v, c)
}

func (n *test) eval(r *run, f *frame) (Value, error) {
	v, err := r.visit(n.operand, f)
	if err != nil {
		return nil, err
	}
	c, err := n.args.eval(r, f)
	if err != nil {
		return nil, err
	}
	r.line = n.lineno()
	return r.test(n.id, v, c)
}

func (r *run) test(id string, v Value, c *callArgs) (Value, error) {
	if problem := testProblem(id); problem != "" {
		return nil, typeError("the test %s %s", quote(id), problem)
	}
	if err := r.scan(v); err != nil {
		return nil, err
	}
	c.callee = id
	return tests[id](r, v, c)
}

func (n *call) eval(r *run, f *frame) (Value, error) {
	callee, err := r.visit(n.callee, f)
	if err != nil {
		return nil, err
	}
	c, err := n.args.eval(r, f)
	if err != nil {
		return nil, err
	}
	r.line = n.lineno()
	return r.call(callee, c)
}

// call calls a function, a method, a macro, or a recursive loop.
func (r *run) call(callee Value, c *callArgs) (Value, error) {
	switch v := callee.(type) {
	case *function:
		c.callee = v.id
		return v.call(r, c)
	case *method:
		c.callee = v.id
		return v.call(r, c)
	case *macroValue:
		return v.call(r, c)
	case *loopValue:
		return v.call(r, c)
	case *joiner:
		return v.call(r, c)
	case *undefined:
		return nil, v
	}
	return nil, typeError("'%s' object is not callable", typeName(callee))
}

func (n *attribute) eval(r *run, f *frame) (Value, error) {
	v, err := r.visit(n.object, f)
	if err != nil {
		return nil, err
	}
	r.line = n.lineno()
	return r.attribute(v, n.id)
}

func (n *item) eval(r *run, f *frame) (Value, error) {
	v, err := r.visit(n.object, f)
	if err != nil {
		return nil, err
	}
	if s, ok := n.index.(*slice); ok {
		bounds, err := s.bounds(r, f)
		if err != nil {
			return nil, err
		}
		r.line = n.lineno()
		return r.slice(v, bounds)
	}
	i, err := r.visit(n.index, f)
	if err != nil {
		return nil, err
	}
	r.line = n.lineno()
	return r.item(v, i)
}

func (n *slice) eval(*run, *frame) (Value, error) {
	return nil, unsupported("a slice here") // an item evaluates its own slice
}

// bounds evaluates start, stop, and step, which are nil if not given.
func (n *slice) bounds(r *run, f *frame) (b [3]Value, err error) {
	for i, e := range []expr{n.start, n.stop, n.step} {
		if e == nil {
			continue
		}
		if b[i], err = r.visit(e, f); err != nil {
			return b, err
		}
	}
	return b, nil
}

func (a *arguments) eval(r *run, f *frame) (*callArgs, error) {
	c := &callArgs{}
	var err error
	if c.values, err = r.visitAll(a.positional, f); err != nil {
		return nil, err
	}
	if c.named, err = r.visitAll(a.named, f); err != nil {
		return nil, err
	}
	c.names = slices.Clone(a.names)
	if a.star != nil {
		if err := c.spread(r, f, a.star); err != nil {
			return nil, err
		}
	}
	if a.stars != nil {
		if err := c.spreadNamed(r, f, a.stars); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *callArgs) spread(r *run, f *frame, e expr) error {
	v, err := r.visit(e, f)
	if err != nil {
		return err
	}
	items, err := r.items(v)
	c.values = append(c.values, items...)
	return err
}

func (c *callArgs) spreadNamed(r *run, f *frame, e expr) error {
	v, err := r.visit(e, f)
	if err != nil {
		return err
	}
	d, ok := v.(*Dict)
	if !ok {
		return typeError("argument after ** must be a mapping, not %s", typeName(v))
	}
	for i, k := range d.keys {
		id, ok := asText(k)
		if !ok {
			return typeError("keywords must be strings")
		}
		if err := r.step(1 + len(c.names)*len(id)>>4); err != nil {
			return err
		}
		if slices.Contains(c.names, id) {
			return typeError("got multiple values for keyword argument %s", quote(id))
		}
		c.names, c.named = append(c.names, id), append(c.named, d.values[i])
	}
	return nil
}
