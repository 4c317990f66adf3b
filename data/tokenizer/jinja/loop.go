package jinja

import "fmt"

// loopValue is the variable loop.
type loopValue struct {
	run      *run
	items    *iterator
	size     int // number of items to iterate over; -1 if unknown
	index0   int
	depth0   int
	after    Value // the next item, if it has been read ahead
	peeked   bool
	current  Value
	previous Value
	changed  *Tuple // arguments of the last call of changed
	recurse  func(items Value, depth int) (string, error)
}

func (s *loop) exec(r *run, f *frame, out *output) (flow, error) {
	items, err := s.iter.eval(r, f)
	if err != nil {
		return flowNext, err
	}
	r.line = s.lineno()
	if s.recursive {
		text, err := s.recurse(r, f, items, 0)
		if err != nil {
			return flowNext, err
		}
		return flowNext, out.write(text)
	}
	return s.each(r, f, f, &loopValue{run: r, size: -1, index0: -1}, items, out)
}

// recurse runs a recursive loop, which is a separate routine.
func (s *loop) recurse(r *run, f *frame, items Value, depth int) (string, error) {
	return r.nested(func() (string, error) {
		l := &loopValue{run: r, size: -1, index0: -1, depth0: depth}
		l.recurse = func(items Value, depth int) (string, error) { return s.recurse(r, f, items, depth) }
		in, err := r.newFrame(f, s.scopes.size)
		if err != nil {
			return "", err
		}
		out := r.buffer()
		_, err = s.each(r, f, in, l, items, out)
		return out.String(), err
	})
}

// each runs the body for each item. The variables of the loop are in the frame in; outer is the frame of the statement.
func (s *loop) each(r *run, outer, in *frame, l *loopValue, items Value, out *output) (flow, error) {
	var err error
	if l.items, err = r.iterate(items); err != nil {
		return flowNext, err
	}
	if _, lazy := items.(*iterator); !lazy && s.test == nil {
		if err := r.scan(items); err != nil {
			return flowNext, err
		}
		if n, ok := length(items); ok {
			l.size = n
		}
	}
	if s.test != nil {
		if l.items, err = s.filtered(r, outer, l.items); err != nil {
			return flowNext, err
		}
	}
	ranThrough := false // Jinja2 runs the else branch unless at least one iteration completed
	for {
		ok, err := s.round(r, in, l)
		if err != nil {
			return flowNext, err
		}
		if !ok {
			break
		}
		to, err := r.stmts(s.body, in, out)
		if err != nil {
			return flowNext, err
		}
		ranThrough = ranThrough || to == flowNext
		if to == flowBreak {
			break
		}
	}
	if !s.recursive || s.otherwise != nil {
		leave(in, s.scopes.body)
	}
	if ranThrough || s.otherwise == nil {
		return flowNext, nil
	}
	if err := r.enter(in, s.scopes.otherwise); err != nil {
		return flowNext, err
	}
	to, err := r.stmts(s.otherwise, in, out)
	leave(in, s.scopes.otherwise)
	return to, err
}

// round prepares the next iteration and reports whether there is one.
func (s *loop) round(r *run, in *frame, l *loopValue) (bool, error) {
	r.line = s.lineno()
	item, ok, err := l.next()
	if err != nil || !ok {
		return false, err
	}
	if err := r.assign(s.target, item, in); err != nil {
		return false, err
	}
	if s.scopes.special {
		*in.at(s.scopes.loopSlot) = l
	}
	return true, r.enter(in, s.scopes.body)
}

// filtered returns the items that pass the loop's filter.
func (s *loop) filtered(r *run, outer *frame, items *iterator) (*iterator, error) {
	f, err := r.newFrame(outer, s.scopes.testSize)
	entered := false
	return &iterator{what: "generator", next: func() (Value, bool, error) {
		if !entered {
			entered = true
			if err := r.enter(f, s.scopes.test); err != nil {
				return nil, false, err
			}
		}
		for {
			item, ok, err := items.next()
			if err != nil || !ok {
				return nil, false, err
			}
			if err := r.assign(s.scopes.testTarget, item, f); err != nil {
				return nil, false, err
			}
			v, err := s.test.eval(r, f)
			if err != nil {
				return nil, false, err
			}
			if truth(v) {
				return r.read(s.scopes.testTarget, f), true, nil
			}
		}
	}}, err
}

