package recipe

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"mambatrain/data"
	"mambatrain/data/source"
	"mambatrain/data/tokenizer"
	"mambatrain/internal/fault"
	"mambatrain/internal/format"
	"mambatrain/internal/ordered"
	"mambatrain/mamba"
	"mambatrain/trainer"
)

// ChatFormat formats conversations with a model's chat template.
type ChatFormat struct {
	model    *Model
	template *tokenizer.ChatTemplate
	space    string   // whitespace between an answer and its end
	ends     []string // texts that the template writes after an answer, such as <|im_end|>
}

// ChatFormat returns the model's chat format, or an error if it has none.
func (m *Model) ChatFormat() (*ChatFormat, error) {
	if err := m.NeedTokenizer("a chat"); err != nil {
		return nil, err
	}
	t, err := m.Tokenizer.ChatTemplate()
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, fault.NotFound("tokenizer %s has no chat template: create %s", m.Tokenizer.Dir(), filepath.Join(m.Tokenizer.Dir(), "chat_template.jinja"))
	}
	f := &ChatFormat{model: m, template: t}
	f.findEnds()
	return f, nil
}

// HasChatFormat reports whether the model has a chat template.
func (m *Model) HasChatFormat() bool {
	if m.Tokenizer == nil {
		return false
	}
	t, err := m.Tokenizer.ChatTemplate()
	return t != nil || err != nil
}

// ChatPrompt is a rendered conversation that ends where an answer begins.
type ChatPrompt struct {
	Text string
	IDs  []int
}

// prompt renders a conversation and tokenizes it in the same way as training.
func (f *ChatFormat) prompt(ctx context.Context, c tokenizer.Conversation) (ChatPrompt, error) {
	c.AddGenerationPrompt = true
	r, err := f.template.Render(ctx, c)
	if err != nil {
		return ChatPrompt{}, err
	}
	if err := r.CheckKeys(); err != nil {
		return ChatPrompt{}, err
	}
	ids := widen(f.model.Tokenizer.AppendText(nil, r.Text))
	if len(ids) == 0 {
		return ChatPrompt{}, errors.New("the chat template renders an empty text")
	}
	return ChatPrompt{r.Text, ids}, f.model.checkVocabulary(ids)
}

// Prompt renders messages followed by the beginning of an answer.
func (f *ChatFormat) Prompt(ctx context.Context, messages []trainer.Message) (ChatPrompt, error) {
	return f.prompt(ctx, conversation(messages))
}

func widen(ids []int32) []int {
	out := make([]int, len(ids))
	for i, id := range ids {
		out[i] = int(id)
	}
	return out
}

// ReadPrompts reads conversations from a file; see [data.ReadConversations]. If system is not empty, it is prepended to
// those without a system prompt.
func (f *ChatFormat) ReadPrompts(ctx context.Context, path, system string, c source.Config) ([]ChatPrompt, error) {
	if err := f.checkSystem(system); err != nil {
		return nil, err
	}
	first := conversation([]trainer.Message{{Role: "system", Content: system}}).Messages
	var prompts []ChatPrompt
	answered := 0
	err := data.ReadConversations(ctx, Sources{{Path: path, Weight: 1}}, f.model.Tokenizer, c, func(chat tokenizer.Conversation) error {
		if roleOf(chat.Messages[len(chat.Messages)-1]) == "assistant" {
			answered++
		}
		if system != "" && roleOf(chat.Messages[0]) != "system" {
			chat.Messages = slices.Concat(first, chat.Messages)
		}
		p, err := f.prompt(ctx, chat)
		prompts = append(prompts, p)
		return err
	})
	if answered > 0 && c.Warn != nil {
		c.Warn(fmt.Errorf("%s: %s with an answer: another answer will follow it", path, endings(answered)))
	}
	if err == nil && len(prompts) == 0 {
		err = fault.NotFound("messages %s: contains no conversations", path)
	}
	return prompts, err
}

// roleOf returns the role of a message, or nil if it has none.
func roleOf(message any) any {
	role, _ := message.(*ordered.Object).Get("role")
	return role
}

func endings(n int) string {
	if n == 1 {
		return "1 conversation ends"
	}
	return format.Count(n) + " conversations end"
}

// checkSystem returns an error if the template omits the system prompt.
func (f *ChatFormat) checkSystem(system string) error {
	if system == "" {
		return nil
	}
	if err := fault.CheckText("system", system); err != nil {
		return err
	}
	p, err := f.prompt(context.Background(), conversation([]trainer.Message{{Role: "system", Content: system}, {Role: "user", Content: "Hi."}}))
	if err == nil && !strings.Contains(p.Text, strings.TrimSpace(system)) {
		err = errors.New("the chat template ignores it")
	}
	if err != nil {
		return fmt.Errorf("system prompt: %w", err)
	}
	return nil
}

// Options returns o with the ends of an answer in the template as ends of texts.
func (f *ChatFormat) Options(o TextOptions) TextOptions {
	if o.IgnoreEOS {
		return o
	}
	o.StopTexts = slices.Clone(o.StopTexts)
	for _, end := range f.ends {
		if id, ok := f.special(end); ok {
			o.EndOfTurn = append(o.EndOfTurn, id)
		} else {
			o.StopTexts = append(o.StopTexts, end)
		}
	}
	return o
}

// special returns the id of the special token that is spelled like text, and whether there is one.
func (f *ChatFormat) special(text string) (id int, ok bool) {
	ids := f.model.Tokenizer.AppendText(nil, text)
	if len(ids) != 1 {
		return 0, false
	}
	_, ok = f.model.Tokenizer.Bytes(int(ids[0]))
	return int(ids[0]), ok
}

