package jinja

import "strings"

// longest is the maximum number of consecutive operators, filters, or subscripts at one level.
const longest = 500

// tupleOptions controls what tupleOrExpr accepts.
type tupleOptions struct {
	conditional bool   // a if b else c outside brackets
	simple      bool   // only names and literals, as in targets
	namespace   bool   // also attributes of namespaces
	parentheses bool   // inside parentheses, where () is a tuple
	end         string // a name that ends the tuple
}

// tupleOrExpr parses expressions separated by commas. With at least one comma, the result is a tuple.
func (p *parser) tupleOrExpr(o tupleOptions) expr {
	at := line(p.current().line)
	var items []expr
	isTuple := false
	for p.err == nil {
		if len(items) > 0 {
			p.expect(",")
		}
		if p.at(tokVariableEnd, tokBlockEnd, ")") || o.end != "" && p.atName(o.end) {
			break
		}
		items = append(items, p.tupleItem(o))
		if !p.at(",") {
			break
		}
		isTuple = true
		at = line(p.current().line)
	}
	if !isTuple {
		if len(items) > 0 {
			return items[0]
		}
		if !o.parentheses {
			p.fail(p.current().line, "expected an expression, got '%v'", p.current())
		}
	}
	return &tuple{at, items}
}

func (p *parser) tupleItem(o tupleOptions) expr {
	switch {
	case o.simple && o.namespace:
		return p.namespaceTarget()
	case o.simple:
		return p.primary()
	case o.conditional || o.parentheses:
		return p.expression()
	}
	return p.or()
}

// namespaceTarget parses ns.attr, or anything that primary parses.
func (p *parser) namespaceTarget() expr {
	if t := p.current(); t.kind == tokName && p.peek().kind == "." {
		if n := (&name{id: t.text}); assignable(n) {
			p.next()
			p.next()
			return &namespaceAttr{line: line(t.line), id: t.text, attr: p.expect(tokName).text}
		}
	}
	return p.primary()
}

// expression parses an expression without commas.
func (p *parser) expression() expr {
	p.enter()
	defer p.leave()
	at := line(p.current().line)
	e := p.or()
	for n := 0; p.skipName("if"); n++ {
		p.chain(n)
		c := &conditional{line: at, then: e, test: p.or()}
		if p.skipName("else") {
			c.otherwise = p.expression()
		}
		e, at = c, line(p.current().line)
	}
	return e
}

// chain limits the number of consecutive operators, because each adds a level to the tree.
func (p *parser) chain(n int) {
	if n > longest {
		p.fail(p.current().line, "more than %d operators in a row", longest)
	}
}

func (p *parser) or() expr {
	at := line(p.current().line)
	e := p.and()
	for n := 0; p.skipName("or"); n++ {
		p.chain(n)
		e = &logical{at, false, e, p.and()}
		at = line(p.current().line)
	}
	return e
}

func (p *parser) and() expr {
	at := line(p.current().line)
	e := p.not()
	for n := 0; p.skipName("and"); n++ {
		p.chain(n)
		e = &logical{at, true, e, p.not()}
		at = line(p.current().line)
	}
	return e
}

func (p *parser) not() expr {
	t := p.current()
	if !p.skipName("not") {
		return p.comparison()
	}
	p.enter()
	defer p.leave()
	return &not{line(t.line), p.not()}
}

func (p *parser) comparison() expr {
	c := &comparison{line: line(p.current().line), first: p.sum()}
	for {
		var op kind
		switch {
		case p.at("==", "!=", "<", "<=", ">", ">="):
			op = p.next().kind
		case p.skipName("in"):
			op = "in"
		case p.atName("not") && p.peek().kind == tokName && p.peek().text == "in":
			p.next()
			p.next()
			op = "notin"
		case len(c.ops) == 0:
			return c.first
		default:
			return c
		}
		c.ops = append(c.ops, op)
		c.operands = append(c.operands, p.sum())
		c.line = line(p.current().line)
	}
}

