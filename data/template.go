package data

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"

	"mambatrain/data/source"
	"mambatrain/internal/fault"
	"mambatrain/internal/ordered"
)

// rowTemplate renders a row. Null values, including those in lists and objects, render as empty text.
type rowTemplate struct {
	template *template.Template
	fields   []string // columns it names
	whole    bool     // it uses the row itself, so every column is needed
}

// templateFunctions are the functions that a row template may call in addition to those of text/template, and those
// that replace a function of text/template because it would print nulls as <nil> or <no value>.
var templateFunctions = template.FuncMap{
	"join":    joinValues,
	"upper":   onText(strings.ToUpper),
	"lower":   onText(strings.ToLower),
	"trim":    onText(strings.TrimSpace),
	"json":    formatJSON,
	"default": defaultValue,

	"print":    withoutNulls(fmt.Sprint),
	"println":  withoutNulls(fmt.Sprintln),
	"html":     withoutNulls(template.HTMLEscaper),
	"js":       withoutNulls(template.JSEscaper),
	"urlquery": withoutNulls(template.URLQueryEscaper),
	"printf":   printFormat,
}

// eachValue returns v with each value in its lists and objects, or else v itself, replaced by the result of f.
func eachValue(v any, f func(any) any) any {
	switch v := v.(type) {
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = eachValue(v[i], f)
		}
		return list
	case map[string]any:
		object := make(map[string]any, len(v))
		for key := range v {
			object[key] = eachValue(v[key], f)
		}
		return object
	}
	return f(v)
}

// nullsToText returns v with each null replaced by an empty text.
func nullsToText(v any) any {
	return eachValue(v, func(v any) any {
		if v == nil {
			return ""
		}
		return v
	})
}

// withoutPercents returns v without the percent signs in its texts.
func withoutPercents(v any) any {
	return eachValue(v, func(v any) any {
		if s, ok := v.(string); ok {
			return strings.ReplaceAll(s, "%", "")
		}
		return v
	})
}

// withoutNulls returns f for arguments that may be or contain nulls.
func withoutNulls(f func(...any) string) func(...any) string {
	return func(args ...any) string {
		for i, v := range args {
			args[i] = nullsToText(v)
		}
		return f(args...)
	}
}

// onText returns f for a text or null.
func onText(f func(string) string) func(any) (string, error) {
	return func(v any) (string, error) {
		s, ok := nullsToText(v).(string)
		if !ok {
			return "", fmt.Errorf("want text, got %T", v)
		}
		return f(s), nil
	}
}

// joinValues joins the values of a list with separator: {{join .tags ", "}}.
func joinValues(list any, separator string) (string, error) {
	switch list := nullsToText(list).(type) {
	case string:
		return list, nil
	case []any:
		parts := make([]string, len(list))
		for i, v := range list {
			parts[i] = fmt.Sprint(v)
		}
		return strings.Join(parts, separator), nil
	}
	return "", fmt.Errorf("join: want a list, got %T", list)
}

// formatJSON returns v as JSON, without the escapes that make it safe in HTML.
func formatJSON(v any) (string, error) {
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return strings.TrimSuffix(out.String(), "\n"), err
}

// defaultValue returns fallback if v is null or an empty text.
func defaultValue(fallback, v any) any {
	if v == nil || v == "" {
		return fallback
	}
	return v
}

// whole is an integer that can also be formatted as a floating-point number, because JSON does not distinguish them.
type whole int64

func (n whole) Format(f fmt.State, verb rune) {
	if strings.ContainsRune("eEfFgG", verb) {
		fmt.Fprintf(f, fmt.FormatString(f, verb), float64(n))
	} else {
		fmt.Fprintf(f, fmt.FormatString(f, verb), int64(n))
	}
}

