package tokenizer

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dlclark/regexp2/v2"

	"mambatrain/internal/fault"
)

// compilePattern compiles a regular expression with the semantics of Oniguruma, which the reference uses: ^ and $ match at
// line boundaries. Syntax that the two engines interpret differently is an error. \p{…} uses Go's Unicode 15 tables; the
// scanners use Unicode 16.
func compilePattern(pattern string) (*regexp2.Regexp, error) {
	if err := checkPattern(pattern); err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	if err := checkRepetition(pattern); err != nil {
		return nil, fmt.Errorf("pattern %q: %w", fault.Shorten(pattern, 100), err)
	}
	re, err := regexp2.Compile(pattern, regexp2.Multiline)
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	return re, nil
}

// checkPattern rejects what Oniguruma interprets differently: nested sets and flags other than i.
func checkPattern(pattern string) error {
	inSet := false
	for i := 0; i < len(pattern); i++ {
		switch rest := pattern[i:]; {
		case rest[0] == '\\':
			i++
		case inSet && rest[0] == '[':
			return errors.New("a set within a set, such as [[:alpha:]], is not supported")
		case inSet && strings.HasPrefix(rest, "&&"):
			return errors.New("an intersection of sets is not supported")
		case inSet:
			inSet = rest[0] != ']'
		case rest[0] == '[':
			inSet = true
			if strings.HasPrefix(rest[1:], "^") {
				i++
			}
			if strings.HasPrefix(pattern[i+1:], "]") {
				i++ // a leading bracket is literal
			}
		case strings.HasPrefix(rest, "(?") && strings.ContainsAny(flags(rest[2:]), "msx"):
			return errors.New("flags other than i are not supported")
		}
	}
	return nil
}

// flags returns the letters of a group such as (?i:…) or (?i-m), or "" for other groups.
func flags(group string) string {
	end := strings.IndexAny(group, ":)")
	if end < 0 || strings.Trim(group[:end], "imsx-") != "" {
		return ""
	}
	return group[:end]
}
