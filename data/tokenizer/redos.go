package tokenizer

import (
	"errors"
	"regexp"
	"strings"
)

// errSlow rejects an expression for which a text of a few dozen characters could take forever.
var errSlow = errors.New("repeating a group that itself repeats or has alternatives can take exponential time, and is not supported")

// checkRepetition rejects unbounded repetitions of groups that contain another one, or alternatives. They can make a
// backtracking matcher try exponentially many ways. No known tokenizer has them.
//
// An expression that takes quadratic time on a long run of one character, such as a*b|., is accepted, as in the
// reference. It cannot be distinguished from the expressions of published tokenizers, such as \s+(?!\S)|\s+, without
// knowing which texts each alternative leaves for the next one. The length of a row limits the time (max_row_bytes).
func checkRepetition(pattern string) error {
	type group struct{ open, ambiguous bool }
	stack := []group{{}}
	top := func() *group { return &stack[len(stack)-1] }
	for i := 0; i < len(pattern); i++ {
		ambiguous := false // whether the element that ends here can match in several ways
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
				return nil // the compiler reports the error
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

// endOfSet returns the index of the bracket that closes the set beginning at i.
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

// quantifier matches a repetition. Its first group is nonempty if the repetition is unbounded.
var quantifier = regexp.MustCompile(`^(?:([*+]|\{\d*,\})|\?|\{\d+(?:,\d+)?\})[?+]?`)

// unbounded reports whether text begins with an unbounded repetition, and returns the length of the quantifier.
func unbounded(text string) (yes bool, length int) {
	m := quantifier.FindStringSubmatch(text)
	if m == nil {
		return false, 0
	}
	return m[1] != "", len(m[0])
}
