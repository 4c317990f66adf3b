// Package jinja renders the chat templates of Hugging Face tokenizers: the language of Python's Jinja2 3.1 in the
// sandbox that transformers sets up (blocks trimmed, loop controls, {% generation %}, tojson as json.dumps writes it).
// A template renders to the text that Python renders, or to an Error that names the template and the line.
//
//	t, err := jinja.Parse("chat_template.jinja", "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}")
//	messages, err := jinja.FromJSON([]byte(`[{"role": "user", "content": "Hello"}]`))
//	result, err := t.Render(ctx, map[string]jinja.Value{"messages": messages})
//	fmt.Print(result.Text) // user: Hello
//
// A template is a program from a stranger: steps, recursion, output and memory are limited, and ctx stops it. Templates
// cannot read files: include, import, extends and block are refused, as are the few filters and methods whose output
// Python does not define (random, addresses of objects) or that no chat template needs (urlize, wordwrap, pprint).
//
// A template passes through lexer, parser and scopes, which decide at parse time where each name is stored, as
// Jinja's compiler does; evaluation then walks the tree.
package jinja
