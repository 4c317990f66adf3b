package tokenizer

import (
	"errors"
	"regexp"
	"strings"
)

// errSlow is about an expression that a text of a few dozen characters can keep busy for ever.
var errSlow = errors.New("a repetition of what itself repeats or has alternatives can take for ever, and is not followed")

// checkRepetition refuses repetitions without an upper bound of groups that contain another one or alternatives. They are what makes a
// backtracking matcher try exponentially many ways. No tokenizer is known that has them.
//
// An expression that takes quadratic time on a long run of one character, such as a*b|., is followed, as the reference follows
// it. It cannot be told from the expressions of published tokenizers, such as \s+(?!\S)|\s+, without knowing which texts
// each alternative leaves to the next. The length of a row bounds it (max_row_bytes).
func checkRepetition(pattern string) error {
	type group struct{ open, ambiguous bool }
	stack := []group{{}}
	top := func() *group { return &stack[len(stack)-1] }
	for i := 0; i < len(pattern); i++ {
		ambiguous := false // what ends here has several ways to match
		switch c := pattern[i]; c {
		case '\\':
			i++
		case '[':
			i = endOfSet(pattern, i)
		case '(':
			stack = append(stack, group{open: true})
			continue
		case '|':
			top().ambiguous = top().open
			continue
		case ')':
			if len(stack) == 1 {
				return nil // the compiler says what is wrong
			}
			ambiguous = top().ambiguous
			stack = stack[:len(stack)-1]
			top().ambiguous = top().ambiguous || ambiguous
		}
		repeats, length := unbounded(pattern[min(i+1, len(pattern)):])
		if repeats && ambiguous {
			return errSlow
		}
		top().ambiguous = top().ambiguous || repeats && top().open
		i += length
	}
	return nil
}

// endOfSet returns the place of the bracket that closes the set which begins at i.
func endOfSet(pattern string, i int) int {
	i++
	if strings.HasPrefix(pattern[i:], "^") {
		i++
	}
	for first := true; i < len(pattern) && (first || pattern[i] != ']'); first = false {
		if pattern[i] == '\\' {
			i++
		}
		i++
	}
	return i
}

// quantifier is a repetition; its first group is not empty if that has no upper bound.
var quantifier = regexp.MustCompile(`^(?:([*+]|\{\d*,\})|\?|\{\d+(?:,\d+)?\})[?+]?`)

// unbounded reports whether text begins with a repetition that has no upper bound, and returns the length of the repetition there.
func unbounded(text string) (yes bool, length int) {
	m := quantifier.FindStringSubmatch(text)
	if m == nil {
		return false, 0
	}
	return m[1] != "", len(m[0])
}
