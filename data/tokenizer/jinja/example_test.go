package jinja_test

import (
	"context"
	"errors"
	"fmt"

	"mambatrain/data/tokenizer/jinja"
)

func Example() {
	t, err := jinja.Parse("chat_template.jinja", "{% for m in messages %}{{ m.role }}: {% generation %}{{ m.content }}{% endgeneration %}{% endfor %}")
	if err != nil {
		fmt.Println(err)
		return
	}
	messages, err := jinja.FromJSON([]byte(`[{"role": "user", "content": "Hello"}]`))
	if err != nil {
		fmt.Println(err)
		return
	}
	result, err := t.Render(context.Background(), map[string]jinja.Value{"messages": messages})
	if err != nil {
		fmt.Println(err)
		return
	}
	spans, err := result.Spans()
	fmt.Println(result.Text, spans, err)
	// Output: user: Hello [[6 11]] <nil>
}

func ExampleError() {
	_, err := jinja.Parse("chat_template.jinja", "{{ bos_token }}\n{% if %}")
	var fault *jinja.Error
	fmt.Println(errors.As(err, &fault), fault.Template, fault.Line)
	// Output: true chat_template.jinja 2
}

func ExampleDict() {
	v, err := jinja.FromJSON([]byte(`{"role": "user", "content": "Hello"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	message := v.(*jinja.Dict)
	content, ok := message.Get("content")
	fmt.Println(message.Keys(), content, ok)
	// Output: [role content] Hello true
}
