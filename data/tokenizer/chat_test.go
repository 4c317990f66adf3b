package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mambatrain/internal/testfile"
)

// withChatTemplate returns the tiny tokenizer with a chat template.
func withChatTemplate(t testing.TB, source string) *Tokenizer {
	tok := tinyTokenizer(t)
	tok.settings.chatTemplate = source
	tok.settings.tokens = map[string]string{"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
	return tok
}

// TestChatTemplate_golden compares with jinja2 3.1.6 in the environment that transformers sets up.
func TestChatTemplate_golden(t *testing.T) {
	type golden struct {
		Template, Case, Source, Text, Error string
		Values                              json.RawMessage
		Answers                             [][2]int
	}
	for _, c := range testfile.Lines[golden](t, "testdata/chat_golden.jsonl") {
		t.Run(c.Template+"/"+c.Case, func(t *testing.T) {
			template, err := withChatTemplate(t, c.Source).ChatTemplate()
			if err != nil {
				t.Fatal(err)
			}
			template.template.Now = func() time.Time { return time.Date(2024, 7, 26, 0, 0, 0, 0, time.UTC) }
			text, answers, err := template.Render(rowValues(t, c.Values))
			if (err != nil) != (c.Error != "") {
				t.Fatalf("error %v, want %q", err, c.Error)
			}
			if text != c.Text {
				t.Errorf("\n got %q\nwant %q", text, c.Text)
			}
			var got [][2]int
			for _, a := range answers {
				got = append(got, [2]int{a.Start, a.End})
			}
			if !slices.Equal(got, c.Answers) {
				t.Errorf("answers at %v, want %v", got, c.Answers)
			}
		})
	}
}

// rowValues decodes an object with the types that a row has: whole numbers are int64.
func rowValues(t *testing.T, raw []byte) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	var convert func(v any) any
	convert = func(v any) any {
		switch x := v.(type) {
		case json.Number:
			if n, err := x.Int64(); err == nil {
				return n
			}
			f, err := x.Float64()
			if err != nil {
				t.Fatal(err)
			}
			return f
		case []any:
			for i := range x {
				x[i] = convert(x[i])
			}
		case map[string]any:
			for key := range x {
				x[key] = convert(x[key])
			}
		}
		return v
	}
	return convert(v).(map[string]any)
}

const chatML = `{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}`

func TestChatTemplate_parallel(t *testing.T) {
	template, err := withChatTemplate(t, chatML).ChatTemplate()
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			word := strings.Repeat("x", g+1)
			for range 50 {
				text, _, err := template.Render(map[string]any{"messages": []any{map[string]any{"role": "user", "content": word}}})
				if want := "<|user|>" + word; err != nil || text != want {
					t.Errorf("%q, %v, want %q", text, err, want)
				}
			}
		})
	}
	group.Wait()
}

// A conversation in other words than the template's must not become empty turns.
func TestChatTemplate_missingKey(t *testing.T) {
	template, err := withChatTemplate(t, chatML).ChatTemplate()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		message map[string]any
		problem string
	}{
		{map[string]any{"from": "human", "value": "Hello"}, `line 1 prints "role", which is missing: there are ["from" "value"]`},
		{map[string]any{"role": "user", "text": "Hello"}, `line 1 prints "content", which is missing: there are ["role" "text"]`},
		{map[string]any{"role": "user", "content": ""}, ""},
	} {
		_, _, err := template.Render(map[string]any{"messages": []any{c.message}})
		if got := fmt.Sprint(err); c.problem == "" && err != nil || !strings.Contains(got, c.problem) {
			t.Errorf("%v: %v, want %q", c.message, err, c.problem)
		}
	}
}
