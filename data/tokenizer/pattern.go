package tokenizer

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dlclark/regexp2/v2"

	"mambatrain/internal/fault"
)

// compilePattern compiles a regular expression as Oniguruma, which the reference uses, understands it: ^ and $ are the ends of
// lines. What the two read differently is an error. \p{…} is Unicode 15's, as Go knows it; the scanners have 16's.
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

// checkPattern looks for what Oniguruma reads in another way: sets within sets, and flags other than i.
func checkPattern(pattern string) error {
	inSet := false
	for i := 0; i < len(pattern); i++ {
		switch rest := pattern[i:]; {
		case rest[0] == '\\':
			i++
		case inSet && rest[0] == '[':
			return errors.New("a set within a set, such as [[:alpha:]], is not known")
		case inSet && strings.HasPrefix(rest, "&&"):
			return errors.New("an intersection of sets is not known")
		case inSet:
			inSet = rest[0] != ']'
		case rest[0] == '[':
			inSet = true
			if strings.HasPrefix(rest[1:], "^") {
				i++
			}
			if strings.HasPrefix(pattern[i+1:], "]") {
				i++ // a bracket that comes first is itself
			}
		case strings.HasPrefix(rest, "(?") && strings.ContainsAny(flags(rest[2:]), "msx"):
			return errors.New("flags other than i are not known")
		}
	}
	return nil
}

// flags returns the letters of a group such as (?i:…) or (?i-m), "" for other groups.
func flags(group string) string {
	end := strings.IndexAny(group, ":)")
	if end < 0 || strings.Trim(group[:end], "imsx-") != "" {
		return ""
	}
	return group[:end]
}
