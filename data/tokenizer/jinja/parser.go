package jinja

import (
	"fmt"
	"slices"
	"strings"
)

// parser parses statements; parse_expr.go parses expressions. The first error sticks: after it, the parser sees the end
// of the template.
type parser struct {
	tokens []token
	pos    int
	depth  int // of nested statements and brackets
	open   []string
	err    error
}

// deepest is the maximum nesting of statements and brackets.
const deepest = 200

func parse(source string) ([]stmt, error) {
	tokens, err := lex(source)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens}
	body := p.body(nil)
	return body, p.err
}

func (p *parser) current() token { return p.tokens[p.pos] }

// peek returns the token after the current one.
func (p *parser) peek() token { return p.tokens[min(p.pos+1, len(p.tokens)-1)] }

func (p *parser) next() token {
	t := p.tokens[p.pos]
	if p.pos < len(p.tokens)-1 {
		p.pos++
	}
	return t
}

func (p *parser) fail(line int, format string, args ...any) {
	if p.err == nil {
		p.err = &Error{Line: line, Problem: oneLine(fmt.Sprintf(format, args...))}
	}
	p.pos = len(p.tokens) - 1
}

func (p *parser) at(kinds ...kind) bool { return slices.Contains(kinds, p.current().kind) }

func (p *parser) atName(names ...string) bool {
	t := p.current()
	return t.kind == tokName && slices.Contains(names, t.text)
}

func (p *parser) skip(k kind) bool {
	if !p.at(k) {
		return false
	}
	p.next()
	return true
}

func (p *parser) skipName(s string) bool {
	if !p.atName(s) {
		return false
	}
	p.next()
	return true
}

func (p *parser) expect(k kind) token {
	t := p.current()
	if t.kind == k {
		return p.next()
	}
	want := token{kind: k, text: "name"}
	if t.kind == tokEOF {
		p.fail(t.line, "unexpected end of template, expected '%v'", want)
	} else {
		p.fail(t.line, "expected '%v', got '%v'", want, t)
	}
	return token{line: t.line}
}

func (p *parser) expectName(s string) token {
	if t := p.current(); !p.atName(s) {
		p.fail(t.line, "expected '%s', got '%v'", s, t)
	}
	return p.next()
}

// enter counts a level of nesting. The caller must leave it again.
func (p *parser) enter() {
	if p.depth++; p.depth > deepest {
		p.fail(p.current().line, "nested more than %d levels deep", deepest)
	}
}

func (p *parser) leave() { p.depth-- }

// body parses text and tags up to a tag named in end, or to the end of the template if end is nil.
func (p *parser) body(end []string) []stmt {
	var list []stmt
	var parts []expr
	flush := func() {
		if len(parts) > 0 {
			list = append(list, &printing{line(parts[0].lineno()), parts})
			parts = nil
		}
	}
	for {
		t := p.current()
		switch t.kind {
		case tokData:
			parts = append(parts, &text{line(t.line), t.text})
			p.next()
		case tokVariableBegin:
			p.next()
			parts = append(parts, p.tupleOrExpr(tupleOptions{conditional: true}))
			p.expect(tokVariableEnd)
		case tokBlockBegin:
			flush()
			p.next()
			if p.atName(end...) {
				return list
			}
			if s := p.statement(end); s != nil {
				list = append(list, s)
			}
			p.expect(tokBlockEnd)
		default: // the end of the template
			flush()
			if end != nil {
				p.unclosed(t.line, end)
			}
			return list
		}
	}
}

func (p *parser) unclosed(line int, end []string) {
	p.fail(line, "unexpected end of template: looking for %s to close %q", strings.Join(end, " or "), p.open[len(p.open)-1])
}

// block parses the remainder of a tag and the statements up to a tag named in end, whose name becomes the current token.
func (p *parser) block(end ...string) []stmt {
	p.skip(":")
	p.expect(tokBlockEnd)
	return p.body(end)
}

// closed is block with a single ending tag, which it also consumes.
func (p *parser) closed(end string) []stmt {
	body := p.block(end)
	p.next()
	return body
}

// refused are the tags that chat templates cannot use, and why.
var refused = map[string]string{
	"include":    "a chat template cannot read other templates",
	"import":     "a chat template cannot read other templates",
	"from":       "a chat template cannot read other templates",
	"extends":    "a chat template cannot read other templates",
	"block":      "blocks are for templates that extend others",
	"autoescape": "chat templates are not HTML",
}

func (p *parser) statement(end []string) stmt {
	t := p.current()
	if t.kind != tokName {
		p.fail(t.line, "tag name expected, got '%v'", t)
		return nil
	}
	p.open = append(p.open, t.text)
	p.enter()
	defer func() { p.open = p.open[:len(p.open)-1]; p.leave() }()
	switch t.text {
	case "for":
		return p.forTag()
	case "if":
		return p.ifTag()
	case "set":
		return p.setTag()
	case "macro":
		return p.macroTag()
	case "call":
		return p.callTag()
	case "filter":
		return p.filterTag()
	case "with":
		return p.withTag()
	case "print":
		return p.printTag()
	case "generation":
		p.next()
		return &generation{line(t.line), &macro{line: line(t.line), body: p.closed("endgeneration")}}
	case "break":
		p.next()
		return &jump{line(t.line), flowBreak}
	case "continue":
		p.next()
		return &jump{line(t.line), flowContinue}
	}
	p.unknownTag(t, end)
	return nil
}

