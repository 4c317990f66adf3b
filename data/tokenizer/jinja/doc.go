// Package jinja renders the chat templates of Hugging Face tokenizers. The language is that of Python's Jinja2 3.1 in
// the sandbox that transformers sets up (trimmed blocks, loop controls, {% generation %}, and tojson with the output of
// json.dumps). A template renders to the same text as in Python, or to an Error that names the template and the line.
//
//	t, err := jinja.Parse("chat_template.jinja", "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}")
//	messages, err := jinja.FromJSON([]byte(`[{"role": "user", "content": "Hello"}]`))
//	result, err := t.Render(ctx, map[string]jinja.Value{"messages": messages})
//	fmt.Print(result.Text) // user: Hello
//
// Templates are untrusted programs: steps, recursion, output, and memory are limited, and canceling ctx stops them.
// Templates cannot read files: include, import, extends, and block are rejected, as are the few filters and methods
// whose output Python does not define (random, addresses of objects) or that no chat template needs (urlize, wordwrap,
// pprint).
//
// A template passes through the lexer, the parser, and the binder, which decides at parse time where each name is
// stored, as Jinja's compiler does. Evaluation then walks the tree.
package jinja
