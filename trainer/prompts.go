package trainer

import "strings"

// Message is one message in a conversation.
type Message struct {
	Role    string `json:"role" yaml:"role"`
	Content string `json:"content" yaml:"content"`
}

// SamplePrompt is a text to continue, or a conversation to answer.
type SamplePrompt struct {
	Text     string
	Messages []Message // instead of Text
}

// String returns the text, or one line per message.
func (p SamplePrompt) String() string {
	if len(p.Messages) == 0 {
		return p.Text
	}
	lines := make([]string, len(p.Messages))
	for i, m := range p.Messages {
		lines[i] = m.Role + ": " + m.Content
	}
	return strings.Join(lines, "\n")
}

// MarshalYAML returns the text or the messages, as in the configuration.
func (p SamplePrompt) MarshalYAML() (any, error) {
	if len(p.Messages) > 0 {
		return p.Messages, nil
	}
	return p.Text, nil
}
