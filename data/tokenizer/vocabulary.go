package tokenizer

import (
	"errors"
	"fmt"
	"strings"
)

// vocabulary relates ids, tokens as spelled in tokenizer.json, and the bytes that they represent.
type vocabulary struct {
	ids      map[string]int32
	tokens   []string
	bytes    [][]byte // nil for an id without a token
	special  []bool
	byteID   [256]int32       // −1 for a byte without a token
	complete bool             // every byte has a token
	spelled  map[int32]string // how normalized added tokens are decoded, if normalization changes them
	own      int              // number of tokens in the model itself, without added ones
	whole    map[string]int32 // raw bytes of a word → its id, with ignore_merges
}

func (v *vocabulary) id(token string) (int32, bool) {
	id, ok := v.ids[token]
	return id, ok
}

// spell sets how an added token is decoded.
func (v *vocabulary) spell(id int32, text string) {
	if v.spelled == nil {
		v.spelled = map[int32]string{}
	}
	v.spelled[id] = text
}

// grow makes room for ids below n.
func (v *vocabulary) grow(n int) {
	if more := n - len(v.tokens); more > 0 {
		v.tokens = append(v.tokens, make([]string, more)...)
		v.bytes = append(v.bytes, make([][]byte, more)...)
		v.special = append(v.special, make([]bool, more)...)
	}
}

// newVocabulary builds the vocabulary from the model's tokens and reserves room for added ones. bytesOf returns the
// bytes that a token represents.
func newVocabulary(m *bpeModel, added []addedToken, bytesOf func(token string) []byte) (vocabulary, error) {
	largest := int32(-1)
	check := func(token string, id int32) error {
		if id < 0 || id > maxTokenID {
			return fmt.Errorf("token %q: id %d is not between 0 and %d", token, id, maxTokenID)
		}
		largest = max(largest, id)
		return nil
	}
	for token, id := range m.Vocab {
		if err := check(token, id); err != nil {
			return vocabulary{}, err
		}
	}
	for _, a := range added {
		if err := check(a.Content, a.ID); err != nil {
			return vocabulary{}, err
		}
	}
	if largest < 0 {
		return vocabulary{}, errors.New("model: the vocabulary is empty")
	}
	n := int(largest) + 1
	v := vocabulary{ids: make(map[string]int32, len(m.Vocab)+len(added)), tokens: make([]string, n), bytes: make([][]byte, n), special: make([]bool, n), own: len(m.Vocab)}
	if m.IgnoreMerges {
		v.whole = make(map[string]int32, len(m.Vocab))
	}
	for token, id := range m.Vocab {
		if v.bytes[id] != nil {
			first, second := min(token, v.tokens[id]), max(token, v.tokens[id])
			return vocabulary{}, fmt.Errorf("model: %q and %q have the same id, %d", first, second, id)
		}
		v.ids[token], v.tokens[id], v.bytes[id] = id, token, bytesOf(token)
		if v.whole != nil && !strings.ContainsFunc(token, outsideAlphabet) { // words are looked up in the alphabet
			v.whole[string(tokenBytes(token))] = id
		}
	}
	v.complete = true
	for b := range v.byteID {
		id, ok := v.ids[string(byteRune[b])]
		if !ok {
			id, v.complete = -1, false
		}
		v.byteID[b] = id
	}
	return v, nil
}

// byteRune is GPT-2's alphabet, which maps every byte to a printable character. runeByte is its inverse.
var byteRune, runeByte = byteAlphabet()

func byteAlphabet() (forth [256]rune, back map[rune]byte) {
	back = make(map[rune]byte, 256)
	next := rune(256)
	for b := range rune(256) {
		forth[b] = b
		if b <= ' ' || b >= 0x7F && b <= 0xA0 || b == 0xAD {
			forth[b] = next
			next++
		}
		back[forth[b]] = byte(b)
	}
	return forth, back
}

func outsideAlphabet(r rune) bool {
	_, ok := runeByte[r]
	return !ok
}

// tokenBytes undoes the byte alphabet. A token with a character outside it represents itself, such as the runs of
// spaces among GPT-NeoX's added tokens.
func tokenBytes(token string) []byte {
	if strings.ContainsFunc(token, outsideAlphabet) {
		return []byte(token)
	}
	out := make([]byte, 0, len(token))
	for _, r := range token {
		out = append(out, runeByte[r])
	}
	return out
}
