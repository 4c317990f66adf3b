package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// runeClass is a class that the split patterns distinguish: \p{L}, \p{N}, \s, and everything else.
type runeClass uint8

const (
	otherRune runeClass = iota
	letter
	number
	space
	noRune // past the end of the text
)

// runeClasses contains the class of every code point, so that each character takes one load.
var runeClasses = buildRuneClasses()

func buildRuneClasses() *[unicode.MaxRune + 1]runeClass {
	table := new([unicode.MaxRune + 1]runeClass)
	fill := func(t *unicode.RangeTable, c runeClass) {
		for _, r := range t.R16 {
			for x := rune(r.Lo); x <= rune(r.Hi); x += rune(r.Stride) {
				table[x] = c
			}
		}
		for _, r := range t.R32 {
			for x := rune(r.Lo); x <= rune(r.Hi); x += rune(r.Stride) {
				table[x] = c
			}
		}
	}
	fill(unicode.L, letter)
	fill(unicode.N, number)
	fill(unicode.White_Space, space)
	for _, r := range laterLetters {
		fill(&unicode.RangeTable{R32: []unicode.Range32{{Lo: uint32(r[0]), Hi: uint32(r[1]), Stride: 1}}}, letter)
	}
	for _, r := range laterNumbers {
		fill(&unicode.RangeTable{R32: []unicode.Range32{{Lo: uint32(r[0]), Hi: uint32(r[1]), Stride: 1}}}, number)
	}
	return table
}

// Letters and numbers of Unicode 16, which the reference's regular expressions support, that are missing in Go's tables (15.0).
var (
	laterLetters = [][2]rune{
		{0x1C89, 0x1C8A}, {0xA7CB, 0xA7CD}, {0xA7DA, 0xA7DC}, {0x105C0, 0x105F3}, {0x10D4A, 0x10D65}, {0x10D6F, 0x10D85},
		{0x10EC2, 0x10EC4}, {0x11380, 0x11389}, {0x1138B, 0x1138B}, {0x1138E, 0x1138E}, {0x11390, 0x113B5}, {0x113B7, 0x113B7},
		{0x113D1, 0x113D1}, {0x113D3, 0x113D3}, {0x11BC0, 0x11BE0}, {0x13460, 0x143FA}, {0x16100, 0x1611D}, {0x16D40, 0x16D6C},
		{0x18CFF, 0x18CFF}, {0x1E5D0, 0x1E5ED}, {0x1E5F0, 0x1E5F0}, {0x2EBF0, 0x2EE5D},
	}
	laterNumbers = [][2]rune{
		{0x10D40, 0x10D49}, {0x116D0, 0x116E3}, {0x11BF0, 0x11BF9}, {0x16130, 0x16139}, {0x16D70, 0x16D79}, {0x1CCF0, 0x1CCF9},
		{0x1E5F1, 0x1E5FA},
	}
)

func classOf(r rune) runeClass {
	if r < 0 || r > unicode.MaxRune {
		return otherRune
	}
	return runeClasses[r]
}

// classAt returns the character at s[i:] with its class and its length in bytes, or noRune and 0 past the end.
func classAt(s string, i int) (r rune, c runeClass, size int) {
	if i >= len(s) {
		return -1, noRune, 0
	}
	if b := s[i]; b < utf8.RuneSelf {
		return rune(b), runeClasses[b], 1
	}
	r, size = utf8.DecodeRuneInString(s[i:])
	return r, runeClasses[r], size
}
