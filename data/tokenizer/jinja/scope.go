package jinja

import (
	"fmt"
	"maps"
	"slices"
)

// Jinja2 compiles a template to Python functions and decides at that point, for each scope, which Python variable a
// name refers to. This determines the effect of set in a loop, branch, or macro on outer names, so scoping is a port of
// Jinja2's idtracking.py: a symbol table for each scope, and a slot in a function's frame for each variable.

// slot locates a variable: hops frames up, at index.
type slot struct{ hops, index int }

// routine is what Jinja2 compiles to a Python function: the template, a macro, a recursive loop, a loop's filter.
type routine struct {
	parent *routine
	slots  map[string]int
	depth  int
}

func newRoutine(parent *routine) *routine {
	f := &routine{parent: parent, slots: map[string]int{}}
	if parent != nil {
		f.depth = parent.depth + 1
	}
	return f
}

func (f *routine) index(variable string) int {
	i, ok := f.slots[variable]
	if !ok {
		i = len(f.slots)
		f.slots[variable] = i
	}
	return i
}

// origin is where a variable gets its value when its scope begins.
type origin int

const (
	fromArgument  origin = iota // set by the loop or the call
	fromVariables               // looked up in the variables of Render and the globals
	fromOutside                 // copied from the outer variable of the same name
	fromNowhere                 // missing until it is set
)

type loading struct {
	origin
	name    string
	outside *symbols // scope of the copied variable
}

// symbols is the symbol table of a scope. A branch of an if has symbols with a base and contains what the branch changes.
type symbols struct {
	parent, base *symbols
	in           *routine
	level        int
	refs         map[string]string  // name to variable
	loads        map[string]loading // variable to the origin of its value
	stores       map[string]bool    // names set in this scope
}

func newSymbols(parent *symbols, in *routine) *symbols {
	s := &symbols{parent: parent, in: in, refs: map[string]string{}, loads: map[string]loading{}, stores: map[string]bool{}}
	if parent != nil {
		s.level = parent.level + 1
	}
	return s
}

func (s *symbols) branch() *symbols {
	b := newSymbols(s.parent, s.in)
	b.base = s
	return b
}

// ref returns the variable for a name that is known in this scope.
func (s *symbols) ref(name string) (string, bool) {
	for ; s != nil; s = s.base {
		if v, ok := s.refs[name]; ok {
			return v, true
		}
	}
	return "", false
}

func (s *symbols) isStored(name string) bool {
	for ; s != nil; s = s.base {
		if s.stores[name] {
			return true
		}
	}
	return false
}

// find returns the scope that knows name, or nil.
func (s *symbols) find(name string) *symbols {
	for ; s != nil; s = s.parent {
		if _, ok := s.ref(name); ok {
			return s
		}
	}
	return nil
}

func (s *symbols) define(name string, l loading) {
	variable := fmt.Sprintf("%d %s", s.level, name)
	s.refs[name] = variable
	s.loads[variable] = l
}

func (s *symbols) declare(name string) {
	s.stores[name] = true
	s.define(name, loading{origin: fromArgument, name: name})
}

func (s *symbols) store(name string) {
	s.stores[name] = true
	if _, ok := s.ref(name); ok {
		return
	}
	if outer := s.parent.find(name); outer != nil {
		s.define(name, loading{fromOutside, name, outer})
		return
	}
	s.define(name, loading{origin: fromNowhere, name: name})
}

func (s *symbols) load(name string) {
	if s.find(name) == nil {
		s.define(name, loading{origin: fromVariables, name: name})
	}
}

// merge combines the symbols of the branches of an if. A name that only branches set has its outer value until one of
// them sets it.
func (s *symbols) merge(branches ...*symbols) {
	only := map[string]bool{}
	for _, b := range branches {
		for name := range b.stores {
			if !s.isStored(name) {
				only[name] = true
			}
		}
	}
	for _, b := range branches {
		maps.Copy(s.refs, b.refs)
		maps.Copy(s.loads, b.loads)
		maps.Copy(s.stores, b.stores)
	}
	for name := range only {
		variable, _ := s.ref(name)
		s.loads[variable] = loading{origin: fromVariables, name: name}
		if outer := s.parent.find(name); outer != nil {
			s.loads[variable] = loading{fromOutside, name, outer}
		}
	}
}

