package recipe

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mambatrain/data"
	"mambatrain/internal/testfile"
	"mambatrain/mamba"
	"mambatrain/trainer"
)

// chatModel returns the quick start's base with a chat template.
func chatModel(t *testing.T, template string) *Model {
	t.Helper()
	return chatModelWith(t, template, func(map[string]any) {})
}

// chatModelWith is like chatModel, with a modified tokenizer.json.
func chatModelWith(t *testing.T, template string, change func(tokenizer map[string]any)) *Model {
	t.Helper()
	dir := quickstartWith(t, change)
	if err := os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte(template), 0o666); err != nil {
		t.Fatal(err)
	}
	m, err := LoadModel(t.Context(), dir, "", LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func chatFormat(t *testing.T, template string) *ChatFormat {
	t.Helper()
	f, err := chatModel(t, template).ChatFormat()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

const (
	chatML  = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
	trimmed = "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}<|endoftext|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
	// onlyLast renders only the last two messages, so the history is rendered differently in each turn.
	onlyLast = "{% for m in messages[-2:] %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)

// A chat whose history is stored as state gives the same answers as one that rereads everything in each turn.
func TestChat_stateEqualsReading(t *testing.T) {
	for name, template := range map[string]string{"chatml": chatML, "trimmed": trimmed, "only last": onlyLast} {
		t.Run(name, func(t *testing.T) {
			f := chatFormat(t, template)
			o := TextOptions{GenerateOptions: f.model.DefaultGenerate()}
			o.MaxNewTokens = 12
			chat, err := f.NewChat("Be brief.", o)
			if name == "only last" {
				chat, err = f.NewChat("", o) // the template would omit it
			}
			if err != nil {
				t.Fatal(err)
			}
			for turn, text := range []string{"Who keeps the lamp?", "And the sea?", "Why?"} {
				prompt, err := f.prompt(t.Context(), conversation(append(slices.Clone(chat.Messages()), trainer.Message{Role: "user", Content: text})))
				if err != nil {
					t.Fatal(err)
				}
				want, err := f.model.Continue(t.Context(), [][]int{prompt.IDs}, f.Options(o))
				if err != nil {
					t.Fatal(err)
				}
				got, err := chat.Answer(t.Context(), text)
				if err != nil {
					t.Fatal(err)
				}
				if fmt.Sprint(got.Text) != fmt.Sprint(want[0]) {
					t.Errorf("turn %d: %+v, want %+v", turn, got.Text, want[0])
				}
				if whole := got.Read == len(prompt.IDs); whole != (turn == 0 || name == "only last") {
					t.Errorf("turn %d: %d of %d tokens were read", turn, got.Read, len(prompt.IDs))
				}
			}
			said := len(chat.Messages())
			chat.Reset()
			again, err := chat.Answer(t.Context(), "Who keeps the lamp?")
			if err != nil || again.Read != again.PromptTokens || len(chat.Messages()) != said-4 {
				t.Errorf("after a reset: %+v, %v, %d messages, %d before it", again, err, len(chat.Messages()), said)
			}
		})
	}
}

func TestChat_interrupted(t *testing.T) {
	f := chatFormat(t, chatML)
	o := TextOptions{GenerateOptions: f.model.DefaultGenerate()}
	ctx, cancel := context.WithCancel(t.Context())
	tokens := 0
	o.Stream = func(string) {
		if tokens++; tokens == 3 {
			cancel()
		}
	}
	o.IgnoreEOS = true
	chat, err := f.NewChat("", o)
	if err != nil {
		t.Fatal(err)
	}
	a, err := chat.Answer(ctx, "Go on.")
	if err == nil || len(a.IDs) != 3 || len(chat.Messages()) != 2 {
		t.Fatalf("%+v, %v, %d messages, want 3 tokens and 2 messages", a, err, len(chat.Messages()))
	}
	if a, err = chat.Answer(t.Context(), "And?"); err != nil || a.Read == a.PromptTokens {
		t.Errorf("%+v, %v, want the state to be continued", a, err)
	}
}

// cancelingFeeder ends a context when it has read a prompt.
type cancelingFeeder struct {
	mamba.Feeder
	cancel context.CancelFunc
}

func (f cancelingFeeder) Feed(ctx context.Context, s *mamba.State, tokens [][]int) error {
	defer f.cancel()
	return f.Feeder.Feed(ctx, s, tokens)
}

// A message is discarded if the interrupt comes before the first token of its answer.
func TestChat_interruptedBeforeAnswer(t *testing.T) {
	f := chatFormat(t, chatML)
	ctx, cancel := context.WithCancel(t.Context())
	o := TextOptions{GenerateOptions: f.model.DefaultGenerate()}
	o.Prefill = cancelingFeeder{f.model.NewDecoder(0), cancel}
	chat, err := f.NewChat("", o)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := chat.Answer(ctx, "Go on."); err == nil || len(a.IDs) != 0 || len(chat.Messages()) != 0 {
		t.Errorf("%+v, %v, %d messages, want none", a, err, len(chat.Messages()))
	}
}

func TestNewChat_system(t *testing.T) {
	for template, problem := range map[string]string{
		"{% for m in messages %}<{{ m.content[0].text }}>{% endfor %}": "the chat template ignores messages that are plain text",
		chatML:   "",
		onlyLast: "",
		"{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}":                      "system prompt: the chat template ignores it",
		"{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ messages[0].content }}": "no system",
	} {
		_, err := chatFormat(t, template).NewChat(" Be brief. ", TextOptions{})
		if (err != nil) != (problem != "") || err != nil && !strings.Contains(err.Error(), problem) {
			t.Errorf("%q: error %v, want %q", template, err, problem)
		}
	}
}

func TestFindEnds(t *testing.T) {
	const roles = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n"
	for _, c := range []struct {
		template, space string
		ends            []string
	}{
		{chatML, "", []string{"<|im_end|>"}},
		{trimmed, "", []string{"<|endoftext|>"}},
		{roles + "{% endfor %}", "", []string{"\nuser:"}},
		{roles + "<|endoftext|>{% endfor %}", "\n", []string{"<|endoftext|>"}},
		{roles + "{% endfor %}<|endoftext|>", "\n", []string{"<|endoftext|>", "\nuser:"}},
		{"{% for m in messages %}<{{ m.content }}{{ '<|return|>' if loop.last else '<|end|>' }}{% endfor %}", "", []string{"<|return|>", "<|end|><"}},
		{"{% for m in messages %}[{{ m.content }} /x]{% endfor %}", " ", []string{"/x]"}},
		{"{% for m in messages %}[{{ m.content }}]\n{% endfor %}<|endoftext|>", "", []string{"]"}},
		{"{% for m in messages %} {{ m.role | upper }}: {{ m.content }}{% endfor %}", "", []string{"USER:"}},
		{"{% for m in messages %}>\n{{ m.content }}\n{% endfor %}", "", []string{"\n>"}},
		{"{% for m in messages %}{{ m.content }}{% endfor %}", "", nil},
		{"{{ messages[0].content }}", "", nil},
		{"{{ raise_exception('no') }}", "", nil},
	} {
		if f := chatFormat(t, c.template); f.space != c.space || !slices.Equal(f.ends, c.ends) {
			t.Errorf("%q: %q, %q, want %q, %q", c.template, f.space, f.ends, c.space, c.ends)
		}
	}
}

// A template may end answers with text that has no tokens.
func TestFindEnds_noTokens(t *testing.T) {
	m := chatModelWith(t, "{% for m in messages %}{{ m.content }}]{% endfor %}", func(tokenizer map[string]any) {
		vocab := tokenizer["model"].(map[string]any)["vocab"].(map[string]any)
		vocab["<|bracket|>"] = vocab["]"] // the size of the vocabulary determines the ids of added tokens
		delete(vocab, "]")
	})
	if f, err := m.ChatFormat(); err != nil || !slices.Equal(f.ends, []string{"]"}) {
		t.Errorf("%+v, %v", f, err)
	}
}

// A special token ends an answer like the EOS ids. Other ends, even those of one token, are stop texts, which are not
// part of the answer.
func TestChatFormat_options(t *testing.T) {
	if o := chatFormat(t, trimmed).Options(TextOptions{}); !slices.Equal(o.EndOfTurn, []int{0}) || len(o.StopTexts) != 0 {
		t.Errorf("%+v, want the token", o)
	}
	if o := chatFormat(t, chatML).Options(TextOptions{StopTexts: []string{"x"}}); len(o.EndOfTurn) != 0 || !slices.Equal(o.StopTexts, []string{"x", "<|im_end|>"}) {
		t.Errorf("%+v, want the text", o)
	}
	brackets := chatFormat(t, "{% for m in messages %}[{{ m.content }}]{% endfor %}")
	if n := len(brackets.model.Tokenizer.Encode("]")); n != 1 {
		t.Fatalf("%d tokens, want one", n)
	}
	if o := brackets.Options(TextOptions{}); len(o.EndOfTurn) != 0 || !slices.Equal(o.StopTexts, []string{"]"}) {
		t.Errorf("%+v, want the text of the token", o)
	}
}

func TestReadPrompts_messages(t *testing.T) {
	f := chatFormat(t, "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{{ tools | tojson }}{% if add_generation_prompt %}>{% endif %}")
	path := testfile.Write(t, "m.jsonl", `{"messages":[{"role":"user","content":"One?"}],"tools":[{"b":1,"a":2}]}
{"messages":[{"from":"system","value":"Own."},{"from":"human","value":"Two?"}]}
`)
	prompts, err := f.ReadPrompts(t.Context(), path, "Be brief.", data.Default().Config)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"system: Be brief.\nuser: One?\n[{\"b\": 1, \"a\": 2}]>", "system: Own.\nuser: Two?\nnull>"}
	for i, p := range prompts {
		if p.Text != want[i] || f.model.Tokenizer.Decode(p.IDs) != want[i] {
			t.Errorf("%q, want %q", p.Text, want[i])
		}
	}
	for content, problem := range map[string]string{
		`{"messages":[]}`:                `line 1: column "messages" has no messages`,
		`{"messages":[{"role":"user"}]}`: `line 1: message 0 has no "content"`,
		`{"text":"x"}`:                   `no column "messages"`,
	} {
		_, err := f.ReadPrompts(t.Context(), testfile.Write(t, "bad.jsonl", content+"\n"), "", data.Default().Config)
		if err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: error %v, want one with %q", content, err, problem)
		}
	}
}
