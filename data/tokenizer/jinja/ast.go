package jinja

// The syntax tree of a template. Expressions evaluate themselves in eval.go and the files next to it; statements
// execute themselves in exec.go.

type node interface{ lineno() int }

// line is the line where a node begins.
type line int

func (l line) lineno() int { return int(l) }

type expr interface {
	node
	eval(r *run, f *frame) (Value, error)
}

type stmt interface {
	node
	exec(r *run, f *frame, out *output) (flow, error)
}

// access is the use of a name or target.
type access int

const (
	load  access = iota
	store        // the target of set or for
	param        // a parameter of a macro, or a name of with
)

type (
	constant struct {
		line
		value Value
	}
	text struct { // between tags
		line
		data string
	}
	name struct {
		line
		id   string
		ctx  access
		slot slot
	}
	namespaceAttr struct { // the target ns.attr
		line
		id, attr string
		slot     slot
	}
	tuple struct {
		line
		items []expr
	}
	list struct {
		line
		items []expr
	}
	dict struct {
		line
		keys, values []expr
	}
	conditional struct {
		line
		test, then, otherwise expr // otherwise may be nil
	}
	not struct {
		line
		operand expr
	}
	unary struct {
		line
		op      kind
		operand expr
	}
	binary struct {
		line
		op          kind
		left, right expr
	}
	logical struct { // and, or
		line
		and         bool
		left, right expr
	}
	comparison struct {
		line
		first    expr
		ops      []kind // including in and notin
		operands []expr
	}
	concat struct {
		line
		parts []expr
	}
	arguments struct {
		positional  []expr
		names       []string
		named       []expr
		star, stars expr // *args and **kwargs; may be nil
	}
	filter struct {
		line
		operand expr // nil in a filter block, where it is the output of the block
		id      string
		args    arguments
	}
	test struct {
		line
		operand expr
		id      string
		args    arguments
	}
	call struct {
		line
		callee expr
		args   arguments
	}
	attribute struct {
		line
		object expr
		id     string
	}
	item struct {
		line
		object, index expr
	}
	slice struct {
		line
		start, stop, step expr // may be nil
	}
)

type (
	printing struct { // text and {{ … }}
		line
		parts []expr
	}
	conditionalStmt struct {
		line
		test      expr
		body      []stmt
		elifs     []*conditionalStmt
		otherwise []stmt
	}
	loop struct {
		line
		target    expr
		iter      expr
		body      []stmt
		otherwise []stmt
		test      expr // nil without a filter
		recursive bool
		scopes    loopScopes
	}
	assignment struct {
		line
		target, value expr
	}
	blockAssignment struct {
		line
		target expr
		filter *filter // may be nil
		body   []stmt
		scope  scope
	}
	macro struct {
		line
		id       string // "" for the body of a call block
		args     []*name
		defaults []expr // for the last parameters
		body     []stmt
		self     slot
		scope    macroScope
	}
	callBlock struct {
		line
		call   *call
		caller *macro
	}
	generation struct { // {% generation %}: the assistant's words
		line
		caller *macro
	}
	filterBlock struct {
		line
		filter *filter
		body   []stmt
		scope  scope
	}
	with struct {
		line
		targets, values []expr
		body            []stmt
		scope           scope
	}
	jump struct { // break and continue
		line
		to flow
	}
)

// children lists the nodes below n in the order of Jinja2's fields.
func children(n node) []node {
	var c nodes
	switch n := n.(type) {
	case *tuple:
		c.exprs(n.items)
	case *list:
		c.exprs(n.items)
	case *dict:
		for i := range n.keys {
			c.exprs([]expr{n.keys[i], n.values[i]})
		}
	case *conditional:
		c.exprs([]expr{n.test, n.then, n.otherwise})
	case *not:
		c.exprs([]expr{n.operand})
	case *unary:
		c.exprs([]expr{n.operand})
	case *binary:
		c.exprs([]expr{n.left, n.right})
	case *logical:
		c.exprs([]expr{n.left, n.right})
	case *comparison:
		c.exprs([]expr{n.first})
		c.exprs(n.operands)
	case *concat:
		c.exprs(n.parts)
	case *filter:
		c.exprs([]expr{n.operand})
		c.arguments(n.args)
	case *test:
		c.exprs([]expr{n.operand})
		c.arguments(n.args)
	case *call:
		c.exprs([]expr{n.callee})
		c.arguments(n.args)
	case *attribute:
		c.exprs([]expr{n.object})
	case *item:
		c.exprs([]expr{n.object, n.index})
	case *slice:
		c.exprs([]expr{n.start, n.stop, n.step})
	default:
		c.below(n)
	}
	return c
}

type nodes []node

// exprs appends the expressions that are not nil.
func (c *nodes) exprs(list []expr) {
	for _, e := range list {
		if e != nil {
			*c = append(*c, e)
		}
	}
}

func (c *nodes) stmts(list []stmt) {
	for _, s := range list {
		*c = append(*c, s)
	}
}

func (c *nodes) arguments(a arguments) {
	c.exprs(a.positional)
	c.exprs(a.named)
	c.exprs([]expr{a.star, a.stars})
}

// below appends the children of a statement.
func (c *nodes) below(n node) {
	switch n := n.(type) {
	case *printing:
		c.exprs(n.parts)
	case *conditionalStmt:
		c.exprs([]expr{n.test})
		c.stmts(n.body)
		for _, e := range n.elifs {
			*c = append(*c, e)
		}
		c.stmts(n.otherwise)
	case *loop:
		c.exprs([]expr{n.target, n.iter})
		c.stmts(n.body)
		c.stmts(n.otherwise)
		c.exprs([]expr{n.test})
	case *assignment:
		c.exprs([]expr{n.target, n.value})
	case *blockAssignment:
		c.exprs([]expr{n.target})
		if n.filter != nil {
			*c = append(*c, n.filter)
		}
		c.stmts(n.body)
	case *macro:
		for _, a := range n.args {
			*c = append(*c, a)
		}
		c.exprs(n.defaults)
		c.stmts(n.body)
	case *callBlock:
		*c = append(append(*c, n.call), children(n.caller)...)
	case *generation:
		*c = append(*c, children(n.caller)...)
	case *filterBlock:
		c.stmts(n.body)
		*c = append(*c, n.filter)
	case *with:
		c.exprs(n.targets)
		c.exprs(n.values)
		c.stmts(n.body)
	}
}