// read returns the current value of a target.
func (r *run) read(target expr, f *frame) Value {
	switch t := target.(type) {
	case *name:
		return *f.at(t.slot)
	case *tuple:
		items := make([]Value, len(t.items))
		for i, item := range t.items {
			items[i] = r.read(item, f)
		}
		return &Tuple{items}
	}
	return nil
}

func (l *loopValue) next() (Value, bool, error) {
	v, ok := l.after, true
	if !l.peeked {
		var err error
		if v, ok, err = l.items.next(); err != nil || !ok {
			return nil, false, err
		}
	}
	l.peeked, l.after = false, nil
	l.index0++
	l.previous, l.current = l.current, v
	return v, ok, nil
}

// peek returns the next item without consuming it, or false if there is none.
func (l *loopValue) peek() (Value, bool, error) {
	if !l.peeked {
		v, ok, err := l.items.next()
		if err != nil || !ok {
			return nil, false, err
		}
		l.after, l.peeked = v, true
	}
	return l.after, true, nil
}

// length returns the number of items. For a generator, it reads all of them in advance.
func (l *loopValue) length() (int, error) {
	if l.size >= 0 {
		return l.size, nil
	}
	rest, err := l.run.items(l.items)
	if err != nil {
		return 0, err
	}
	l.items = overSlice(rest)
	l.size = len(rest) + l.index0 + 1
	if l.peeked {
		l.size++
	}
	return l.size, nil
}

// attr returns an attribute of loop.
func (l *loopValue) attr(id string) (Value, bool, error) {
	switch id {
	case "index":
		return l.index0 + 1, true, nil
	case "index0":
		return l.index0, true, nil
	case "first":
		return l.index0 == 0, true, nil
	case "depth":
		return l.depth0 + 1, true, nil
	case "depth0":
		return l.depth0, true, nil
	case "last":
		_, ok, err := l.peek()
		return !ok, true, err
	case "nextitem":
		v, ok, err := l.peek()
		if err == nil && !ok {
			return &undefined{hint: "there is no next item"}, true, nil
		}
		return v, true, err
	case "previtem":
		if l.index0 == 0 {
			return &undefined{hint: "there is no previous item"}, true, nil
		}
		return l.previous, true, nil
	case "length", "revindex", "revindex0":
		n, err := l.length()
		return map[string]int{"length": n, "revindex": n - l.index0, "revindex0": n - l.index0 - 1}[id], true, err
	case "cycle":
		return &method{l, id, l.cycle}, true, nil
	case "changed":
		return &method{l, id, l.hasChanged}, true, nil
	}
	return nil, false, nil
}

func (l *loopValue) cycle(_ *run, c *callArgs) (Value, error) {
	if err := c.noNames(); err != nil {
		return nil, err
	}
	if len(c.values) == 0 {
		return nil, typeError("no items for cycling given")
	}
	return c.values[l.index0%len(c.values)], nil
}

func (l *loopValue) hasChanged(r *run, c *callArgs) (Value, error) {
	if err := c.noNames(); err != nil {
		return nil, err
	}
	now := &Tuple{c.values}
	if l.changed != nil {
		if same, err := r.equal(l.changed, now, 0); err != nil || same {
			return false, err
		}
	}
	l.changed = now
	return true, nil
}

// call runs a recursive loop over the given items, one level deeper.
func (l *loopValue) call(_ *run, c *callArgs) (Value, error) {
	c.callee = "loop"
	a, err := c.bind("iterable")
	if err != nil {
		return nil, err
	}
	if l.recurse == nil {
		return nil, typeError("the loop must be marked recursive to be called")
	}
	return l.recurse(a[0], l.depth0+1)
}

func (l *loopValue) String() string {
	return fmt.Sprintf("<LoopContext %d/%d>", l.index0+1, l.size)
}
