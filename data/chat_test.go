package data

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"

	"mambatrain/internal/label"
)

// withChatTemplate returns the tiny tokenizer with a chat template.
func withChatTemplate(t testing.TB, source string) *Tokenizer {
	tok := tinyTokenizer(t)
	tok.settings.chatTemplate = source
	tok.settings.tokens = map[string]string{"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
	return tok
}

// TestChatTemplates compares with jinja2 3.1.6 in the environment that transformers sets up.
func TestChatTemplates(t *testing.T) {
	type golden struct {
		Template, Case, Source, Text, Error string
		Values                              json.RawMessage
		Answers                             [][2]int
	}
	for _, c := range jsonLines[golden](t, "testdata/chat_golden.jsonl") {
		t.Run(c.Template+"/"+c.Case, func(t *testing.T) {
			template, err := parseChatTemplate(withChatTemplate(t, c.Source))
			if err != nil {
				t.Fatal(err)
			}
			values, err := jsonValue(c.Values)
			if err != nil {
				t.Fatal(err)
			}
			text, answers, err := template.render(values.(map[string]any))
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

const chatML = `{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}`

func TestAssistantOnlyLoss(t *testing.T) {
	tok := withChatTemplate(t, chatML)
	path := writeFile(t, "chat.jsonl", `{"messages":[{"role":"user","content":"One?"},{"role":"assistant","content":"First."},{"role":"user","content":"Two?"},{"role":"assistant","content":"Second."}]}
{"messages":[{"role":"user","content":"no answer"}]}
{"messages":[]}
{"messages":null}
`)
	o := DefaultOptions()
	o.Messages, o.AssistantOnlyLoss = "messages", true
	d := open(t, path, tok, o)
	if s := d.Stats(); s.Documents != 1 || s.NoLabels != 1 || s.Empty != 2 {
		t.Fatalf("%+v, want 1 document, 1 without labels, 2 empty", s)
	}
	e := d.Example(0)
	if got, want := tok.Decode(e.Tokens), "<|user|>One?<|assistant|>First.<|endoftext|><|user|>Two?<|assistant|>Second.<|endoftext|>"; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
	var counted []int
	for i, l := range e.Labels {
		if l != label.Ignored && l != e.Tokens[i] {
			t.Fatalf("label %d for token %d", l, e.Tokens[i])
		}
		if l != label.Ignored {
			counted = append(counted, l)
		}
	}
	// The border may lie within a token: "|>" and "First" are two here.
	if got, want := tok.Decode(counted), "First.<|endoftext|>Second.<|endoftext|>"; got != want {
		t.Errorf("counted %q, want %q", got, want)
	}
}

func TestChatTemplateFaults(t *testing.T) {
	for _, c := range []struct{ source, want string }{
		{"", "no chat template"},
		{"{% if %}", "chat template"},
		{"{{ messages[0].content }}", "marks no answers"},
	} {
		o := DefaultOptions()
		o.Messages, o.AssistantOnlyLoss = "messages", true
		path := writeFile(t, "chat.jsonl", `{"messages":[{"role":"user","content":"a"}]}`)
		_, err := Open(t.Context(), []Input{{Path: path}}, withChatTemplate(t, c.source), o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want one with %q", c.source, err, c.want)
		}
	}
}

func TestChatTemplateInParallel(t *testing.T) {
	template, err := parseChatTemplate(withChatTemplate(t, chatML))
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			word := strings.Repeat("x", g+1)
			for range 50 {
				text, _, err := template.render(map[string]any{"messages": []any{map[string]any{"role": "user", "content": word}}})
				if want := "<|user|>" + word; err != nil || text != want {
					t.Errorf("%q, %v, want %q", text, err, want)
				}
			}
		})
	}
	group.Wait()
}