// printFormat is printf with an error where fmt would insert a mark such as %!d(string=a).
func printFormat(format string, args ...any) (string, error) {
	for i, v := range args {
		switch n := v.(type) {
		case int64:
			v = whole(n)
		case int: // a number in the template, or a length
			v = whole(n)
		}
		args[i] = nullsToText(v)
	}
	s := fmt.Sprintf(format, args...)
	if strings.Contains(s, "%!") { // a mark, unless it is gone without the percent signs of texts and format
		bare := fmt.Sprintf(strings.ReplaceAll(format, "%%", ""), withoutPercents(args).([]any)...)
		if strings.Contains(bare, "%!") {
			return "", fmt.Errorf("the values do not fit the format %q: %s", format, fault.Shorten(s, 100))
		}
	}
	return s, nil
}

// parseTemplate parses text, collects the columns it reads, and makes it print nulls as empty text.
func parseTemplate(key, text string) (*rowTemplate, error) {
	t, err := template.New(key).Option("missingkey=error").Funcs(templateFunctions).Parse(text)
	if err != nil {
		return nil, err
	}
	r := &rowTemplate{template: t}
	for _, associated := range t.Templates() {
		if associated.Tree != nil {
			r.walk(associated.Root, rowIsDot)
		}
	}
	r.fields = slices.Compact(slices.Sorted(slices.Values(r.fields)))
	return r, nil
}

// dotMeaning is what "." refers to in part of a template.
type dotMeaning int

const (
	rowIsDot  dotMeaning = iota // the row
	elseIsDot                   // an element of a list, or the value of a with action
)

func (r *rowTemplate) walk(n parse.Node, dot dotMeaning) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n != nil {
			for _, child := range n.Nodes {
				r.walk(child, dot)
			}
		}
	case *parse.ActionNode:
		r.walk(n.Pipe, dot)
		if len(n.Pipe.Decl) == 0 { // it prints its value
			n.Pipe.Cmds = append(n.Pipe.Cmds, &parse.CommandNode{NodeType: parse.NodeCommand, Args: []parse.Node{parse.NewIdentifier("print").SetPos(n.Pos)}})
		}
	case *parse.PipeNode:
		if n != nil {
			for _, c := range n.Cmds {
				r.walk(c, dot)
			}
		}
	case *parse.CommandNode:
		for _, a := range n.Args {
			r.walk(a, dot)
		}
	case *parse.ChainNode:
		r.walk(n.Node, dot)
	case *parse.IfNode:
		r.branch(&n.BranchNode, dot, dot)
	case *parse.RangeNode:
		r.branch(&n.BranchNode, dot, elseIsDot)
	case *parse.WithNode:
		r.branch(&n.BranchNode, dot, elseIsDot)
	case *parse.TemplateNode:
		r.walk(n.Pipe, dot)
		r.whole = true
	case *parse.FieldNode:
		if dot == rowIsDot {
			r.fields = append(r.fields, n.Ident[0])
		}
	case *parse.VariableNode:
		if n.Ident[0] == "$" && len(n.Ident) > 1 {
			r.fields = append(r.fields, n.Ident[1])
		} else if n.Ident[0] == "$" {
			r.whole = true
		}
	case *parse.DotNode:
		r.whole = r.whole || dot == rowIsDot
	}
}

func (r *rowTemplate) branch(n *parse.BranchNode, dot, inside dotMeaning) {
	r.walk(n.Pipe, dot)
	r.walk(n.List, inside)
	r.walk(n.ElseList, dot)
}

// render returns the text of a row, or false if every column that the template names is null.
func (r *rowTemplate) render(b *source.Block, i int) (string, bool, error) {
	row := make(map[string]any, len(b.Columns))
	some := len(r.fields) == 0
	for name, c := range b.Columns {
		v, err := c.Value(i)
		if err != nil {
			return "", false, fmt.Errorf("column %q: %w", name, err)
		}
		if v == nil {
			v = ""
		}
		row[name] = ordered.Plain(v)
	}
	for _, name := range r.fields {
		some = some || row[name] != ""
	}
	if !some {
		return "", false, nil
	}
	var out strings.Builder
	if err := r.template.Execute(&out, row); err != nil {
		return "", false, err
	}
	return out.String(), true, nil
}
