package trainer

import "strings"

// Message is a part of a conversation.
type Message struct {
	Role    string `json:"role" yaml:"role"`
	Content string `json:"content" yaml:"content"`
}

// SamplePrompt is a text to continue, or a conversation to answer.
type SamplePrompt struct {
	Text     string
	Messages []Message // instead of Text
}

// String returns the text, or the conversation up to where the answer begins.
func (p SamplePrompt) String() string {
	if len(p.Messages) == 0 {
		return p.Text
	}
	var b strings.Builder
	for _, m := range p.Messages {
		b.WriteString(m.Role + ": " + m.Content + "\n")
	}
	return b.String() + "assistant: "
}

// MarshalYAML writes the form that was read.
func (p SamplePrompt) MarshalYAML() (any, error) {
	if len(p.Messages) > 0 {
		return p.Messages, nil
	}
	return p.Text, nil
}
