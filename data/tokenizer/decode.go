package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Decode returns the text of ids, including special tokens. Ids without a token are skipped, because a model may have
// more rows than its tokenizer has tokens. Invalid UTF-8 becomes U+FFFD, one for each maximal invalid part, or for each
// byte if the tokenizer falls back to bytes.
func (t *Tokenizer) Decode(ids []int) string {
	return t.decode(ids, func(int) bool { return false })
}

// DecodeText is like Decode but omits special tokens.
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

// tokenBytes returns the bytes that a token represents within a text.
func (t *Tokenizer) tokenBytes(token string) []byte {
	if t.characters != nil {
		return t.characters.decoding.token(token)
	}
	return tokenBytes(token)
}

// appendBytes appends the bytes of id. They may end in the middle of a character that later tokens complete.
func (t *Tokenizer) appendBytes(dst []byte, id int) []byte {
	if id < 0 || id >= len(t.vocab.bytes) {
		return dst
	}
	return append(dst, t.vocab.bytes[id]...)
}

// Bytes returns the bytes of id, which for a special token are its spelling, and whether it is special. They may end in
// the middle of a character that later tokens complete.
func (t *Tokenizer) Bytes(id int) (b []byte, special bool) {
	return t.appendBytes(nil, id), t.isSpecial(id)
}

// A TextStream assembles the bytes of successive tokens into whole characters.
type TextStream struct{ pending []byte }

// Add returns the text completed by the bytes of a token, or "" in the middle of a character.
func (s *TextStream) Add(b []byte) string {
	s.pending = append(s.pending, b...)
	whole := len(s.pending) - unfinished(s.pending)
	text := validUTF8(s.pending[:whole])
	s.pending = append(s.pending[:0], s.pending[whole:]...)
	return text
}

// Rest returns the remains of an incomplete character and clears them.
func (s *TextStream) Rest() string {
	text := validUTF8(s.pending)
	s.pending = s.pending[:0]
	return text
}

// unfinished returns the number of bytes at the end of b that may still become a character.
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

// validUTF8 replaces each maximal invalid part with one U+FFFD, as Rust's from_utf8_lossy does and Unicode recommends.
// Go's own conversions replace each byte.
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

// badPart returns the length of the longest prefix of b that is the start of some character, at least 1.
func badPart(b []byte) int {
	n := 1
	for n < len(b) && n < utf8.UTFMax && !utf8.FullRune(b[:n]) {
		n++
	}
	// b[:n] is the first prefix that cannot start a character, so the last byte does not belong to it.
	if n > 1 && utf8.FullRune(b[:n]) {
		n--
	}
	return n
}