func (p *parser) unknownTag(t token, end []string) {
	why, known := refused[t.text]
	switch {
	case known:
		p.fail(t.line, "the tag %q is not supported: %s", t.text, why)
	case len(end) > 0:
		p.fail(t.line, "unknown tag %q: looking for %s to close %q", t.text, strings.Join(end, " or "), p.open[len(p.open)-2])
	default:
		p.fail(t.line, "unknown tag %q", t.text)
	}
}

func (p *parser) forTag() stmt {
	s := &loop{line: line(p.next().line)}
	s.target = p.target(tupleOptions{end: "in"})
	p.expectName("in")
	s.iter = p.tupleOrExpr(tupleOptions{end: "recursive"})
	if p.skipName("if") {
		s.test = p.expression()
	}
	s.recursive = p.skipName("recursive")
	s.body = p.block("endfor", "else")
	if p.next().text == "else" {
		s.otherwise = p.closed("endfor")
	}
	return s
}

func (p *parser) ifTag() stmt {
	s := &conditionalStmt{line: line(p.next().line)}
	for branch := s; ; {
		branch.test = p.tupleOrExpr(tupleOptions{})
		branch.body = p.block("elif", "else", "endif")
		switch p.next().text {
		case "elif":
			branch = &conditionalStmt{line: line(p.current().line)}
			s.elifs = append(s.elifs, branch)
			continue
		case "else":
			s.otherwise = p.closed("endif")
		}
		return s
	}
}

func (p *parser) setTag() stmt {
	at := line(p.next().line)
	target := p.target(tupleOptions{namespace: true})
	if p.skip("=") {
		return &assignment{at, target, p.tupleOrExpr(tupleOptions{conditional: true})}
	}
	s := &blockAssignment{line: at, target: target}
	s.filter, _ = p.filters(nil).(*filter)
	s.body = p.closed("endset")
	return s
}

func (p *parser) macroTag() stmt {
	m := &macro{line: line(p.next().line)}
	m.id = p.nameTarget(store).id
	p.signature(m)
	m.body = p.closed("endmacro")
	return m
}

// signature parses the parameters of a macro or call block.
func (p *parser) signature(m *macro) {
	p.expect("(")
	for p.err == nil && !p.at(")") {
		if len(m.args) > 0 {
			p.expect(",")
		}
		arg := p.nameTarget(param)
		if slices.ContainsFunc(m.args, func(a *name) bool { return a.id == arg.id }) {
			p.fail(arg.lineno(), "duplicate argument %q", arg.id)
		}
		if p.skip("=") {
			m.defaults = append(m.defaults, p.expression())
		} else if len(m.defaults) > 0 {
			p.fail(arg.lineno(), "argument %q without a default follows one with a default", arg.id)
		}
		m.args = append(m.args, arg)
	}
	p.expect(")")
}

func (p *parser) callTag() stmt {
	at := line(p.next().line)
	s := &callBlock{line: at, caller: &macro{line: at}}
	if p.at("(") {
		p.signature(s.caller)
	}
	c, ok := p.expression().(*call)
	if !ok {
		p.fail(int(at), "expected a call")
	}
	s.call = c
	s.caller.body = p.closed("endcall")
	return s
}

func (p *parser) filterTag() stmt {
	s := &filterBlock{line: line(p.next().line)}
	s.filter = p.filters(p.oneFilter(nil)).(*filter)
	s.body = p.closed("endfilter")
	return s
}

func (p *parser) withTag() stmt {
	s := &with{line: line(p.next().line)}
	for p.err == nil && !p.at(tokBlockEnd) {
		if len(s.targets) > 0 {
			p.expect(",")
		}
		target := p.target(tupleOptions{})
		setAccess(target, param)
		s.targets = append(s.targets, target)
		p.expect("=")
		s.values = append(s.values, p.expression())
	}
	s.body = p.closed("endwith")
	return s
}

func (p *parser) printTag() stmt {
	s := &printing{line: line(p.next().line)}
	for p.err == nil && !p.at(tokBlockEnd) {
		if len(s.parts) > 0 {
			p.expect(",")
		}
		s.parts = append(s.parts, p.expression())
	}
	return s
}

// target parses the target of set, for, or with.
func (p *parser) target(o tupleOptions) expr {
	o.simple = true
	t := p.tupleOrExpr(o)
	if p.err == nil && !assignable(t) {
		p.fail(t.lineno(), "cannot assign to %s", describe(t))
	}
	setAccess(t, store)
	return t
}

func (p *parser) nameTarget(ctx access) *name {
	t := p.expect(tokName)
	n := &name{line: line(t.line), id: t.text, ctx: ctx}
	if p.err == nil && !assignable(n) {
		p.fail(t.line, "cannot assign to %q", t.text)
	}
	return n
}

func assignable(e expr) bool {
	switch e := e.(type) {
	case *name:
		return !slices.Contains([]string{"true", "false", "none", "True", "False", "None"}, e.id)
	case *namespaceAttr:
		return true
	case *tuple:
		return !slices.ContainsFunc(e.items, func(e expr) bool { return !assignable(e) })
	}
	return false
}

func setAccess(e expr, ctx access) {
	switch e := e.(type) {
	case *name:
		e.ctx = ctx
	case *tuple:
		for _, item := range e.items {
			setAccess(item, ctx)
		}
	}
}

// describe names an expression that cannot be assigned to.
func describe(e expr) string {
	switch e := e.(type) {
	case *constant:
		return "a constant"
	case *attribute:
		return "the attribute " + e.id
	case *item:
		return "an item"
	}
	return "this expression"
}
