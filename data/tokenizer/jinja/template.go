package jinja

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// maxTemplate is the maximum size of a template in bytes. Those of chat models have at most tens of kilobytes.
const maxTemplate = 256 << 10

// Template is a parsed template. It may be rendered concurrently.
type Template struct {
	// Now is the clock for strftime_now. It defaults to time.Now and must be set before the first Render.
	Now func() time.Time

	name  string
	body  []stmt
	scope scope
	size  int             // of the frame
	words map[string]bool // see Mentions
	marks bool
}

// Parse parses a template. Errors contain its name and the line.
func Parse(name, source string) (*Template, error) {
	t := &Template{Now: time.Now, name: name, words: map[string]bool{}}
	err := t.parse(source)
	if e := (*Error)(nil); errors.As(err, &e) {
		e.Template = name
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Template) parse(source string) (err error) {
	if len(source) > maxTemplate {
		return &Error{Line: 1, Problem: fmt.Sprintf("the template has %d bytes, more than %d", len(source), maxTemplate)}
	}
	for i, l := range strings.SplitAfter(source, "\n") {
		if !utf8.ValidString(l) {
			return &Error{Line: i + 1, Problem: "the template is not UTF-8"}
		}
	}
	if t.body, err = parse(source); err != nil {
		return err
	}
	if t.size, t.scope, err = bind(t.body); err != nil {
		return err
	}
	for _, s := range t.body {
		t.note(s)
	}
	return nil
}

// note collects what Mentions and Marks report.
func (t *Template) note(n node) {
	switch n := n.(type) {
	case *name:
		t.words[n.id] = true
	case *attribute:
		t.words[n.id] = true
	case *constant:
		if s, ok := n.value.(string); ok {
			t.words[s] = true
		}
	case *generation:
		t.marks = true
	}
	for _, c := range children(n) {
		t.note(c)
	}
}

// Mentions reports whether word appears in the template's code as a variable, attribute, or string. A template cannot
// read a key that it does not mention.
func (t *Template) Mentions(word string) bool { return t.words[word] }

// Marks reports whether the template has {% generation %} blocks.
func (t *Template) Marks() bool { return t.marks }

// Result is a rendered template.
type Result struct {
	Text string
	// Missing lists the keys that were missing when the template printed their values. Jinja2 prints nothing for them.
	Missing []MissingKey

	marks []mark
	name  string
}

// MissingKey is a key that a template printed but that the dict does not have.
type MissingKey struct {
	Dict *Dict
	Key  string
	Line int // line of the template, from 1
}

// mark is the text written by a generation block.
type mark struct {
	start int
	text  string
	line  int
}

// Spans returns the start and end in bytes of the output of each generation block, in order of execution. As in
// transformers, a block starts at the length of the output when it was reached. In a macro or a set block, that is
// wrong if other text precedes the block, and Spans returns an error.
func (r *Result) Spans() ([][2]int, error) {
	var spans [][2]int
	for _, m := range r.marks {
		end := m.start + len(m.text)
		if end > len(r.Text) || r.Text[m.start:end] != m.text {
			return nil, &Error{r.name, m.line, "the position of this generation block in the output is unknown: move it out of its macro, set, filter, or call block"}
		}
		spans = append(spans, [2]int{m.start, end})
	}
	return spans, nil
}

// Render runs the template with the given variables and does not modify their values. Errors contain the template's
// name and the line, except those of ctx.
func (t *Template) Render(ctx context.Context, variables map[string]Value) (*Result, error) {
	return t.render(limits{ctx: ctx}, variables)
}

// render is Render after l has been used.
func (t *Template) render(l limits, variables map[string]Value) (*Result, error) {
	r := &run{limits: l, template: t, variables: variables}
	r.out = &output{limits: &r.limits}
	f, err := r.newFrame(nil, t.size)
	if err == nil {
		err = r.enter(f, t.scope)
	}
	if err == nil {
		_, err = r.stmts(t.body, f, r.out)
	}
	if err == nil {
		return &Result{Text: r.out.String(), Missing: r.missing, marks: r.marks, name: t.name}, nil
	}
	if l.ctx.Err() != nil {
		return nil, l.ctx.Err()
	}
	return nil, &Error{t.name, r.line, oneLine(err.Error())}
}
