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
	// The boundary may be inside a token; here "|>" and "First" are two tokens.
	if got, want := tok.Decode(counted), "First.<|endoftext|>Second.<|endoftext|>"; got != want {
		t.Errorf("counted %q, want %q", got, want)
	}
}

func TestOpen_chatFaults(t *testing.T) {
	for _, c := range []struct{ source, want string }{
		{"", "no chat template"},
		{"{% if %}", "chat template"},
		{"{{ messages[0].content }}", "does not mark answers"},
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

// ShareGPT conversations are converted, unless the template reads them directly.
func TestOpen_shareGPT(t *testing.T) {
	path := testfile.Write(t, "chat.jsonl", `{"conversations":[{"from":"system","value":"Be brief."},{"from":"Human","value":"One?"},{"from":"gpt","value":"First."}]}
`)
	for _, c := range []struct {
		template, want string
		converted      int
	}{
		{chatML, "<|system|>Be brief.<|user|>One?<|assistant|>First.<|endoftext|>", 1},
		{"{% for m in messages %}{{ m.from }}: {{ m.value }} {% endfor %}", "system: Be brief. Human: One? gpt: First. ", 0},
	} {
		tok := chatTokenizer(t, c.template)
		o := Default()
		o.Messages = "conversations"
		d := open(t, path, tok, o)
		if got := tok.Decode(d.Example(0).Tokens); got != c.want || d.Stats().ShareGPT != c.converted {
			t.Errorf("%q, %d converted, want %q, %d", got, d.Stats().ShareGPT, c.want, c.converted)
		}
	}
}

func TestOpen_conversationFaults(t *testing.T) {
	for _, c := range []struct{ messages, want string }{
		{`[{"from":"human","value":"a"},{"role":"assistant","content":"b"}]`, "line 1: column \"m\": message 1 has no from and value, unlike the others"},
		{`[{"from":"robot","value":"a"}]`, `message 0 is from "robot", want human, gpt, system, or tool`},
		{`[{"speaker":"human","text":"a"}]`, `message 0 has no "role"`},
		{`[{"role":"user","text":"a"}]`, `message 0 has no "content", which the chat template prints in line 1: it has role, text`},
		{`[{"role":"user","content":"a"}],"tools":"f()"`, `column "tools" is text, want a list of tools`},
		{`[{"role":"user","content":"a"}],"chat_template_kwargs":[]`, `column "chat_template_kwargs": is a list, want an object`},
		{`[{"role":"user","content":"a"}],"chat_template_kwargs":{"tools":[]}`, `"tools" cannot be set as a variable`},
		{`["a"]`, "message 0 is text, want an object"},
		{`"a"`, "is text, want a list of messages"},
	} {
		o := Default()
		o.Messages = "m"
		path := testfile.Write(t, "chat.jsonl", `{"m":`+c.messages+`}`)
		_, err := Open(t.Context(), []source.Input{{Path: path}}, chatTokenizer(t, chatML), o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.messages, err, c.want)
		}
	}
}

// Keys keep their order in the file, even in tools given as text.
func TestOpen_keyOrder(t *testing.T) {
	path := testfile.Write(t, "chat.jsonl", `{"messages":[{"role":"user","content":"a","arguments":{"zip":1.0,"area":1e+20}}],"tools":"[{\"type\":\"f\",\"name\":\"g\"}]"}`)
	tok := chatTokenizer(t, "{{ messages[0].arguments | tojson }}{{ tools | tojson }}")
	o := Default()
	o.Messages = "messages"
	if got, want := tok.Decode(open(t, path, tok, o).Example(0).Tokens), `{"zip": 1.0, "area": 1e+20}[{"type": "f", "name": "g"}]`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A prompt and a completion can be lists of messages, as in trl. The beginning of the answer belongs to the prompt.
func TestOpen_chatPrompt(t *testing.T) {
	path := testfile.Write(t, "chat.jsonl", `{"prompt":[{"role":"user","content":"One?"}],"completion":[{"role":"assistant","content":"First."}]}
{"prompt":[{"role":"user","content":"Two?"}],"completion":[],"tools":[]}
{"prompt":"Three? ","completion":"Third."}
{"prompt":[{"from":"human","value":"Four?"}],"completion":[{"from":"gpt","value":"Fourth."}],"tools":[1]}
`)
	tok := chatTokenizer(t, "{{ tools or '' }}"+chatML+"{% if add_generation_prompt %}<|assistant|>{% endif %}")
	o := Default()
	o.Prompt, o.Completion, o.Shuffle = "prompt", "completion", false
	d := open(t, path, tok, o)
	if s := d.Stats(); s.Documents != 3 || s.Empty != 1 || s.ShareGPT != 1 {
		t.Fatalf("%+v, want 3 documents and an empty row", s)
	}
	for i, want := range []struct{ text, counted string }{
		{"<|user|>One?<|assistant|>First.<|endoftext|>", "First.<|endoftext|>"},
		{"Three? Third.<|endoftext|>", "Third.<|endoftext|>"},
		{"[1]<|user|>Four?<|assistant|>Fourth.<|endoftext|>", "Fourth.<|endoftext|>"},
	} {
		e := d.Example(i)
		var counted []int
		for _, l := range e.Labels {
			if l != label.Ignored {
				counted = append(counted, l)
			}
		}
		if got := tok.Decode(e.Tokens); got != want.text || tok.Decode(counted) != want.counted {
			t.Errorf("row %d: %q, counted %q, want %q, %q", i, got, tok.Decode(counted), want.text, want.counted)
		}
	}
	path = testfile.Write(t, "chat.jsonl", `{"prompt":[{"role":"user","content":"One?"}],"completion":"First."}`)
	if _, err := Open(t.Context(), []source.Input{{Path: path}}, tok, o); err == nil || !strings.Contains(err.Error(), `column "completion" is text, want a list of messages`) {
		t.Errorf("error %v", err)
	}
}

// A row can set further variables of the template, as in trl. A null variable is defined: its value is none.
func TestOpen_templateVariables(t *testing.T) {
	path := testfile.Write(t, "chat.jsonl", `{"messages":[{"role":"user","content":"a"}],"chat_template_kwargs":{"think":true,"note":null,"eos_token":"!"}}
{"messages":[{"role":"user","content":"b"}],"chat_template_kwargs":null}
`)
	tok := chatTokenizer(t, "{{ messages[0].content }} {{ think }} {{ note is defined }} {{ eos_token }}")
	o := Default()
	o.Messages, o.Shuffle = "messages", false
	d := open(t, path, tok, o)
	for i, want := range []string{"a True True !", "b  False <|endoftext|>"} {
		if got := tok.Decode(d.Example(i).Tokens); got != want {
			t.Errorf("row %d: %q, want %q", i, got, want)
		}
	}
}

// A file without nested columns contains conversations as JSON text.
func TestOpen_messagesAsText(t *testing.T) {
	path := testfile.Write(t, "chat.csv", "messages\n\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"One?\"\"}]\"\n")
	tok := chatTokenizer(t, chatML)
	o := Default()
	o.Messages = "messages"
	if got, want := tok.Decode(open(t, path, tok, o).Example(0).Tokens), "<|user|>One?"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
