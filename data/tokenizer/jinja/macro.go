package jinja

import (
	"errors"
	"slices"
)

// macroValue is a macro, or the caller of a call block, along with the frame in which it was defined.
type macroValue struct {
	*macro
	outer *frame
}

func (s *macro) exec(_ *run, f *frame, _ *output) (flow, error) {
	*f.at(s.self) = &macroValue{s, f}
	return flowNext, nil
}

func (s *callBlock) exec(r *run, f *frame, out *output) (flow, error) {
	callee, err := s.call.callee.eval(r, f)
	if err != nil {
		return flowNext, err
	}
	c, err := s.call.args.eval(r, f)
	if err != nil {
		return flowNext, err
	}
	c.names, c.named = append(c.names, "caller"), append(c.named, &macroValue{s.caller, f})
	r.line = s.lineno()
	v, err := r.call(callee, c)
	if err != nil {
		return flowNext, err
	}
	return flowNext, out.writeText(v)
}

// exec writes the body and records the position that transformers takes as its start: the current length of the
// template's output.
func (s *generation) exec(r *run, f *frame, out *output) (flow, error) {
	start := r.out.Len()
	body, err := (&macroValue{s.caller, f}).call(r, &callArgs{})
	if err != nil {
		return flowNext, err
	}
	r.marks = append(r.marks, mark{start, body.(string), s.lineno()})
	return flowNext, out.write(body.(string))
}

// nested runs a macro or a recursive loop, and limits the depth of such calls.
func (r *run) nested(f func() (string, error)) (string, error) {
	if r.calls++; r.calls > maxCalls {
		return "", errors.New("macros or recursive loops call each other too deeply")
	}
	line := r.line
	s, err := f()
	r.calls--
	if err == nil {
		r.line = line
	}
	return s, err
}

func (m *macroValue) call(r *run, c *callArgs) (Value, error) {
	f, err := r.newFrame(m.outer, m.scope.size)
	if err != nil {
		return nil, err
	}
	if err := r.step(len(m.args) * len(c.names) >> 4); err != nil {
		return nil, err
	}
	if err := m.arguments(f, c); err != nil {
		return nil, err
	}
	return r.nested(func() (string, error) {
		if err := r.enter(f, m.scope.scope); err != nil {
			return "", err
		}
		if err := m.fillDefaults(r, f); err != nil {
			return "", err
		}
		out := r.buffer()
		_, err := r.stmts(m.body, f, out)
		return out.String(), err
	})
}

// arguments stores the arguments of a call in the frame of the macro. Those not given are missing.
func (m *macroValue) arguments(f *frame, c *callArgs) error {
	given := min(len(c.values), len(m.args))
	names, named := slices.Clone(c.names), slices.Clone(c.named)
	take := func(id string) Value {
		i := slices.Index(names, id)
		if i < 0 {
			return missing
		}
		v := named[i]
		names, named = slices.Delete(names, i, i+1), slices.Delete(named, i, i+1)
		return v
	}
	for i, index := range m.scope.args {
		if i < given {
			f.slots[index] = c.values[i]
		} else {
			f.slots[index] = take(m.args[i].id)
		}
	}
	if m.scope.caller >= 0 {
		v := take("caller")
		if v == nil || v == missing {
			v = &undefined{hint: "no caller defined"}
		}
		f.slots[m.scope.caller] = v
	}
	if m.scope.kwargs >= 0 {
		rest := NewDict()
		for i, id := range names {
			rest.Set(id, named[i])
		}
		f.slots[m.scope.kwargs] = rest
	} else if len(names) > 0 {
		return typeError("macro %s takes no keyword argument %s", quote(m.id), quote(names[0]))
	}
	if m.scope.varargs >= 0 {
		f.slots[m.scope.varargs] = &Tuple{c.values[given:]}
	} else if len(c.values) > given {
		return typeError("macro %s takes not more than %d argument(s)", quote(m.id), len(m.args))
	}
	return nil
}

// fillDefaults evaluates the defaults of missing arguments, which may refer to earlier arguments.
func (m *macroValue) fillDefaults(r *run, f *frame) error {
	for i, index := range m.scope.args {
		if f.slots[index] != missing {
			continue
		}
		if err := r.step(1); err != nil {
			return err
		}
		d := i - len(m.args) + len(m.defaults)
		if d < 0 {
			f.slots[index] = &undefined{hint: "parameter " + quote(m.args[i].id) + " was not provided"}
			continue
		}
		v, err := r.visit(m.defaults[d], f)
		if err != nil {
			return err
		}
		f.slots[index] = v
	}
	return nil
}

// attr returns an attribute of a macro.
func (m *macroValue) attr(id string) (Value, bool) {
	switch id {
	case "name":
		if m.id == "" {
			return nil, true
		}
		return m.id, true
	case "arguments":
		t := &Tuple{}
		for _, a := range m.args {
			t.Items = append(t.Items, a.id)
		}
		return t, true
	}
	return nil, false
}