// A conversation that reveals what the template writes.
const (
	probeQuestion = "Who asks?"
	probeAnswer   = "Somebody answers."
	probeNext     = "And who else?"
)

// findEnds finds what the template writes after the last answer of a conversation and after an answer followed by a
// question.
func (f *ChatFormat) findEnds() {
	turns := []trainer.Message{{Role: "user", Content: probeQuestion}, {Role: "assistant", Content: probeAnswer}, {Role: "user", Content: probeNext}}
	space, last := f.endIn(f.after(turns[:2], probeAnswer))
	f.space = space
	header, _, found := strings.Cut(f.after(turns, probeAnswer), probeNext)
	_, between := f.endIn(header)
	if !found || last != "" && strings.HasPrefix(between, last) {
		between = ""
	}
	if _, special := f.special(between); between != "" && strings.HasPrefix(header, "\n") && !special {
		between = "\n" + between // the header of a message, at the start of a line
	}
	for _, end := range []string{last, between} {
		if end != "" {
			f.ends = append(f.ends, end)
		}
	}
}

// endIn returns what ends an answer, given the text after it, and the whitespace before that end: a special token, or
// else a line.
func (f *ChatFormat) endIn(after string) (space, end string) {
	end = strings.TrimLeftFunc(after, unicode.IsSpace)
	if end == "" {
		return "", ""
	}
	space = after[:len(after)-len(end)]
	if ids := f.model.Tokenizer.AppendText(nil, end); len(ids) > 0 { // characters without a token are dropped
		if b, special := f.model.Tokenizer.Bytes(int(ids[0])); special {
			return space, string(b)
		}
	}
	line, _, _ := strings.Cut(end, "\n")
	return space, strings.TrimSpace(line)
}

// after renders messages and returns what follows text, or "" if text does not occur.
func (f *ChatFormat) after(messages []trainer.Message, text string) string {
	r, err := f.template.Render(context.Background(), conversation(messages))
	if err != nil {
		return ""
	}
	_, after, _ := strings.Cut(r.Text, text)
	return after
}

// Chat is a conversation with a model. Its history is stored as the model's state, so an answer reads only the new
// tokens. If the template renders the history differently than before, it is read again.
type Chat struct {
	format   *ChatFormat
	options  TextOptions
	system   string
	messages []trainer.Message
	states   []*mamba.State // after the last answer and before it
}

// NewChat starts a conversation, with a system prompt if system is not empty.
func (f *ChatFormat) NewChat(system string, o TextOptions) (*Chat, error) {
	c := &Chat{format: f, options: f.Options(o), system: system}
	c.Reset()
	p, err := f.prompt(context.Background(), conversation([]trainer.Message{{Role: "user", Content: probeQuestion}}))
	if err != nil {
		return nil, err
	}
	if !strings.Contains(p.Text, probeQuestion) {
		return nil, errors.New("the chat template ignores messages that are plain text")
	}
	return c, f.checkSystem(system)
}

// Reset clears the conversation except for the system prompt.
func (c *Chat) Reset() {
	c.messages, c.states = nil, nil
	if c.system != "" {
		c.messages = []trainer.Message{{Role: "system", Content: c.system}}
	}
}

// Messages returns all messages so far, including the system prompt.
func (c *Chat) Messages() []trainer.Message { return c.messages }

// ChatAnswer is a model's answer in a chat.
type ChatAnswer struct {
	Text
	Read int // number of new tokens in the prompt
}

// Answer answers a message. If ctx is canceled after the answer has begun, the partial answer is kept and returned with
// ctx's error. After any other error the message is discarded.
func (c *Chat) Answer(ctx context.Context, text string) (a ChatAnswer, err error) {
	if err := fault.CheckText("message", text); err != nil {
		return a, err
	}
	messages := append(slices.Clip(c.messages), trainer.Message{Role: "user", Content: text})
	prompt, err := c.format.prompt(ctx, conversation(messages))
	if err != nil {
		return a, err
	}
	m, last := c.format.model, len(prompt.IDs)-1
	state := c.continued(prompt.IDs)
	a.Read = len(prompt.IDs) - len(state.Tokens[0])
	feeder := c.options.Prefill
	if feeder == nil {
		feeder = m.NewDecoder(0)
	}
	if err := feeder.Feed(ctx, state, [][]int{prompt.IDs[len(state.Tokens[0]):last]}); err != nil {
		return a, err
	}
	before, o := state.Clone(), c.options
	o.State = state
	texts, err := m.Continue(ctx, [][]int{prompt.IDs[last:]}, o)
	if len(texts) == 0 || len(texts[0].IDs) == 0 || err != nil && ctx.Err() == nil {
		return a, err
	}
	a.Text = texts[0]
	a.PromptTokens = len(prompt.IDs)
	answer := strings.TrimSuffix(a.Text.Text, c.format.space)
	c.messages = append(messages, trainer.Message{Role: "assistant", Content: answer})
	c.states = []*mamba.State{state, before}
	return a, err
}

// continued returns a copy of a state that has read a proper prefix of ids.
func (c *Chat) continued(ids []int) *mamba.State {
	for _, s := range c.states {
		if n := len(s.Tokens[0]); n < len(ids) && slices.Equal(s.Tokens[0], ids[:n]) {
			return s.Clone()
		}
	}
	return c.format.model.NewState(1)
}

// conversation returns messages in the form that templates read.
func conversation(messages []trainer.Message) (c tokenizer.Conversation) {
	for _, m := range messages {
		o := &ordered.Object{}
		o.Set("role", m.Role)
		o.Set("content", m.Content)
		c.Messages = append(c.Messages, o)
	}
	return c
}
