package tokenizer

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// normalText is a text after normalization. chars is nil if nothing changed. Otherwise it gives, for each character of
// text in order, its first byte and the original character that it came from; if there were several, the first.
type normalText struct {
	text  string
	chars []charOrigin
}

type charOrigin struct{ at, lo, hi int }

// origin maps the bytes [lo, hi) of the normalized text to bytes of the original. It includes every affected character
// completely.
func (n *normalText) origin(lo, hi int) (int, int) {
	if n.chars == nil {
		return lo, hi
	}
	char := func(at int) charOrigin {
		return n.chars[max(0, sort.Search(len(n.chars), func(i int) bool { return n.chars[i].at > at })-1)]
	}
	if hi <= lo {
		return char(lo).lo, char(lo).lo
	}
	return char(lo).lo, char(hi - 1).hi
}

// then returns the result of two successive steps: n, and next, which was applied to the text of n.
func (n normalText) then(next normalText) normalText {
	if n.chars == nil {
		return next
	}
	if next.chars == nil {
		return n
	}
	for i, c := range next.chars {
		next.chars[i].lo, next.chars[i].hi = n.origin(c.lo, c.hi)
	}
	return next
}

// A normalizer is a normalization step. With origins, it must return the origins of all characters if it changes anything.
type normalizer func(s string, origins bool) normalText

func (t *Tokenizer) normalize(s string, origins bool) normalText {
	n := normalText{text: s}
	for _, step := range t.normalizers {
		n = n.then(step(n.text, origins))
	}
	return n
}

// prependText prepends prefix to a text that is not empty. As in the reference, the origin of prefix is the first character.
func prependText(s string, origins bool, prefix string) normalText {
	if s == "" || prefix == "" {
		return normalText{text: s}
	}
	n := normalText{text: prefix + s}
	if origins {
		_, first := utf8.DecodeRuneInString(s)
		for i := range prefix {
			n.chars = append(n.chars, charOrigin{i, 0, first})
		}
		for i, r := range s {
			n.chars = append(n.chars, charOrigin{len(prefix) + i, i, i + utf8.RuneLen(r)})
		}
	}
	return n
}

// replaceText replaces each match of find with content, whose origin is the whole match.
func replaceText(s string, origins bool, find finder, content string) normalText {
	matches := find(s)
	if len(matches) == 0 {
		return normalText{text: s}
	}
	var b strings.Builder
	n := normalText{}
	keep := func(lo, hi int) {
		for i, r := range s[lo:hi] {
			if origins {
				n.chars = append(n.chars, charOrigin{b.Len() + i, lo + i, lo + i + utf8.RuneLen(r)})
			}
		}
		b.WriteString(s[lo:hi])
	}
	done := 0
	for _, m := range matches {
		keep(done, m[0])
		for i := range content {
			if origins {
				n.chars = append(n.chars, charOrigin{b.Len() + i, m[0], m[1]})
			}
		}
		b.WriteString(content)
		done = m[1]
	}
	keep(done, len(s))
	n.text = b.String()
	return n
}

// A finder returns the bounds of all matches in a text.
type finder func(s string) [][]int

// literal returns a finder for a fixed string.
func literal(text string) finder {
	return func(s string) (matches [][]int) {
		for at := 0; text != ""; {
			i := strings.Index(s[at:], text)
			if i < 0 {
				break
			}
			matches = append(matches, []int{at + i, at + i + len(text)})
			at += i + len(text)
		}
		return matches
	}
}

// finder returns the finder for the pattern of a step. pattern is "" for a regular expression.
func (c component) finder() (find finder, pattern string, err error) {
	p, err := c.pattern()
	if err != nil {
		return nil, "", err
	}
	if p.String != nil {
		return literal(*p.String), *p.String, nil
	}
	re, err := compilePattern(*p.Regex)
	if err != nil {
		return nil, "", err
	}
	return func(s string) [][]int {
		matches, _ := re.FindAllStringIndex(s, -1) // only a timeout could fail, and none is set
		return matches
	}, "", nil
}

