package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// ChatTemplate is a Jinja template in the surroundings that transformers gives it: blocks trimmed, raise_exception,
// tojson as Python writes it, the special tokens by name. strftime_now is left undefined, so that a row's tokens do not
// depend on the day; templates that use it have a date to fall back on. Nothing can be included or imported. Unlike in
// Python, a missing value is an empty text wherever it is printed or joined.
type ChatTemplate struct {
	source string
	tokens map[string]string
	marks  atomic.Bool // it has {% generation %}
	ready  sync.Pool
}

// ChatTemplate returns the template of chat_template.jinja or tokenizer_config.json, nil if the tokenizer has none.
func (t *Tokenizer) ChatTemplate() (*ChatTemplate, error) {
	if t.settings.chatTemplate == "" {
		return nil, nil
	}
	c := &ChatTemplate{source: t.settings.chatTemplate, tokens: t.settings.tokens}
	first, err := c.parse()
	if err != nil {
		return nil, err
	}
	c.ready.Put(first)
	return c, nil
}

// parse makes an instance for one goroutine.
func (c *ChatTemplate) parse() (t *exec.Template, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("tokenizer: chat template: %v", p)
		}
	}()
	settings := config.New()
	settings.TrimBlocks, settings.LeftStripBlocks = true, true
	loader, err := loaders.NewMemoryLoader(map[string]string{"/chat": c.source})
	if err != nil {
		return nil, fmt.Errorf("tokenizer: chat template: %w", err)
	}
	if t, err = exec.NewTemplate("/chat", settings, loader, c.environment()); err != nil {
		return nil, fmt.Errorf("tokenizer: chat template: %w", shortTemplateError(err, c.source))
	}
	return t, nil
}

// shortTemplateError leaves out the template itself, which the library puts into its messages.
func shortTemplateError(err error, source string) error {
	return errors.New(strings.ReplaceAll(err.Error(), source, "…"))
}

func (c *ChatTemplate) environment() *exec.Environment {
	filters := exec.NewFilterSet(map[string]exec.FilterFunction{}).Update(builtins.Filters)
	filters.Replace("tojson", toJSON)
	structures := exec.NewControlStructureSet(map[string]parser.ControlStructureParser{}).Update(builtins.ControlStructures)
	structures.Register("generation", c.parseGeneration)
	return &exec.Environment{
		Context: exec.EmptyContext().Update(builtins.GlobalFunctions).Update(exec.NewContext(map[string]any{
			"raise_exception": raiseException,
		})),
		Filters: filters, Tests: builtins.Tests, ControlStructures: structures, Methods: builtins.Methods,
	}
}

// MarksAnswers reports whether the template marks answers by {% generation %}.
func (c *ChatTemplate) MarksAnswers() bool { return c.marks.Load() }

// Render returns the text and where the template marks answers in it. The values are those that a template names:
// messages, tools, add_generation_prompt.
func (c *ChatTemplate) Render(values map[string]any) (text string, answers []Span, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("chat template: %v", p)
		}
	}()
	t, ok := c.ready.Get().(*exec.Template)
	if !ok {
		if t, err = c.parse(); err != nil {
			return "", nil, err
		}
	}
	all := map[string]any{"add_generation_prompt": false, "tools": nil, "documents": nil}
	for name, token := range c.tokens {
		all[name] = token
	}
	maps.Copy(all, values)
	var out answerWriter
	if err := t.Execute(&out, exec.NewContext(all)); err != nil {
		return "", nil, fmt.Errorf("chat template: %w", shortTemplateError(err, c.source))
	}
	c.ready.Put(t)
	return out.String(), out.answers, nil
}

// generation is the block that transformers' templates put around an answer.
type generation struct {
	position *tokens.Token
	body     *nodes.Wrapper
}

func (c *ChatTemplate) parseGeneration(p, args *parser.Parser) (nodes.ControlStructure, error) {
	g := &generation{position: p.Current()}
	body, _, err := p.WrapUntil("endgeneration")
	if err != nil {
		return nil, err
	}
	if !args.End() {
		return nil, args.Error("generation takes no arguments", nil)
	}
	g.body = body
	c.marks.Store(true)
	return g, nil
}

func (g *generation) Position() *tokens.Token { return g.position }
func (g *generation) String() string          { return "generation" }

// Execute renders the body as it stands, and notes where it begins and ends.
func (g *generation) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	var body strings.Builder
	sub := r.Inherit()
	sub.Output = &body
	if err := sub.ExecuteWrapper(g.body); err != nil {
		return err
	}
	if out, ok := r.Output.(*answerWriter); ok && body.Len() > 0 {
		out.answers = append(out.answers, Span{out.Len(), out.Len() + body.Len()})
	}
	_, err := io.WriteString(r.Output, body.String())
	return err
}

// answerWriter collects what a template writes and where its answers are.
type answerWriter struct {
	strings.Builder
	answers []Span
}

func raiseException(_ *exec.Evaluator, params *exec.VarArgs) (string, error) {
	message := "the template refuses the conversation"
	if len(params.Args) > 0 {
		message = params.Args[0].String()
	}
	return "", errors.New(message)
}

// toJSON writes a value as Python's json.dumps does with ensure_ascii=False; keys are in alphabetical order.
func toJSON(_ *exec.Evaluator, in *exec.Value, params *exec.VarArgs) *exec.Value {
	indent := -1
	if v, ok := params.KwArgs["indent"]; ok && v.IsInteger() {
		indent = v.Integer()
	}
	v := in.ToGoSimpleType(false)
	if err, bad := v.(error); bad {
		return exec.AsValue(err)
	}
	var out strings.Builder
	if err := writePythonJSON(&out, v, indent, 0); err != nil {
		return exec.AsValue(err)
	}
	return exec.AsSafeValue(out.String())
}

// writePythonJSON writes v; with indent 0 or more each element stands on a line of its own.
func writePythonJSON(out *strings.Builder, v any, indent, depth int) error {
	list := func(open, shut string, n int, element func(i int) error) error {
		out.WriteString(open)
		for i := range n {
			if i > 0 {
				out.WriteString(",")
			}
			if indent >= 0 {
				out.WriteString("\n" + strings.Repeat(" ", indent*(depth+1)))
			} else if i > 0 {
				out.WriteString(" ")
			}
			if err := element(i); err != nil {
				return err
			}
		}
		if indent >= 0 && n > 0 {
			out.WriteString("\n" + strings.Repeat(" ", indent*depth))
		}
		out.WriteString(shut)
		return nil
	}
	switch v := v.(type) {
	case []any:
		return list("[", "]", len(v), func(i int) error { return writePythonJSON(out, v[i], indent, depth+1) })
	case map[string]any:
		keys := slices.Sorted(maps.Keys(v))
		return list("{", "}", len(keys), func(i int) error {
			if err := writePythonJSON(out, keys[i], indent, depth+1); err != nil {
				return err
			}
			out.WriteString(": ")
			return writePythonJSON(out, v[keys[i]], indent, depth+1)
		})
	}
	var scalar strings.Builder
	e := json.NewEncoder(&scalar)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("tojson: %w", err)
	}
	out.WriteString(strings.TrimSuffix(scalar.String(), "\n"))
	return nil
}
