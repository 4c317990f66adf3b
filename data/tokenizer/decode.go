package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Decode returns the text of ids, special tokens spelled out. Ids without a token stand for nothing: a model has more
// rows than its tokenizer has tokens. Bytes that are not UTF-8 become U+FFFD, one for each maximal bad part, or for each byte
// where the tokenizer falls back to bytes.
func (t *Tokenizer) Decode(ids []int) string {
	return t.decode(ids, func(int) bool { return false })
}

// DecodeText returns the text of ids without special tokens, otherwise as Decode.
func (t *Tokenizer) DecodeText(ids []int) string { return t.decode(ids, t.isSpecial) }

func (t *Tokenizer) decode(ids []int, skip func(id int) bool) string {
	var b []byte
	var tokens []string
	for _, id := range ids {
		switch {
		case skip(id):
		case t.characters == nil:
			b = t.appendBytes(b, id)
		case t.Token(id) != "":
			token := t.Token(id)
			if spelled, ok := t.vocab.spelled[int32(id)]; ok {
				token = spelled
			}
			tokens = append(tokens, token)
		}
	}
	if t.characters != nil {
		return t.characters.decoding.text(tokens)
	}
	return validUTF8(b)
}

// tokenBytes returns what a token stands for within a text.
func (t *Tokenizer) tokenBytes(token string) []byte {
	if t.characters != nil {
		return t.characters.decoding.token(token)
	}
	return tokenBytes(token)
}

// appendBytes appends the bytes that id stands for. They may end within a character that later tokens complete.
func (t *Tokenizer) appendBytes(dst []byte, id int) []byte {
	if id < 0 || id >= len(t.vocab.bytes) {
		return dst
	}
	return append(dst, t.vocab.bytes[id]...)
}

// Bytes returns the bytes that id stands for, spelled out if it is a special token, and whether it is one. They may end
// within a character that later tokens complete.
func (t *Tokenizer) Bytes(id int) (b []byte, special bool) {
	return t.appendBytes(nil, id), t.isSpecial(id)
}

// A TextStream turns the bytes of tokens, as they come, into whole characters.
type TextStream struct{ pending []byte }

// Add returns the text that the bytes of a token complete: "" in the middle of a character.
func (s *TextStream) Add(b []byte) string {
	s.pending = append(s.pending, b...)
	whole := len(s.pending) - unfinished(s.pending)
	text := validUTF8(s.pending[:whole])
	s.pending = append(s.pending[:0], s.pending[whole:]...)
	return text
}

// Rest returns what is left of a character that never was completed, and forgets it.
func (s *TextStream) Rest() string {
	text := validUTF8(s.pending)
	s.pending = s.pending[:0]
	return text
}

// unfinished returns how many bytes at the end of b may yet become a character.
func unfinished(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		tail := b[len(b)-n:]
		if !utf8.RuneStart(tail[0]) {
			continue
		}
		if utf8.FullRune(tail) {
			return 0
		}
		return n
	}
	return 0
}

// validUTF8 replaces each maximal part that is not UTF-8 by one U+FFFD, as Rust's from_utf8_lossy and Unicode's
// recommended practice do. Go's own conversions replace each byte.
func validUTF8(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var out strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			n = badPart(b)
			out.WriteRune(utf8.RuneError)
		} else {
			out.Write(b[:n])
		}
		b = b[n:]
	}
	return out.String()
}

// badPart returns the length of the longest start of b that some character starts with, at least 1.
func badPart(b []byte) int {
	n := 1
	for n < len(b) && n < utf8.UTFMax && !utf8.FullRune(b[:n]) {
		n++
	}
	// b[:n] is the first that is no longer the start of a character: the last byte does not belong to it.
	if n > 1 && utf8.FullRune(b[:n]) {
		n--
	}
	return n
}
