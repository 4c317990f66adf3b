package data

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mambatrain/data/source"
	"mambatrain/data/tokenizer"
	"mambatrain/internal/label"
	"mambatrain/internal/testfile"
)

const chatML = `{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}`

// chatTokenizer returns the tiny tokenizer with a chat template.
func chatTokenizer(t testing.TB, template string) *tokenizer.Tokenizer {
	t.Helper()
	dir := t.TempDir()
	for name, raw := range map[string][]byte{
		"tokenizer.json":        testfile.Read(t, tinyPath),
		"tokenizer_config.json": []byte(`{"bos_token":"<|endoftext|>","eos_token":"<|endoftext|>"}`),
		"chat_template.jinja":   []byte(template),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return loadTokenizer(t, dir)
}

func TestOpen_assistantOnlyLoss(t *testing.T) {
	tok := chatTokenizer(t, chatML)
	path := testfile.Write(t, "chat.jsonl", `{"messages":[{"role":"user","content":"One?"},{"role":"assistant","content":"First."},{"role":"user","content":"Two?"},{"role":"assistant","content":"Second."}]}
{"messages":[{"role":"user","content":"no answer"}]}
{"messages":[]}
{"messages":null}
`)
	o := Default()
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

func TestOpen_chatFaults(t *testing.T) {
	for _, c := range []struct{ source, want string }{
		{"", "no chat template"},
		{"{% if %}", "chat template"},
		{"{{ messages[0].content }}", "marks no answers"},
	} {
		o := Default()
		o.Messages, o.AssistantOnlyLoss = "messages", true
		path := testfile.Write(t, "chat.jsonl", `{"messages":[{"role":"user","content":"a"}]}`)
		_, err := Open(t.Context(), []source.Input{{Path: path}}, chatTokenizer(t, c.source), o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want one with %q", c.source, err, c.want)
		}
	}
}
