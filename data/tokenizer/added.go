package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// addedToken is a token that is found in the text before anything is split.
type addedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// addedTokens holds those searched in the raw text and those searched in each part of it after normalization.
type addedTokens struct {
	raw, normalized matcher
}

func (t *Tokenizer) addTokens(list []addedToken) {
	v := &t.vocab
	isSpecial := map[string]bool{}
	for _, a := range list {
		if a.Content == "" {
			continue
		}
		v.ids[a.Content], v.tokens[a.ID] = a.ID, a.Content
		isSpecial[a.Content] = isSpecial[a.Content] || a.Special
		if !a.Normalized {
			v.bytes[a.ID] = tokenBytes(a.Content)
			t.added.raw.add(a)
			continue
		}
		a.Content = t.normalize(a.Content).text
		v.bytes[a.ID] = tokenBytes(a.Content)
		t.added.normalized.add(a)
	}
	for id, token := range v.tokens {
		v.special[id] = isSpecial[token]
	}
}

// matcher finds the leftmost added token, and of those that start there the longest. It is a trie over bytes.
type matcher struct {
	nodes  []matchNode
	starts [256]bool           // bytes that some token starts with
	single [256]bool           // tokens of one byte
	pairs  [256 * 256 / 8]byte // a bit for each two bytes that some token starts with: spares most looks into the trie
}

type matchNode struct {
	next  map[byte]int32
	token *addedToken
}

func (m *matcher) add(a addedToken) {
	if len(m.nodes) == 0 {
		m.nodes = []matchNode{{next: map[byte]int32{}}}
	}
	m.starts[a.Content[0]] = true
	if len(a.Content) == 1 {
		m.single[a.Content[0]] = true
	} else {
		m.pairs[int(a.Content[0])<<5|int(a.Content[1])>>3] |= 1 << (a.Content[1] & 7)
	}
	at := int32(0)
	for i := range len(a.Content) {
		child, ok := m.nodes[at].next[a.Content[i]]
		if !ok {
			child = int32(len(m.nodes))
			m.nodes[at].next[a.Content[i]] = child
			m.nodes = append(m.nodes, matchNode{next: map[byte]int32{}})
		}
		at = child
	}
	m.nodes[at].token = &a
}

// mayStart reports whether some token starts with the first two bytes of s, or is its first.
func (m *matcher) mayStart(s string) bool {
	return len(s) > 1 && m.pairs[int(s[0])<<5|int(s[1])>>3]>>(s[1]&7)&1 != 0 || m.single[s[0]]
}

// longest returns the longest token that s starts with, or nil.
func (m *matcher) longest(s string) (found *addedToken) {
	at := int32(0)
	for i := range len(s) {
		child, ok := m.nodes[at].next[s[i]]
		if !ok {
			break
		}
		if at = child; m.nodes[at].token != nil {
			found = m.nodes[at].token
		}
	}
	return found
}

// split cuts s into added tokens and the text between them: emit gets the bounds of each part in s,
// and the token's id or −1.
func (m *matcher) split(s string, emit func(lo, hi int, id int32)) {
	done := 0
	if len(m.nodes) > 0 {
		for i := 0; i < len(s); {
			if !m.starts[s[i]] {
				i++
				continue
			}
			var a *addedToken
			if m.mayStart(s[i:]) {
				a = m.longest(s[i:])
			}
			if a == nil {
				i++
				continue
			}
			lo, hi := i, i+len(a.Content)
			i = hi
			if a.SingleWord && (endsInWord(s[:lo]) || startsWithWord(s[hi:])) {
				continue
			}
			if a.LStrip {
				lo -= spacesBefore(s[min(done, lo):lo])
			}
			if a.RStrip {
				hi += spacesAfter(s[hi:])
			}
			// The space that an earlier token stripped to its right is not given out twice.
			lo = max(lo, done)
			if lo > done {
				emit(done, lo, -1)
			}
			emit(lo, hi, a.ID)
			done = hi
			i = max(i, hi)
		}
	}
	if done < len(s) {
		emit(done, len(s), -1)
	}
}

func spacesBefore(s string) (n int) {
	for n < len(s) {
		r, size := utf8.DecodeLastRuneInString(s[:len(s)-n])
		if classOf(r) != space {
			break
		}
		n += size
	}
	return n
}

func spacesAfter(s string) (n int) {
	for n < len(s) {
		r, size := utf8.DecodeRuneInString(s[n:])
		if classOf(r) != space {
			break
		}
		n += size
	}
	return n
}

func endsInWord(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && isWordRune(r)
}

func startsWithWord(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && isWordRune(r)
}

// isWordRune is Rust's \w: Alphabetic, M, Nd, Nl, Pc and the two joiners.
func isWordRune(r rune) bool {
	return classOf(r) == letter || r == 0x200C || r == 0x200D ||
		unicode.In(r, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic)
}
