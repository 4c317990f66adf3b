package tokenizer

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/dlclark/regexp2/v2"

	"mambatrain/internal/fault"
)

// compilePattern compiles a regular expression with the semantics of Oniguruma, which the reference uses: ^ and $ match at
// line boundaries. Syntax that the two engines interpret differently is translated, or is an error. \p{…} uses Go's
// Unicode 15 tables; the scanners use Unicode 16.
func compilePattern(pattern string) (*regexp2.Regexp, error) {
	translated, err := translatePattern(pattern)
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	if err := checkRepetition(pattern); err != nil {
		return nil, fmt.Errorf("pattern %q: %w", fault.Shorten(pattern, 100), err)
	}
	re, err := regexp2.Compile(translated, regexp2.Multiline)
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	return re, nil
}

// foreignRepetition matches repetitions that Oniguruma interprets differently: {,n} is {0,n} there, a + after an
// interval repeats it instead of making it possessive, and {n}? is optional instead of lazy.
var foreignRepetition = regexp.MustCompile(`^(?:\{,\d+\}|\{\d+(?:,\d*)?\}\+|\{\d+\}\?)`)

// translatePattern replaces the word characters and boundaries of Oniguruma. It rejects other syntax that regexp2
// interprets differently: nested sets, some repetitions, and flags other than i.
func translatePattern(pattern string) (string, error) {
	var out strings.Builder
	inSet := false
	for i := 0; i < len(pattern); {
		size := 1
		switch rest := pattern[i:]; {
		case rest[0] == '\\':
			size = escapeLength(rest)
			translated, err := translateEscape(rest[:size], inSet)
			if err != nil {
				return "", err
			}
			out.WriteString(translated)
			i += size
			continue
		case inSet && rest[0] == '[':
			return "", errors.New("a set within a set, such as [[:alpha:]], is not supported")
		case inSet && strings.HasPrefix(rest, "&&"):
			return "", errors.New("an intersection of sets is not supported")
		case inSet:
			inSet = rest[0] != ']'
		case rest[0] == '[':
			inSet = true
			if strings.HasPrefix(rest[size:], "^") {
				size++
			}
			if strings.HasPrefix(rest[size:], "]") {
				size++ // a leading bracket is literal
			}
		case strings.HasPrefix(rest, "(?") && strings.ContainsAny(flags(rest[2:]), "msx"):
			return "", errors.New("flags other than i are not supported")
		case foreignRepetition.MatchString(rest):
			return "", fmt.Errorf("the repetition %s is not supported", foreignRepetition.FindString(rest))
		}
		out.WriteString(pattern[i : i+size])
		i += size
	}
	return out.String(), nil
}

// escapeLength returns the length of the escape at the start of text, such as \w, \p{L}, or \x{41}.
func escapeLength(text string) int {
	if len(text) > 2 && text[2] == '{' && strings.IndexByte("pPx", text[1]) >= 0 {
		if end := strings.IndexByte(text, '}'); end > 0 {
			return end + 1
		}
	}
	return min(2, len(text))
}

// wordClass is the content of a set of Oniguruma's word characters. Those of regexp2 lack vowel signs, for example.
const wordClass = `\p{L}\p{Nl}\p{Other_Alphabetic}\p{M}\p{Nd}\p{Pc}`

// translateEscape returns an escape with the meaning of Oniguruma.
func translateEscape(escape string, inSet bool) (string, error) {
	const word = "[" + wordClass + "]"
	switch {
	case escape == `\w` && inSet:
		return wordClass, nil
	case escape == `\w`:
		return word, nil
	case escape == `\W` && inSet:
		return "", errors.New(`\W in a set is not supported`)
	case escape == `\W`:
		return "[^" + wordClass + "]", nil
	case escape == `\b` && !inSet:
		return "(?:(?<=" + word + ")(?!" + word + ")|(?<!" + word + ")(?=" + word + "))", nil
	case escape == `\B` && !inSet:
		return "(?:(?<=" + word + ")(?=" + word + ")|(?<!" + word + ")(?!" + word + "))", nil
	}
	return escape, nil
}

// flags returns the letters of a group such as (?i:…) or (?i-m), or "" for other groups.
func flags(group string) string {
	end := strings.IndexAny(group, ":)")
	if end < 0 || strings.Trim(group[:end], "imsx-") != "" {
		return ""
	}
	return group[:end]
}
