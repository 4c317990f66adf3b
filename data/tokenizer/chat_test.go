package tokenizer

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mambatrain/internal/ordered"
	"mambatrain/internal/testfile"
)

// withChatTemplate returns the tiny tokenizer with a chat template.
func withChatTemplate(t testing.TB, source string) *Tokenizer {
	tok := tinyTokenizer(t)
	tok.settings.templates = []NamedTemplate{{DefaultTemplate, source}}
	tok.settings.tokens = map[string]string{"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
	return tok
}

func chatTemplate(t testing.TB, source string) *ChatTemplate {
	t.Helper()
	c, err := withChatTemplate(t, source).ChatTemplate()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// values decodes JSON into the types of row values.
func values(t testing.TB, text string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	v, err := ordered.Decode(d)
	if err != nil {
		t.Fatal(err)
	}
	return rowNumbers(v)
}

func rowNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	case []any:
		for i := range v {
			v[i] = rowNumbers(v[i])
		}
	case *ordered.Object:
		for _, key := range v.Keys() {
			inner, _ := v.Get(key)
			v.Set(key, rowNumbers(inner))
		}
	}
	return v
}

func conversation(t testing.TB, messages string) Conversation {
	return Conversation{Messages: values(t, messages).([]any)}
}

// TestChatTemplate_golden compares with jinja2 3.1.6 in the environment that transformers sets up.
func TestChatTemplate_golden(t *testing.T) {
	type golden struct {
		Template, Case, Source, Text, Error string
		Values                              struct {
			Messages, Tools       json.RawMessage
			Add_generation_prompt bool
		}
		Answers [][2]int
	}
	for _, c := range testfile.Lines[golden](t, "testdata/chat_golden.jsonl") {
		t.Run(c.Template+"/"+c.Case, func(t *testing.T) {
			template := chatTemplate(t, c.Source)
			template.plain.Now = func() time.Time { return time.Date(2024, 7, 26, 0, 0, 0, 0, time.UTC) }
			input := conversation(t, string(c.Values.Messages))
			input.AddGenerationPrompt = c.Values.Add_generation_prompt
			if c.Values.Tools != nil {
				input.Tools = values(t, string(c.Values.Tools))
			}
			r, err := template.Render(t.Context(), input)
			if (err != nil) != (c.Error != "") {
				t.Fatalf("error %v, want %q", err, c.Error)
			}
			if err != nil {
				return
			}
			if r.Text != c.Text {
				t.Errorf("\n got %q\nwant %q", r.Text, c.Text)
			}
			answers, err := r.Answers()
			if err != nil {
				t.Fatal(err)
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

const chatML = `{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}`

func TestChatTemplate_parallel(t *testing.T) {
	template := chatTemplate(t, chatML)
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			word := strings.Repeat("x", g+1)
			for range 50 {
				r, err := template.Render(t.Context(), Conversation{Messages: []any{map[string]any{"role": "user", "content": word}}})
				if want := "<|user|>" + word; err != nil || r.Text != want {
					t.Errorf("%+v, %v, want %q", r, err, want)
				}
			}
		})
	}
	group.Wait()
}

func TestRender(t *testing.T) {
	for _, c := range []struct{ name, source, messages, want string }{
		{"null is left out", "{% for m in messages %}{{ m.keys() | list }}{% endfor %}", `[{"role": "user", "content": null, "x": {"y": null}}]`, "['role', 'x']"},
		{"thoughts", "{% for m in messages %}{{ m }}{% endfor %}", `[{"role": "a", "reasoning": "hm"}]`,
			"{'thinking': 'hm', 'role': 'a', 'reasoning': 'hm', 'reasoning_content': 'hm'}"},
		{"several thoughts", "{% for m in messages %}{{ m }}{% endfor %}", `[{"thinking": "t", "reasoning_content": "r"}]`,
			"{'thinking': 't', 'reasoning_content': 'r'}"},
		{"keys in order", "{{ messages[0].arguments | tojson }}", `[{"arguments": {"zip": "1", "city": "X", "lat": 1.0, "big": 1e+20, "n": 3}}]`,
			`{"zip": "1", "city": "X", "lat": 1.0, "big": 1e+20, "n": 3}`},
		{"tokens", "{{ bos_token }}{{ tools is defined }}{{ tools }}{{ documents }}{{ add_generation_prompt }}", `[]`, "<|endoftext|>TrueNoneNoneFalse"},
	} {
		r, err := chatTemplate(t, c.source).Render(t.Context(), conversation(t, c.messages))
		if err != nil || r.Text != c.want {
			t.Errorf("%s: %+v, %v, want %q", c.name, r, err, c.want)
		}
	}
}

// Conversations with tools use a separate template if tokenizer_config.json or a file provides one.
func TestChatTemplate_toolUse(t *testing.T) {
	const inConfig = `{"chat_template": [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "{{ tools | length }} tools"}]}`
	for what, files := range map[string]map[string]string{
		"config": {"tokenizer_config.json": inConfig},
		"object": {"tokenizer_config.json": `{"chat_template": {"default": "plain", "tool_use": "{{ tools | length }} tools"}}`},
		"files":  {"tokenizer_config.json": `{"chat_template": "another"}`, ChatTemplateFile: "plain", "additional_chat_templates/tool_use.jinja": "{{ tools | length }} tools"},
	} {
		dir := t.TempDir()
		files["tokenizer.json"] = string(testfile.Read(t, "testdata/tiny_bpe_1k_tokenizer.json"))
		for name, text := range files {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		tok, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		template, err := tok.ChatTemplate()
		if err != nil {
			t.Fatal(err)
		}
		for want, tools := range map[string]any{"plain": nil, "1 tools": []any{map[string]any{"name": "f"}}} {
			r, err := template.Render(t.Context(), Conversation{Tools: tools})
			if err != nil || r.Text != want {
				t.Errorf("%s: %+v, %v, want %q", what, r, err, want)
			}
		}
	}
}

func TestChatTemplate_clock(t *testing.T) {
	template := chatTemplate(t, "{{ strftime_now('%Y-%m-%d %H:%M:%S.%f') }}")
	first, err := template.Render(t.Context(), Conversation{})
	if err != nil {
		t.Fatal(err)
	}
	if second, err := template.Render(t.Context(), Conversation{}); err != nil || second.Text != first.Text {
		t.Errorf("%+v, %v, want the time of the first, %s", second, err, first.Text)
	}
}

// A conversation with keys other than the template's must not become empty turns.
func TestCheckKeys(t *testing.T) {
	branches := "{% for m in messages %}{% if m.role == 'user' %}U {{ m.content }}{% elif m['role'] == 'assistant' %}A {{ m.content | trim }}{% endif %}{% endfor %}"
	for _, c := range []struct{ source, message, problem string }{
		{chatML, `{"role": "user", "content": ""}`, ""},
		{chatML, `{"role": "user", "text": "Hello"}`, `message 1 has no "content", which the chat template prints in line 1: it has role, text`},
		{chatML, `{"from": "human", "value": "Hello"}`, `message 1 has no "role", which the chat template reads: it has from, value`},
		{branches, `{"from": "human", "value": "Hello"}`, `message 1 has no "role"`},
		{branches, `{"role": "assistant", "text": "Hello"}`, `message 1 has no "content"`},
		{branches, `{"role": "assistant", "name": "x", "content": null}`, `message 1 has no "content"`},
		{branches, `{"role": "assistant", "tool_calls": [{"name": "f"}]}`, ""},
		{branches, `{"role": "tool"}`, ""},
		{"{% for m in messages %}{{ m.content }}{{ m.name }}{% endfor %}", `{"role": "tool", "content": "x"}`, `has no "name"`},
		{"{% for m in messages %}{{ m.content }}{{ m.name or 'x' }}{{ m.get('y') }}{% if m.z %}{% endif %}{% endfor %}", `{"content": "x"}`, ""},
	} {
		input := conversation(t, `[{"role": "user", "content": "first", "name": "n"}, `+c.message+`]`)
		r, err := chatTemplate(t, c.source).Render(t.Context(), input)
		if err != nil {
			t.Fatal(err)
		}
		if err = r.CheckKeys(); (err == nil) != (c.problem == "") || !strings.Contains(fmt.Sprint(err), c.problem) && err != nil {
			t.Errorf("%s: error %v, want %q", c.message, err, c.problem)
		}
	}
}

// Generation marks in a macro count. If other text of the macro precedes them, their position is unknown.
func TestAnswers_macro(t *testing.T) {
	source := "{%% macro say(m) %%}%s{%% generation %%}{{ m.content }}{%% endgeneration %%}{%% endmacro %%}a|{%% for m in messages %%}{{ say(m) }}|{%% endfor %%}"
	for prefix, want := range map[string]string{"": "[{2 4} {5 7}] <nil>", "x": "[] chat template: line 1: the position of this generation block in the output is unknown"} {
		r, err := chatTemplate(t, fmt.Sprintf(source, prefix)).Render(t.Context(), conversation(t, `[{"role": "a", "content": "Hi"}, {"role": "a", "content": "Yo"}]`))
		if err != nil {
			t.Fatal(err)
		}
		answers, err := r.Answers()
		if got := fmt.Sprint(answers, err); !strings.HasPrefix(got, want) {
			t.Errorf("%q: %s, want %s", prefix, got, want)
		}
	}
}
