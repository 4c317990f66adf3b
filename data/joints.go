package data

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"mambatrain/data/source"
)

// joints finds the first prompt and completion that run together: "…the lamp?The owl".
type joints struct {
	mu    sync.Mutex
	found string // the warning
	row   int    // row of the warning within the source
	final bool   // the warning is from an earlier source
}

// look checks the joint of row i of a block, which is row row of the source. j may be nil.
func (j *joints) look(b *source.Block, i, row int, prompt, completion string) {
	if j == nil || !runTogether(prompt, completion) {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.final || j.found != "" && j.row <= row {
		return
	}
	j.row = row
	j.found = fmt.Sprintf("data: %s: prompt and completion are joined without a space, as in %q: unless that is intended, start the completion with one",
		b.At(i), lastRunes(prompt, shownRunes)+firstRunes(completion, shownRunes))
}

// endSource marks the end of a source. A warning from it takes precedence over those from later sources.
func (j *joints) endSource() { j.final = j.found != "" }

// report passes the warning, if any, to warn, which may be nil.
func (j *joints) report(warn func(error)) {
	if j.found != "" && warn != nil {
		warn(errors.New(j.found))
	}
}

// runTogether reports whether a word directly follows a word or a sentence, in a script that uses spaces.
func runTogether(before, after string) bool {
	last, _ := utf8.DecodeLastRuneInString(before)
	first, _ := utf8.DecodeRuneInString(after)
	if before == "" || after == "" || hasNoSpaces(last) || hasNoSpaces(first) {
		return false
	}
	ends := unicode.IsLetter(last) || unicode.IsNumber(last) || strings.ContainsRune(".,;:!?…)\"'”’", last)
	begins := unicode.IsLetter(first) || unicode.IsNumber(first) || strings.ContainsRune("(\"'“‘¿¡", first)
	return ends && begins
}

// hasNoSpaces reports whether a character belongs to a script that does not put spaces between words.
func hasNoSpaces(r rune) bool {
	return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar, unicode.Tibetan)
}

// shownRunes is the number of runes shown on each side of a joint.
const shownRunes = 12

func firstRunes(s string, n int) string {
	if r := []rune(s[:min(len(s), n*utf8.UTFMax)]); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}

func lastRunes(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	end := len(s)
	for range n {
		_, size := utf8.DecodeLastRuneInString(s[:end])
		end -= size
	}
	return "…" + s[end:]
}
