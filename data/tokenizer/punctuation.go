package tokenizer

import (
	"sort"
	"unicode"
)

// A runeSplitter splits a text at the characters of one class.
type runeSplitter struct {
	is       func(r rune) bool
	behavior splitBehavior
}

func (p runeSplitter) cut(s string, emit func(lo, hi int)) {
	var parts []splitPart
	done := 0
	for i, r := range s {
		if p.is(r) {
			hi := i + len(string(r))
			if i > done {
				parts = append(parts, splitPart{done, i, false})
			}
			parts = append(parts, splitPart{i, hi, true})
			done = hi
		}
	}
	if done < len(s) {
		parts = append(parts, splitPart{done, len(s), false})
	}
	p.behavior.emit(parts, emit)
}

// byteMapped is a step after ByteLevel. It splits the text in which every byte has become a character of GPT-2's
// alphabet. Some bytes of letters become numbers there, such as ¼, so such a step may split inside a character.
type byteMapped struct{ splitter }

func (p byteMapped) cut(s string, emit func(lo, hi int)) {
	mapped := make([]rune, len(s))
	for i := range len(s) {
		mapped[i] = byteRune[s[i]]
	}
	text := string(mapped)
	at, done := 0, 0 // byte of s represented by the character at byte done of text
	byteAt := func(n int) int {
		for ; done < n; at++ {
			done += len(string(mapped[at]))
		}
		return at
	}
	p.splitter.cut(text, func(lo, hi int) {
		first := byteAt(lo)
		emit(first, byteAt(hi))
	})
}

// byteMappedRunes does the same for the characters of one class, without building the mapped text.
type byteMappedRunes struct {
	is       [256]bool
	behavior splitBehavior
}

func newByteMappedRunes(p runeSplitter) *byteMappedRunes {
	out := &byteMappedRunes{behavior: p.behavior}
	for b, r := range byteRune {
		out.is[b] = p.is(r)
	}
	return out
}

func (p *byteMappedRunes) cut(s string, emit func(lo, hi int)) {
	var parts []splitPart
	done := 0
	for i := range len(s) {
		if p.is[s[i]] {
			if i > done {
				parts = append(parts, splitPart{done, i, false})
			}
			parts = append(parts, splitPart{i, i + 1, true})
			done = i + 1
		}
	}
	if parts == nil {
		emit(0, len(s))
		return
	}
	if done < len(s) {
		parts = append(parts, splitPart{done, len(s), false})
	}
	p.behavior.emit(parts, emit)
}

// threeDigits is the isolated pattern [0-9][0-9][0-9].
type threeDigits struct{}

func (threeDigits) cut(s string, emit func(lo, hi int)) { scanner(scanThreeDigits).cut(s, emit) }

func scanThreeDigits(s string) int {
	digits := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			digits = 0
			continue
		}
		if digits++; digits == 3 {
			if i == 2 {
				return 3
			}
			return i - 2
		}
	}
	return len(s)
}

// isNumeric is Rust's char::is_numeric, which uses the numbers of Unicode 17.
func isNumeric(r rune) bool {
	return classOf(r) == number || r >= 0x11DE0 && r <= 0x11DE9 || r >= 0x16FF4 && r <= 0x16FF6
}

// isPunctuation follows the reference: Unicode's categories P and the ASCII symbols, with the tables of Unicode 7.
func isPunctuation(r rune) bool {
	if r < unicode.MaxASCII {
		return r > ' ' && !(r >= '0' && r <= '9') && !(r >= 'A' && r <= 'Z') && !(r >= 'a' && r <= 'z')
	}
	if r == 0x166D || r == 0x111C9 {
		return true // no longer in P
	}
	i := sort.Search(len(laterPunctuation), func(i int) bool { return laterPunctuation[i][1] >= r })
	return unicode.Is(unicode.P, r) && !(i < len(laterPunctuation) && laterPunctuation[i][0] <= r)
}

// laterPunctuation are ranges of P in Go's tables that are unknown to the reference.
var laterPunctuation = [][2]rune{
	{0x61D, 0x61D}, {0x9FD, 0x9FD}, {0xA76, 0xA76}, {0xC77, 0xC77}, {0xC84, 0xC84}, {0x1B7D, 0x1B7E}, {0x2E43, 0x2E4F},
	{0x2E52, 0x2E5D}, {0x10EAD, 0x10EAD}, {0x10F55, 0x10F59}, {0x10F86, 0x10F89}, {0x1144B, 0x1144F},
	{0x1145A, 0x1145B}, {0x1145D, 0x1145D}, {0x11660, 0x1166C}, {0x116B9, 0x116B9}, {0x1183B, 0x1183B},
	{0x11944, 0x11946}, {0x119E2, 0x119E2}, {0x11A3F, 0x11A46}, {0x11A9A, 0x11A9C}, {0x11A9E, 0x11AA2},
	{0x11B00, 0x11B09}, {0x11C41, 0x11C45}, {0x11C70, 0x11C71}, {0x11EF7, 0x11EF8}, {0x11F43, 0x11F4F},
	{0x11FFF, 0x11FFF}, {0x12FF1, 0x12FF2}, {0x16E97, 0x16E9A}, {0x16FE2, 0x16FE2}, {0x1E95E, 0x1E95F},
}
