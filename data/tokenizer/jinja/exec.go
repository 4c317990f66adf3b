package jinja

import (
	"errors"
	"strings"
)

// run is one rendering of a template.
type run struct {
	limits
	template  *Template
	variables map[string]Value
	out       *output
	line      int // line of the node being evaluated
	marks     []mark
	missing   []MissingKey
	noted     map[missingKey]bool
}

// missingKey is a missing key that has already been recorded.
type missingKey struct {
	dict *Dict
	key  string
}

// frame contains the variables of a running routine.
type frame struct {
	parent *frame
	slots  []Value
}

func (r *run) newFrame(parent *frame, size int) (*frame, error) {
	if err := r.allocItems(size); err != nil {
		return nil, err
	}
	f := &frame{parent, make([]Value, size)}
	for i := range f.slots {
		f.slots[i] = unset
	}
	return f, nil
}

func (f *frame) at(s slot) *Value {
	for range s.hops {
		f = f.parent
	}
	return &f.slots[s.index]
}

// output collects text.
type output struct {
	strings.Builder
	*limits
}

func (o *output) write(s string) error {
	if o.Len()+len(s) > maxText {
		return errors.New("more than 16 MiB of output")
	}
	if err := o.alloc(len(s)); err != nil {
		return err
	}
	o.WriteString(s)
	return nil
}

// writeText writes the result of a block, which must be a string.
func (o *output) writeText(v Value) error {
	s, ok := asText(v)
	if !ok {
		return notString(v)
	}
	return o.write(s)
}

func (r *run) buffer() *output { return &output{limits: &r.limits} }

// flow determines how execution continues after a statement.
type flow int

const (
	flowNext flow = iota
	flowBreak
	flowContinue
)

func (r *run) stmts(list []stmt, f *frame, out *output) (flow, error) {
	for _, s := range list {
		r.line = s.lineno()
		if err := r.step(1); err != nil {
			return flowNext, err
		}
		if to, err := s.exec(r, f, out); err != nil || to != flowNext {
			return to, err
		}
	}
	return flowNext, nil
}

// enter initializes the variables of a scope.
func (r *run) enter(f *frame, s scope) error {
	if err := r.step(len(s.enter)); err != nil {
		return err
	}
	for _, e := range s.enter {
		switch e.origin {
		case fromVariables:
			f.slots[e.index] = r.resolve(e.name)
		case fromOutside:
			f.slots[e.index] = *f.at(e.from)
		case fromNowhere:
			f.slots[e.index] = missing
		}
	}
	return nil
}

func leave(f *frame, s scope) {
	for _, i := range s.leave {
		f.slots[i] = missing
	}
}

// resolve returns the value of a variable passed to Render or of a global function.
func (r *run) resolve(name string) Value {
	if v, ok := r.variables[name]; ok {
		return v
	}
	if v, ok := globals[name]; ok {
		return v
	}
	return missing
}

func (s *printing) exec(r *run, f *frame, out *output) (flow, error) {
	for _, p := range s.parts {
		if t, ok := p.(*text); ok {
			if err := out.write(t.data); err != nil {
				return flowNext, err
			}
			continue
		}
		v, err := r.visit(p, f)
		if err != nil {
			return flowNext, err
		}
		r.line = p.lineno()
		written, err := r.str(v)
		if err != nil {
			return flowNext, err
		}
		if err := out.write(written); err != nil {
			return flowNext, err
		}
	}
	return flowNext, nil
}

func (s *conditionalStmt) exec(r *run, f *frame, out *output) (flow, error) {
	for i := -1; i < len(s.elifs); i++ {
		branch := s
		if i >= 0 {
			branch = s.elifs[i]
		}
		r.line = branch.lineno()
		v, err := r.visit(branch.test, f)
		if err != nil {
			return flowNext, err
		}
		if truth(v) {
			return r.stmts(branch.body, f, out)
		}
	}
	return r.stmts(s.otherwise, f, out)
}

