package data

import "errors"

// newChatRows renders chat messages through the tokenizer's own template.
func newChatRows(tok *Tokenizer, o *Options, end int32) (renderer, error) {
	return nil, errors.New("data.messages: the tokenizer has no chat template")
}