// visit records the names that n reads and sets in s, but not those in nested scopes.
func (s *symbols) visit(n node) {
	switch n := n.(type) {
	case *name:
		switch n.ctx {
		case param:
			s.declare(n.id)
		case store:
			s.store(n.id)
		default:
			s.load(n.id)
		}
	case *namespaceAttr:
		s.load(n.id)
	case *conditionalStmt:
		s.visitIf(n)
	case *macro:
		s.store(n.id)
	case *assignment:
		s.visit(n.value)
		s.visit(n.target)
	case *loop:
		s.visit(n.iter)
	case *callBlock:
		s.visit(n.call)
	case *generation:
	case *filterBlock:
		s.visit(n.filter)
	case *with:
		visitAll(s, n.values)
	case *blockAssignment:
		s.visit(n.target)
	default:
		visitAll(s, children(n))
	}
}

func visitAll[N node](s *symbols, list []N) {
	for _, n := range list {
		s.visit(n)
	}
}

func (s *symbols) visitIf(n *conditionalStmt) {
	s.visit(n.test)
	body, elifs, otherwise := s.branch(), s.branch(), s.branch()
	visitAll(body, n.body)
	visitAll(elifs, n.elifs)
	visitAll(otherwise, n.otherwise)
	s.merge(body, elifs, otherwise)
}

// visitTarget declares the names in a loop's target as arguments.
func (s *symbols) visitTarget(target expr) {
	switch t := target.(type) {
	case *name:
		s.declare(t.id)
	case *tuple:
		for _, item := range t.items {
			s.visitTarget(item)
		}
	}
}

// undeclared reports which of names are read in list without having been set first.
func undeclared[N node](list []N, names ...string) map[string]bool {
	found, watched := map[string]bool{}, map[string]bool{}
	for _, n := range names {
		watched[n] = true
	}
	var visit func(n node)
	visit = func(n node) {
		if n, ok := n.(*name); ok {
			if n.ctx == load && watched[n.id] {
				found[n.id] = true
			} else {
				delete(watched, n.id)
			}
		}
		for _, c := range children(n) {
			visit(c)
		}
	}
	for _, n := range list {
		visit(n)
	}
	return found
}

// scope is what happens at the start and end of a scope at run time.
type scope struct {
	enter []entry
	leave []int // slots that become missing
}

// entry initializes a slot.
type entry struct {
	index  int
	origin origin
	name   string
	from   slot
}

// loopScopes are the scopes of a loop. If the loop is a separate routine, size is the size of its frame.
type loopScopes struct {
	body, otherwise scope
	special         bool // the body reads loop
	loopSlot        slot
	size            int // of the frame of a recursive loop

	test       scope // of the filter, a separate routine
	testTarget expr  // the target with its slots in that routine
	testSize   int
}

// macroScope is the scope of a macro's body, a separate routine.
type macroScope struct {
	scope
	size int
	args []int // the slots of the parameters
	// Slots of caller, kwargs, and varargs; -1 if the body does not read them.
	caller, kwargs, varargs int
}

// scopeOf returns the slots that s initializes and clears in its own routine.
func (s *symbols) scopeOf() scope {
	var c scope
	for _, variable := range slices.Sorted(maps.Keys(s.loads)) {
		from := s.loads[variable]
		e := entry{index: s.in.index(variable), origin: from.origin, name: from.name}
		if from.origin == fromOutside {
			e.from = s.slotOf(from.outside, from.name)
		}
		c.leave = append(c.leave, e.index)
		if from.origin != fromArgument {
			c.enter = append(c.enter, e)
		}
	}
	return c
}

// slotOf returns the slot of name in the scope holder, as seen from s.
func (s *symbols) slotOf(holder *symbols, name string) slot {
	return slot{s.in.depth - holder.in.depth, holder.in.index(holder.refs[name])}
}