func (s *assignment) exec(r *run, f *frame, _ *output) (flow, error) {
	if err := r.checkNamespaces(s.target, f); err != nil {
		return flowNext, err
	}
	v, err := s.value.eval(r, f)
	if err != nil {
		return flowNext, err
	}
	r.line = s.lineno()
	return flowNext, r.assign(s.target, v, f)
}

// checkNamespaces rejects targets ns.attr where ns is not a namespace, before the value is evaluated.
func (r *run) checkNamespaces(target expr, f *frame) error {
	switch t := target.(type) {
	case *namespaceAttr:
		if _, ok := (*f.at(t.slot)).(*namespace); !ok {
			return typeError("cannot assign to an attribute of %s, which is not a namespace", t.id)
		}
	case *tuple:
		for _, item := range t.items {
			if err := r.checkNamespaces(item, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// assign stores v in a target, or its items in the targets of a tuple.
func (r *run) assign(target expr, v Value, f *frame) error {
	switch t := target.(type) {
	case *name:
		*f.at(t.slot) = v
	case *namespaceAttr:
		ns, ok := (*f.at(t.slot)).(*namespace)
		if !ok {
			return typeError("cannot assign to an attribute of %s, which is not a namespace", t.id)
		}
		return ns.set(t.attr, v)
	case *tuple:
		items, err := r.unpack(v, len(t.items))
		if err != nil {
			return err
		}
		for i, item := range items {
			if err := r.assign(t.items[i], item, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// unpack returns the n items of v.
func (r *run) unpack(v Value, n int) ([]Value, error) {
	it, err := r.iterate(v)
	if err != nil {
		return nil, typeError("cannot unpack non-iterable %s object", typeName(v))
	}
	var items []Value
	for {
		item, ok, err := it.next()
		switch {
		case err != nil:
			return nil, err
		case !ok && len(items) < n:
			return nil, typeError("not enough values to unpack (expected %d, got %d)", n, len(items))
		case !ok:
			return items, nil
		case len(items) == n:
			return nil, typeError("too many values to unpack (expected %d)", n)
		}
		items = append(items, item)
	}
}

func (s *blockAssignment) exec(r *run, f *frame, _ *output) (flow, error) {
	if err := r.enter(f, s.scope); err != nil {
		return flowNext, err
	}
	body := r.buffer()
	to, err := r.stmts(s.body, f, body)
	if err != nil || to != flowNext {
		return to, err
	}
	r.line = s.lineno()
	var v Value = body.String()
	if s.filter != nil {
		if v, err = r.filterBlock(s.filter, v, f); err != nil {
			return flowNext, err
		}
	}
	err = r.assign(s.target, v, f)
	leave(f, s.scope)
	return flowNext, err
}

func (s *filterBlock) exec(r *run, f *frame, out *output) (flow, error) {
	if err := r.enter(f, s.scope); err != nil {
		return flowNext, err
	}
	body := r.buffer()
	to, err := r.stmts(s.body, f, body)
	if err != nil || to != flowNext {
		return to, err
	}
	v, err := r.filterBlock(s.filter, body.String(), f)
	if err != nil {
		return flowNext, err
	}
	leave(f, s.scope)
	return flowNext, out.writeText(v)
}

// filterBlock applies the filters of a block to its output.
func (r *run) filterBlock(n *filter, body Value, f *frame) (Value, error) {
	if err := r.step(1); err != nil {
		return nil, err
	}
	inner, nested := n.operand.(*filter)
	if nested {
		v, err := r.filterBlock(inner, body, f)
		if err != nil {
			return nil, err
		}
		body = v
	}
	return n.apply(r, f, body)
}

func (s *with) exec(r *run, f *frame, out *output) (flow, error) {
	if err := r.enter(f, s.scope); err != nil {
		return flowNext, err
	}
	for i, target := range s.targets {
		v, err := r.visit(s.values[i], f)
		if err != nil {
			return flowNext, err
		}
		if err := r.assign(target, v, f); err != nil {
			return flowNext, err
		}
	}
	to, err := r.stmts(s.body, f, out)
	if to == flowNext {
		leave(f, s.scope)
	}
	return to, err
}

func (s *jump) exec(*run, *frame, *output) (flow, error) { return s.to, nil }
