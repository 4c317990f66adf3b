package tokenizer

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

// addedToken is an entry of added_tokens: a token that is found in the text before it is split.
type addedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// AddedToken is a token that is found in a text before the text is split.
type AddedToken struct {
	ID      int
	Content string
	Special bool
}

// AddedTokens lists the added tokens, including those that appear only in tokenizer_config.json.
func (t *Tokenizer) AddedTokens() []AddedToken {
	list := make([]AddedToken, len(t.list))
	for i, a := range t.list {
		list[i] = AddedToken{int(a.ID), a.Content, a.Special}
	}
	return list
}

// addedTokens matches tokens in the raw text, and in each part of it after normalization.
type addedTokens struct {
	raw, normalized matcher
}

// checkAdded rejects ids that differ from those that the reference gives the tokens of a tokenizer.json. It ignores the
// ids in the file, and each id is a row of the model.
func (t *Tokenizer) checkAdded(tokens []addedToken) error {
	next := int32(t.vocab.own)
	made := map[string]int32{}
	for _, a := range tokens {
		if a.Content == "" {
			continue
		}
		id, ok := made[a.Content]
		if !ok {
			id, ok = t.vocab.id(a.Content)
		}
		if !ok {
			id = next
			next++
		}
		if a.ID != id {
			return fmt.Errorf("added_tokens: %q has id %d, but the tokenizers library gives it id %d: add the token to model.vocab", a.Content, a.ID, id)
		}
		made[a.Content] = id
	}
	return nil
}

// addTokens adds tokens with known ids. A duplicate replaces the earlier token, but a special token remains special.
func (t *Tokenizer) addTokens(tokens []addedToken) {
	v := &t.vocab
	place := make(map[string]int, len(t.list)+len(tokens))
	for i, a := range t.list {
		place[a.Content] = i
	}
	for _, a := range tokens {
		if a.Content == "" {
			continue
		}
		v.grow(int(a.ID) + 1)
		v.ids[a.Content], v.tokens[a.ID] = a.ID, a.Content
		if i, again := place[a.Content]; again {
			a.Special = a.Special || t.list[i].Special
			t.list[i] = a
			continue
		}
		place[a.Content] = len(t.list)
		t.list = append(t.list, a)
	}
	t.added = addedTokens{}
	isSpecial := make(map[string]bool, len(t.list))
	for _, a := range t.list {
		isSpecial[a.Content] = a.Special
	}
	for id, token := range v.tokens {
		v.special[id] = isSpecial[token]
	}
	for _, a := range t.list {
		into := &t.added.raw
		if a.Normalized {
			into, a.Content = &t.added.normalized, t.normalize(a.Content, false).text
			v.special[a.ID] = isSpecial[a.Content] // like the reference, which looks up the normalized spelling
			v.spell(a.ID, a.Content)
		}
		v.bytes[a.ID] = t.tokenBytes(a.Content)
		into.add(a)
	}
}

// matcher finds the leftmost added token and, of those that start there, the longest. It is a trie over bytes.
type matcher struct {
	nodes  []matchNode
	starts [256]bool           // bytes that start some token
	single [256]bool           // tokens of one byte
	pairs  [256 * 256 / 8]byte // one bit per pair of bytes that starts some token, which avoids most trie lookups
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

// mayStart reports whether some token starts with the first two bytes of s, or consists of the first.
func (m *matcher) mayStart(s string) bool {
	return len(s) > 1 && m.pairs[int(s[0])<<5|int(s[1])>>3]>>(s[1]&7)&1 != 0 || m.single[s[0]]
}

// longest returns the longest token at the start of s, or nil.
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

// split divides s into added tokens and the text between them. It calls emit with the bounds of each part in s, and the
// token's id or −1.
//
// As in the reference, the search continues after the token itself, not after the spaces stripped to its right. If
// those spaces are or begin an added token, that token is emitted too, and the text after it may be emitted twice.
func (m *matcher) split(s string, emit func(lo, hi int, id int32)) {
	done := 0
	run := 0 // end of the most recent run of spaces
	for i := 0; i < len(s) && len(m.nodes) > 0; {
		if !m.starts[s[i]] || !m.mayStart(s[i:]) {
			i++
			continue
		}
		a := m.longest(s[i:])
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
			lo = max(lo-spacesBefore(s[min(done, lo):lo]), done)
		}
		if a.RStrip {
			if hi >= run { // otherwise inside that run
				run = hi + spacesAfter(s[hi:])
			}
			hi = run
		}
		if done < lo {
			emit(done, lo, -1)
		}
		if lo < hi { // otherwise earlier tokens cover all of it
			emit(lo, hi, a.ID)
		}
		done = hi
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

// isWordRune is Rust's \w: Alphabetic, M, Nd, Nl, Pc, and the two joiners.
func isWordRune(r rune) bool {
	return classOf(r) == letter || r == 0x200C || r == 0x200D ||
		unicode.In(r, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic)
}
