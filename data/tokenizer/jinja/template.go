package jinja

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// maxTemplate is the size of the largest template; those of chat models have at most some tens of kilobytes.
const maxTemplate = 256 << 10

// Template is a parsed template. Any number of goroutines may render it at once.
type Template struct {
	// Now is the clock of strftime_now, time.Now unless it is set before the first Render.
	Now func() time.Time

	name  string
	body  []stmt
	scope scope
	size  int             // of the frame
	words map[string]bool // see Mentions
	marks bool
}

// Parse reads a template. Errors name it and the line.
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

// Mentions reports whether a word is a variable, an attribute or a string in the template's code: a key that it does
// not mention is a key that it does not read.
func (t *Template) Mentions(word string) bool { return t.words[word] }

// Marks reports whether the template has {% generation %} blocks.
func (t *Template) Marks() bool { return t.marks }

// Result is a rendered template.
type Result struct {
	Text string
	// Missing lists the keys that dicts lacked when their values were printed. Jinja2 prints nothing then.
	Missing []Missing

	marks []mark
	name  string
}

// Missing is a key that a dict has no value for.
type Missing struct {
	Dict *Dict
	Key  string
	Line int
}

// mark is a text that a generation block wrote.
type mark struct {
	start int
	text  string
	line  int
}

// Spans returns the start and end in bytes of what the generation blocks wrote, in the order in which they did. As in
// transformers, a block begins where the output was when it was reached; within a macro or a set block that is another
// place if text goes before it, and an error here.
func (r *Result) Spans() ([][2]int, error) {
	var spans [][2]int
	for _, m := range r.marks {
		end := m.start + len(m.text)
		if end > len(r.Text) || r.Text[m.start:end] != m.text {
			return nil, &Error{r.name, m.line, "the place of this generation block in the output is unknown: move it out of its macro, or of its set, filter or call block"}
		}
		spans = append(spans, [2]int{m.start, end})
	}
	return spans, nil
}

// Render runs the template with these variables, whose values it does not change. Errors name the template and the
// line, except those of ctx.
func (t *Template) Render(ctx context.Context, variables map[string]Value) (*Result, error) {
	r := &run{limits: limits{ctx: ctx}, template: t, variables: variables}
	r.out = &output{limits: &r.limits}
	f := newFrame(nil, t.size)
	err := r.enter(f, t.scope)
	if err == nil {
		_, err = r.stmts(t.body, f, r.out)
	}
	if err == nil {
		return &Result{Text: r.out.String(), Missing: r.missing, marks: r.marks, name: t.name}, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, &Error{t.name, r.line, oneLine(err.Error())}
}
