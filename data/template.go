package data

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"

	"mambatrain/data/source"
	"mambatrain/internal/ordered"
)

// rowTemplate renders a row. Null values render as empty text.
type rowTemplate struct {
	template *template.Template
	fields   []string // columns it names
	whole    bool     // it uses the row itself, so every column is needed
}

// templateFunctions are the functions that a row template may call in addition to those of text/template.
var templateFunctions = template.FuncMap{
	"join":  joinValues,
	"upper": strings.ToUpper,
	"lower": strings.ToLower,
	"trim":  strings.TrimSpace,
	"json": func(v any) (string, error) {
		raw, err := json.Marshal(v)
		return string(raw), err
	},
	"default": func(fallback, v any) any {
		if s, ok := v.(string); v == nil || ok && s == "" {
			return fallback
		}
		return v
	},
}

// joinValues joins the values of a list with separator: {{join .tags ", "}}.
func joinValues(list any, separator string) (string, error) {
	switch list := list.(type) {
	case nil:
		return "", nil
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

// parseTemplate parses text and collects the columns it reads.
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