// normalizeNFC is a normalizer. For text that is already composed, as nearly all text is, it costs only a scan.
func normalizeNFC(s string, _ bool) normalText {
	if isASCII(s) {
		return normalText{text: s}
	}
	later := false
	for _, r := range s {
		if r >= laterMarks[0][0] && isLaterMark(r) {
			later = true
			break
		}
	}
	if !later && norm.NFC.IsNormalString(s) {
		return normalText{text: s}
	}
	return compose(s)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// nfcRune is a character during composition. change is the number of characters added up to and including it,
// relative to the original; the reference uses it to track the origins of characters.
type nfcRune struct {
	r      rune
	class  uint8
	change int
}

// compose is Unicode's canonical composition, UAX 15. norm.NFC would insert U+034F into runs of more than 30 marks (the
// stream-safe form), which the reference does not do; the reference also uses older tables, see laterMarks.
func compose(s string) normalText {
	chars := composePairs(decompose(s))
	out := normalText{chars: make([]charOrigin, 0, len(chars))}
	text := make([]byte, 0, len(s)+8)
	from := charOrigin{} // original character of the previous output character
	next := 0
	for _, c := range chars {
		if c.change <= 0 {
			_, n := utf8.DecodeRuneInString(s[next:])
			from.lo, from.hi = next, next+n
			for range 1 - c.change {
				_, n := utf8.DecodeRuneInString(s[next:])
				next += n
			}
		}
		from.at = len(text)
		out.chars = append(out.chars, from)
		text = utf8.AppendRune(text, c.r)
	}
	out.text = string(text)
	return out
}

// decompose decomposes each character and sorts the marks after each starter by class, keeping the order of equals.
func decompose(s string) []nfcRune {
	chars := make([]nfcRune, 0, len(s))
	for at, r := range s {
		parts := s[at : at+utf8.RuneLen(r)]
		if !isLaterMark(r) {
			parts = norm.NFD.String(parts)
		}
		change := 0
		for _, p := range parts {
			chars = append(chars, nfcRune{p, combiningClass(p), change})
			change = 1
		}
	}
	sortMarks(chars)
	return chars
}

// sortMarks sorts each run of marks by class, keeping the order of equals. A run can be as long as the text.
func sortMarks(chars []nfcRune) {
	start := 0
	for end := range len(chars) + 1 {
		if end == len(chars) || chars[end].class == 0 {
			slices.SortStableFunc(chars[start:end], func(a, b nfcRune) int { return cmp.Compare(a.class, b.class) })
			start = end + 1
		}
	}
}

// composePairs combines each mark with the last starter unless something between them blocks it.
func composePairs(chars []nfcRune) []nfcRune {
	out := chars[:0]
	starter, before := -1, uint8(0) // before is the class of the previous character
	for _, c := range chars {
		adjacent := starter == len(out)-1
		if starter >= 0 && (adjacent || before < c.class) {
			if r, ok := composePair(out[starter].r, c.r); ok {
				out[starter].r = r
				out[starter].change += c.change - 1
				continue
			}
		}
		if c.class == 0 {
			starter = len(out)
		}
		before = c.class
		out = append(out, c)
	}
	return out
}

func composePair(a, b rune) (rune, bool) {
	if isLaterMark(a) || isLaterMark(b) {
		return 0, false
	}
	s := norm.NFC.String(string(a) + string(b))
	r, n := utf8.DecodeRuneInString(s)
	return r, n == len(s)
}

func combiningClass(r rune) uint8 {
	if isLaterMark(r) {
		return 0
	}
	var buf [utf8.UTFMax]byte
	return norm.NFC.Properties(buf[:utf8.EncodeRune(buf[:], r)]).CCC()
}

// laterMarks are ranges of combining marks newer than the reference's normalizer, which treats them as ordinary characters.
var laterMarks = [][2]rune{
	{0x7FD, 0x7FD}, {0x898, 0x89F}, {0x8CA, 0x8D3}, {0x9FE, 0x9FE}, {0xC3C, 0xC3C}, {0xD3B, 0xD3C}, {0xEBA, 0xEBA},
	{0x1715, 0x1715}, {0x1ABF, 0x1ACE}, {0x1DF6, 0x1DFA}, {0xA82C, 0xA82C}, {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC},
	{0x10EFD, 0x10EFF}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E},
	{0x11839, 0x1183A}, {0x11930, 0x11930}, {0x11938, 0x11938}, {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0},
	{0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97},
	{0x11F41, 0x11F42}, {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF},
	{0x1E4EC, 0x1E4EF},
}

func isLaterMark(r rune) bool {
	i := sort.Search(len(laterMarks), func(i int) bool { return laterMarks[i][1] >= r })
	return i < len(laterMarks) && laterMarks[i][0] <= r
}
