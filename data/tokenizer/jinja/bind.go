package jinja

import (
	"fmt"
	"slices"
)

// binder assigns a slot to each name in a template, as Jinja2's compiler.py does, and checks what can be checked before
// the template runs.
type binder struct {
	at    binding
	depth int
	err   error
}

// binding is the binder's current context.
type binding struct {
	symbols *symbols
	soft    bool // in a branch of an if, where an unknown filter is an error only when it is reached
	loop    bool // inside a loop that break and continue can refer to
}

// bind returns the size of the template's frame and its scope.
func bind(body []stmt) (size int, s scope, err error) {
	root := newRoutine(nil)
	b := &binder{at: binding{symbols: newSymbols(nil, root)}}
	visitAll(b.at.symbols, body)
	s = b.at.symbols.scopeOf()
	b.stmts(body)
	return len(root.slots), s, b.err
}

func (b *binder) fail(n node, format string, args ...any) {
	if b.err == nil {
		b.err = &Error{Line: n.lineno(), Problem: oneLine(fmt.Sprintf(format, args...))}
	}
}

// inner begins a scope in the routine in. The caller must restore b.at.
func (b *binder) inner(in *routine) *symbols {
	b.at = binding{symbols: newSymbols(b.at.symbols, in), loop: b.at.loop && in == b.at.symbols.in}
	return b.at.symbols
}

// within runs f one level deeper in the tree.
func (b *binder) within(n node, f func()) {
	if b.depth++; b.depth > deepestTree {
		b.fail(n, "nested more than %d levels deep", deepestTree)
	}
	if b.err == nil {
		f()
	}
	b.depth--
}

func (b *binder) stmts(list []stmt) {
	for _, s := range list {
		b.within(s, func() { b.stmt(s) })
	}
}

func (b *binder) stmt(s stmt) {
	saved := b.at
	switch s := s.(type) {
	case *printing:
		b.exprs(s.parts...)
	case *conditionalStmt:
		b.at.soft = true
		b.ifStmt(s)
	case *loop:
		b.loop(s)
	case *assignment:
		b.exprs(s.target, s.value)
	case *blockAssignment:
		b.blockAssignment(s)
	case *macro:
		b.macro(s)
		b.at = saved
		s.self = b.slot(s, s.id)
	case *callBlock:
		b.macro(s.caller)
		b.at = saved
		if slices.Contains(s.call.args.names, "caller") {
			b.fail(s, "a call block sets caller itself")
		}
		b.expr(s.call)
	case *generation:
		b.macro(s.caller)
	case *filterBlock:
		inner := b.inner(saved.symbols.in)
		visitAll(inner, children(s))
		s.scope = inner.scopeOf()
		b.stmts(s.body)
		b.expr(s.filter)
	case *with:
		b.with(s)
	case *jump:
		if !b.at.loop {
			b.fail(s, "break or continue outside of a loop")
		}
	}
	b.at = saved
}

func (b *binder) ifStmt(s *conditionalStmt) {
	b.expr(s.test)
	b.stmts(s.body)
	for _, e := range s.elifs {
		b.expr(e.test)
		b.stmts(e.body)
	}
	b.stmts(s.otherwise)
}

func (b *binder) blockAssignment(s *blockAssignment) {
	outer := b.at
	inner := b.inner(outer.symbols.in)
	visitAll(inner, s.body)
	s.scope = inner.scopeOf()
	b.stmts(s.body)
	if s.filter != nil {
		b.expr(s.filter)
	}
	b.at = outer
	b.expr(s.target)
}

func (b *binder) with(s *with) {
	b.exprs(s.values...)
	inner := b.inner(b.at.symbols.in)
	visitAll(inner, s.targets)
	visitAll(inner, s.body)
	s.scope = inner.scopeOf()
	b.exprs(s.targets...)
	b.stmts(s.body)
}

