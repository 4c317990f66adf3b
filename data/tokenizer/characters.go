package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// characters turns a text into the initial symbols in tokenizers converted from SentencePiece, such as those of Llama 2
// and Codestral: each character in the vocabulary, or else its bytes, or else the unknown token. It is nil for GPT-2's
// kind, where the symbols are bytes.
type characters struct {
	ids      map[rune]int32
	bytes    *[256]int32 // ids of <0x00> to <0xFF>, −1 if missing; nil without byte_fallback
	unknown  int32       // −1 if there is none
	fuse     bool        // consecutive unknown characters become one token
	space    *metaspace  // nil if the pre-tokenizer has no such step
	decoding decoder
}

// metaspace replaces spaces with another character, usually ▁, and may prepend one.
type metaspace struct {
	replacement string
	prepend     string // always, first, or never
}

func newCharacters(m *bpeModel) (*characters, error) {
	c := &characters{ids: map[rune]int32{}, unknown: -1, fuse: m.FuseUnknown}
	for token, id := range m.Vocab {
		if r, n := utf8.DecodeRuneInString(token); n > 0 && n == len(token) {
			c.ids[r] = id
		}
	}
	complete := m.ByteFallback
	if m.ByteFallback {
		c.bytes = new([256]int32)
		for b := range c.bytes {
			id, ok := m.Vocab[fmt.Sprintf("<0x%02X>", b)]
			if !ok {
				id, complete = -1, false
			}
			c.bytes[b] = id
		}
	}
	if m.Unknown != nil {
		id, ok := m.Vocab[*m.Unknown]
		switch {
		case ok:
			c.unknown = id
		case !complete:
			return nil, fmt.Errorf("model: unk_token %q is not in the vocabulary", *m.Unknown)
		}
	}
	return c, nil
}

// appendTo appends the initial symbols of w.
func (c *characters) appendTo(ids []int32, w string) []int32 {
	waiting := false // an unknown token is pending; with fuse, it absorbs those that follow
	for i, r := range w {
		if id, ok := c.ids[r]; ok {
			if waiting {
				ids, waiting = append(ids, c.unknown), false
			}
			ids = append(ids, id)
			continue
		}
		char := w[i : i+utf8.RuneLen(r)]
		switch {
		case c.hasBytes(char): // as in the reference, even before a pending unknown token
			for k := range len(char) {
				ids = append(ids, c.bytes[char[k]])
			}
		case c.unknown < 0:
		case waiting && !c.fuse:
			ids = append(ids, c.unknown)
		default:
			waiting = true
		}
	}
	if waiting {
		ids = append(ids, c.unknown)
	}
	return ids
}

// hasBytes reports whether all bytes of a character are in the vocabulary.
func (c *characters) hasBytes(char string) bool {
	if c.bytes == nil {
		return false
	}
	for i := range len(char) {
		if c.bytes[char[i]] < 0 {
			return false
		}
	}
	return true
}

// known reports whether a character becomes something other than the unknown token.
func (c *characters) known(r rune) bool {
	_, ok := c.ids[r]
	return ok || c.hasBytes(string(r))
}

// extent returns the number of bytes at the start of w from which the token id was merged.
func (c *characters) extent(id int32, token, w string) (n int) {
	switch b, isByte := byteOfToken(token); {
	case isByte && w != "" && b == w[0]: // otherwise the text itself contains the token's spelling
		return 1
	case id == c.unknown:
		for i, r := range w {
			if i > 0 && (!c.fuse || c.known(r)) {
				return i
			}
		}
		return len(w)
	}
	for range utf8.RuneCountInString(token) {
		r, size := utf8.DecodeRuneInString(w[n:])
		for size > 0 && c.unknown < 0 && !c.known(r) { // dropped
			n += size
			r, size = utf8.DecodeRuneInString(w[n:])
		}
		n += size
	}
	return n
}

// apply replaces the spaces of s. first means that s is at the start of the text.
func (m *metaspace) apply(s string, first, origins bool) normalText {
	n := replaceText(s, origins, literal(" "), m.replacement)
	if (m.prepend == "always" || m.prepend == "first" && first) && !strings.HasPrefix(n.text, m.replacement) {
		n = n.then(prependText(n.text, origins, m.replacement))
	}
	return n
}

// newMetaspace parses the step of the pre-tokenizer.
func newMetaspace(c component) (*metaspace, error) {
	m := &metaspace{replacement: c.Replacement, prepend: "always"}
	if utf8.RuneCountInString(m.replacement) != 1 {
		return nil, fmt.Errorf("step Metaspace: replacement %q is not a single character", c.Replacement)
	}
	if c.PrependScheme != "" {
		m.prepend = c.PrependScheme
	}
	switch m.prepend {
	case "always", "first", "never":
	default:
		return nil, fmt.Errorf("step Metaspace: unknown prepend_scheme %q", m.prepend)
	}
	if c.AddPrefixSpace != nil && !*c.AddPrefixSpace && m.prepend != "never" {
		return nil, errors.New("step Metaspace: add_prefix_space is false, so prepend_scheme must be never")
	}
	return m, nil
}