// binary parses operators of one precedence level from left to right.
func (p *parser) binary(operand func() expr, ops ...kind) expr {
	at := line(p.current().line)
	e := operand()
	for n := 0; p.at(ops...); n++ {
		p.chain(n)
		op := p.next().kind
		e = &binary{at, op, e, operand()}
		at = line(p.current().line)
	}
	return e
}

func (p *parser) sum() expr     { return p.binary(p.concat, "+", "-") }
func (p *parser) product() expr { return p.binary(p.power, "*", "/", "//", "%") }
func (p *parser) power() expr   { return p.binary(func() expr { return p.unary(true) }, "**") }

func (p *parser) concat() expr {
	c := &concat{line: line(p.current().line), parts: []expr{p.product()}}
	for p.skip("~") {
		c.parts = append(c.parts, p.product())
	}
	if len(c.parts) == 1 {
		return c.parts[0]
	}
	return c
}

// unary parses signs, a primary expression, and its postfixes. Filters bind less tightly than signs, so the operand of a
// sign is parsed without them.
func (p *parser) unary(withFilters bool) expr {
	t := p.current()
	var e expr
	if p.at("-", "+") {
		p.next()
		p.enter()
		e = &unary{line(t.line), t.kind, p.unary(false)}
		p.leave()
	} else {
		e = p.primary()
	}
	e = p.postfix(e)
	if !withFilters {
		return e
	}
	for n := 0; ; n++ {
		p.chain(n)
		switch {
		case p.at("|"):
			e = p.filters(e)
		case p.atName("is"):
			e = p.test(e)
		case p.at("("):
			e = p.call(e)
		default:
			return e
		}
	}
}

func (p *parser) primary() expr {
	t := p.next()
	at := line(t.line)
	switch t.kind {
	case tokName:
		switch t.text {
		case "true", "True":
			return &constant{at, true}
		case "false", "False":
			return &constant{at, false}
		case "none", "None":
			return &constant{at, nil}
		}
		return &name{line: at, id: t.text}
	case tokString:
		var b strings.Builder
		b.WriteString(t.text)
		for p.at(tokString) {
			b.WriteString(p.next().text)
		}
		return &constant{at, b.String()}
	case tokInteger, tokFloat:
		return &constant{at, t.value}
	case "(":
		p.enter()
		defer p.leave()
		e := p.tupleOrExpr(tupleOptions{parentheses: true})
		p.expect(")")
		return e
	case "[":
		return &list{at, p.items("]")}
	case "{":
		return p.dict(at)
	}
	p.fail(t.line, "unexpected '%v'", t)
	return &constant{at, nil}
}

// items parses expressions separated by commas, and the closing bracket.
func (p *parser) items(end kind) []expr {
	items := []expr{}
	for p.err == nil && !p.at(end) {
		if len(items) > 0 {
			p.expect(",")
		}
		if p.at(end) {
			break
		}
		items = append(items, p.expression())
	}
	p.expect(end)
	return items
}

func (p *parser) dict(at line) expr {
	d := &dict{line: at}
	for p.err == nil && !p.at("}") {
		if len(d.keys) > 0 {
			p.expect(",")
		}
		if p.at("}") {
			break
		}
		d.keys = append(d.keys, p.expression())
		p.expect(":")
		d.values = append(d.values, p.expression())
	}
	p.expect("}")
	return d
}

// postfix parses attributes, subscripts, and calls.
func (p *parser) postfix(e expr) expr {
	for n := 0; ; n++ {
		p.chain(n)
		switch {
		case p.at("."):
			e = p.attribute(e)
		case p.at("["):
			e = p.subscript(e)
		case p.at("("):
			e = p.call(e)
		default:
			return e
		}
	}
}