func (b *binder) loop(s *loop) {
	outer := b.at
	b.expr(s.iter)
	b.noLoopTarget(s)
	if s.test != nil {
		b.loopTest(s)
		b.at = outer
	}
	in := outer.symbols.in
	if s.recursive {
		in = newRoutine(in)
	}
	inner := b.inner(in)
	s.scopes.special = s.recursive || undeclared(s.body, "loop")["loop"]
	if s.scopes.special {
		inner.declare("loop")
	}
	inner.visitTarget(s.target)
	visitAll(inner, s.body)
	s.scopes.body = inner.scopeOf()
	if s.scopes.special {
		s.scopes.loopSlot = b.slot(s, "loop")
	}
	b.expr(s.target)
	b.at.loop = true
	b.stmts(s.body)

	b.at = outer
	b.at.soft = false
	inner = b.inner(in)
	visitAll(inner, s.otherwise)
	s.scopes.otherwise = inner.scopeOf()
	b.stmts(s.otherwise)
	s.scopes.size = len(in.slots)
}

// loopTest binds the filter of a loop, which is a separate routine with its own copy of the target.
func (b *binder) loopTest(s *loop) {
	in := newRoutine(b.at.symbols.in)
	inner := b.inner(in)
	inner.visitTarget(s.target)
	inner.visit(s.test)
	s.scopes.test = inner.scopeOf()
	s.scopes.testTarget = cloneTarget(s.target)
	b.exprs(s.scopes.testTarget, s.test)
	s.scopes.testSize = len(in.slots)
}

func cloneTarget(e expr) expr {
	switch e := e.(type) {
	case *name:
		c := *e
		return &c
	case *tuple:
		c := &tuple{line: e.line}
		for _, item := range e.items {
			c.items = append(c.items, cloneTarget(item))
		}
		return c
	}
	return e
}

// noLoopTarget rejects assignments to the name loop inside a loop.
func (b *binder) noLoopTarget(n node) {
	if n, ok := n.(*name); ok && n.ctx == store && n.id == "loop" {
		b.fail(n, "cannot assign to the special variable loop in a loop")
	}
	for _, c := range children(n) {
		b.noLoopTarget(c)
	}
}

// macro binds a macro, or the body of a call block.
func (b *binder) macro(m *macro) {
	in := newRoutine(b.at.symbols.in)
	inner := b.inner(in)
	special := map[string]int{"caller": -1, "kwargs": -1, "varargs": -1}
	reads := undeclared(m.body, "caller", "kwargs", "varargs")
	for _, arg := range m.args {
		if arg.id == "caller" && reads["caller"] && slices.Index(m.args, arg) < len(m.args)-len(m.defaults) {
			b.fail(m, "the argument caller of a macro needs a default")
		}
		delete(reads, arg.id)
		inner.visit(arg)
	}
	for id := range reads {
		inner.declare(id)
		special[id] = in.index(inner.refs[id])
	}
	visitAll(inner, m.defaults)
	visitAll(inner, m.body)
	m.scope = macroScope{scope: inner.scopeOf(), caller: special["caller"], kwargs: special["kwargs"], varargs: special["varargs"]}
	for _, arg := range m.args {
		m.scope.args = append(m.scope.args, in.index(inner.refs[arg.id]))
	}
	b.exprs(m.defaults...)
	b.stmts(m.body)
	m.scope.size = len(in.slots)
}

// slot returns the slot of the variable id.
func (b *binder) slot(n node, id string) slot {
	holder := b.at.symbols.find(id)
	if holder == nil { // Jinja2 loses the arguments of a filter on a set block
		b.fail(n, "%q is not defined anywhere in the template", id)
		return slot{}
	}
	return b.at.symbols.slotOf(holder, id)
}

func (b *binder) exprs(list ...expr) {
	for _, e := range list {
		b.expr(e)
	}
}

func (b *binder) expr(e expr) {
	if e == nil {
		return
	}
	b.within(e, func() {
		soft := b.at.soft
		switch e := e.(type) {
		case *name:
			if e.id == "self" && e.ctx == load {
				b.fail(e, "self is not supported: blocks are for templates that extend others")
			}
			e.slot = b.slot(e, e.id)
		case *namespaceAttr:
			e.slot = b.slot(e, e.id)
		case *conditional:
			b.at.soft = true
		case *filter:
			b.known(e, "filter", e.id, filterProblem(e.id))
		case *test:
			b.known(e, "test", e.id, testProblem(e.id))
		}
		for _, c := range children(e) {
			b.expr(c.(expr))
		}
		b.at.soft = soft
	})
}

// known rejects a filter or test that does not exist, unless it is in a branch that may never be reached.
func (b *binder) known(n node, what, id, problem string) {
	if problem != "" && !b.at.soft {
		b.fail(n, "the %s %q %s", what, id, problem)
	}
}
