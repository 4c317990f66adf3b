package tokenizer

import (
	"math"
	"strings"
)

// A scanner returns the length in bytes of the next piece of s, which is not empty. The handwritten scanners are
// equivalent to the regular expressions below, and many times faster.
type scanner func(s string) int

// The split patterns of common tokenizers, as spelled in their tokenizer.json.
const (
	patternGPT2   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	patternHead   = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|`
	patternTail   = `| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternQwen   = patternHead + `\p{N}` + patternTail
	patternLlama3 = patternHead + `\p{N}{1,3}` + patternTail
	patternLong   = patternHead + `\p{N}+` + patternTail
)

var knownScanners = map[string]scanner{
	patternGPT2:   scanGPT2,
	patternQwen:   func(s string) int { return scanLlama(s, 1) },
	patternLlama3: func(s string) int { return scanLlama(s, 3) },
	patternLong:   func(s string) int { return scanLlama(s, math.MaxInt) },
}

// scanGPT2 implements patternGPT2.
func scanGPT2(s string) int {
	if s[0] == '\'' {
		if n := contraction(s); n > 0 {
			return n
		}
	}
	i := 0
	if s[0] == ' ' {
		i = 1
	}
	if _, c, n := classAt(s, i); c != space && c != noRune {
		return runEnd(s, i+n, c, math.MaxInt)
	}
	return spaceRun(s)
}

// scanLlama implements patternQwen, patternLlama3, and patternLong, which split numbers into pieces of at most digits
// characters.
func scanLlama(s string, digits int) int {
	if s[0] == '\'' {
		if n := foldedContraction(s); n > 0 {
			return n
		}
	}
	r, c, n := classAt(s, 0)
	switch {
	case c == letter:
		return runEnd(s, n, letter, math.MaxInt)
	case c == number:
		return runEnd(s, n, number, digits-1)
	case r != '\r' && r != '\n':
		if _, next, size := classAt(s, n); next == letter {
			return runEnd(s, n+size, letter, math.MaxInt)
		}
	}
	i := 0
	if r == ' ' {
		i = 1
	}
	if _, next, size := classAt(s, i); next == otherRune {
		i = runEnd(s, i+size, otherRune, math.MaxInt)
		for i < len(s) && (s[i] == '\r' || s[i] == '\n') {
			i++
		}
		return i
	}
	end := runEnd(s, 0, space, math.MaxInt)
	if k := strings.LastIndexAny(s[:end], "\r\n"); k >= 0 {
		return k + 1
	}
	return spaceRun(s)
}

// runEnd returns the end of the run of class c at s[i:], after at most limit characters.
func runEnd(s string, i int, c runeClass, limit int) int {
	for ; limit > 0; limit-- {
		_, next, size := classAt(s, i)
		if next != c {
			break
		}
		i += size
	}
	return i
}

// spaceRun implements \s+(?!\S)|\s+: a run leaves its last character to the following word, unless it is the only one.
func spaceRun(s string) int {
	last, i := 0, 0
	for {
		_, c, size := classAt(s, i)
		if c == noRune || c != space && last == 0 {
			return i
		}
		if c != space {
			return last
		}
		last = i
		i += size
	}
}

var contractions = [...]string{"s", "t", "re", "ve", "m", "ll", "d"}

// contraction returns the length of 's, 't, 're … at the start of s, or 0.
func contraction(s string) int {
	for _, c := range contractions {
		if strings.HasPrefix(s[1:], c) {
			return 1 + len(c)
		}
	}
	return 0
}

// foldedContraction is a case-insensitive contraction. The long s, U+017F, folds to s.
func foldedContraction(s string) int {
	for _, c := range contractions {
		if len(s) > len(c) && strings.EqualFold(s[1:1+len(c)], c) {
			return 1 + len(c)
		}
	}
	if strings.HasPrefix(s[1:], "ſ") {
		return 1 + len("ſ")
	}
	return 0
}