func (p *parser) attribute(e expr) expr {
	at := line(p.next().line)
	t := p.next()
	switch t.kind {
	case tokName:
		return &attribute{at, e, t.text}
	case tokInteger:
		return &item{at, e, &constant{line(t.line), t.value}}
	}
	p.fail(t.line, "expected name or number, got '%v'", t)
	return e
}

func (p *parser) subscript(e expr) expr {
	at := line(p.next().line)
	var args []expr
	for p.err == nil && !p.at("]") {
		if len(args) > 0 {
			p.expect(",")
		}
		args = append(args, p.subscribed())
	}
	p.expect("]")
	if len(args) == 1 {
		return &item{at, e, args[0]}
	}
	for _, a := range args {
		if _, ok := a.(*slice); ok {
			p.fail(int(at), "a slice among several subscripts")
		}
	}
	return &item{at, e, &tuple{at, args}}
}

// subscribed parses an index or a slice.
func (p *parser) subscribed() expr {
	s := &slice{line: line(p.current().line)}
	if !p.at(":") {
		s.start = p.expression()
	}
	if !p.skip(":") {
		return s.start
	}
	if !p.at(":", "]", ",") {
		s.stop = p.expression()
	}
	if p.skip(":") && !p.at("]", ",") {
		s.step = p.expression()
	}
	return s
}

func (p *parser) call(callee expr) expr {
	at := line(p.current().line)
	return &call{at, callee, p.arguments()}
}

func (p *parser) arguments() arguments {
	var a arguments
	at := p.expect("(").line
	for first := true; p.err == nil && !p.at(")"); first = false {
		if !first {
			p.expect(",")
			if p.at(")") {
				break
			}
		}
		if !p.argument(&a) {
			p.fail(at, "invalid order of arguments in a call")
		}
	}
	p.expect(")")
	return a
}

// argument parses one argument and reports whether it is allowed at this position.
func (p *parser) argument(a *arguments) bool {
	switch {
	case p.skip("*"):
		ok := a.star == nil && a.stars == nil
		a.star = p.expression()
		return ok
	case p.skip("**"):
		ok := a.stars == nil
		a.stars = p.expression()
		return ok
	case p.at(tokName) && p.peek().kind == "=":
		key := p.next()
		for _, n := range a.names {
			if n == key.text {
				p.fail(key.line, "argument %q is repeated", key.text)
			}
		}
		p.next()
		a.names = append(a.names, key.text)
		a.named = append(a.named, p.expression())
		return a.stars == nil
	}
	ok := a.star == nil && a.stars == nil && len(a.names) == 0
	a.positional = append(a.positional, p.expression())
	return ok
}

// filters parses consecutive filters. A nil operand means the text of a block.
func (p *parser) filters(operand expr) expr {
	for n := 0; p.skip("|"); n++ {
		p.chain(n)
		operand = p.oneFilter(operand)
	}
	return operand
}

func (p *parser) oneFilter(operand expr) expr {
	id, at := p.dotted()
	f := &filter{line: at, operand: operand, id: id}
	if p.at("(") {
		f.args = p.arguments()
	}
	return f
}

// dotted parses the name of a filter or test.
func (p *parser) dotted() (string, line) {
	t := p.expect(tokName)
	id := t.text
	for p.skip(".") {
		id += "." + p.expect(tokName).text
	}
	return id, line(t.line)
}

// test parses "is name" with its arguments: a list in parentheses, or a single one without.
func (p *parser) test(operand expr) expr {
	at := line(p.next().line)
	negated := p.skipName("not")
	id, _ := p.dotted()
	t := &test{line: at, operand: operand, id: id}
	switch {
	case p.at("("):
		t.args = p.arguments()
	case p.at(tokName, tokString, tokInteger, tokFloat, "[", "{") && !p.atName("else", "or", "and"):
		if p.atName("is") {
			p.fail(p.current().line, "tests with is cannot be chained")
		}
		p.enter()
		t.args.positional = []expr{p.postfix(p.primary())}
		p.leave()
	}
	if negated {
		return &not{at, t}
	}
	return t
}
