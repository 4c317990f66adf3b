package lora

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/dlclark/regexp2/v2"

	"mambatrain/internal/fault"
)

// Adapter settings are untrusted, and Python's regular expressions can take exponential time. Most expressions do
// without lookaround, backreferences, and the like, and are matched in linear time. For the others, exceeding a limit
// on the total matching time is an error.

const (
	// matchTime limits the matching time of one setting's expressions, which is normally milliseconds.
	matchTime = 2 * time.Second
	// maxExpression limits the length of an expression. A list of all modules of a large model takes about 20,000
	// bytes.
	maxExpression = 1 << 16
	// maxNesting limits the nesting depth of groups in an expression.
	maxNesting = 100
	// maxPatterns limits the entries of rank_pattern and alpha_pattern. No model has that many modules.
	maxPatterns = 1 << 14
)

// expression is a regular expression in Python's syntax that must match a whole path.
type expression struct {
	source string // for error messages
	linear *regexp.Regexp
	python *regexp2.Regexp // if linear is nil
	budget *time.Duration  // remaining matching time, shared by the expressions of a setting
}

// compile compiles an expression. before and after are added around it, such as for the key of a pattern, but do not
// appear in error messages.
func compile(source, before, after string, budget *time.Duration) (expression, error) {
	e := expression{source: source, budget: budget}
	if len(source) > maxExpression || strings.Count(source, "(") > maxExpression/8 || nesting(source) > maxNesting {
		return e, fmt.Errorf("%q is too long or too deeply nested for a regular expression", fault.Shorten(source, 100))
	}
	if simple(source) {
		if re, err := regexp.Compile(`\A(?:` + before + source + after + `)\z`); err == nil {
			e.linear = re
			return e, nil
		}
	}
	translated := translate(source)
	_, err := regexp2.Compile(translated) // separately, so that an error does not show before and after
	if err == nil {
		e.python, err = regexp2.Compile(`\A(?:` + before + translated + after + `)\z`)
	}
	if err != nil {
		return e, fmt.Errorf("%q is not a regular expression: %w", fault.Shorten(source, 100), err)
	}
	return e, nil
}

// match reports whether the expression matches path.
func (e expression) match(path string) (bool, error) {
	if e.linear != nil && printable(path) {
		return e.linear.MatchString(path), nil
	}
	if e.python == nil {
		return false, nil // names of modules contain no control characters
	}
	began := time.Now()
	e.python.MatchTimeout = max(*e.budget, 0)
	ok, err := e.python.MatchString(path)
	*e.budget -= time.Since(began)
	if err != nil {
		return false, errors.New(e.slow())
	}
	return ok, nil
}

func (e expression) slow() string {
	return fmt.Sprintf("%q takes too long to match; avoid nested repetitions", fault.Shorten(e.source, 100))
}

// printable reports whether s is printable ASCII, for which Python's and Go's character classes agree.
func printable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// nesting returns the maximum nesting depth of groups in an expression.
func nesting(source string) int {
	depth, deepest := 0, 0
	for i := 0; i < len(source); i++ {
		switch source[i] {
		case '\\':
			i++
		case '(':
			depth++
			deepest = max(deepest, depth)
		case ')':
			depth--
		}
	}
	return deepest
}

// simple reports whether an expression has the same meaning in Python and in Go: literals, classes, groups,
// alternatives, and plain repetitions.
func simple(source string) bool {
	if !printable(source) || strings.ContainsAny(source, "{}") {
		return false
	}
	inClass := false
	for i := 0; i < len(source); i++ {
		rest := source[i+1:]
		switch c := source[i]; {
		case c == '\\':
			if rest == "" || !strings.ContainsRune(`.-_/+*?()[]|^$\dDwW`, rune(rest[0])) {
				return false
			}
			i++
		case inClass && (c == '[' || strings.HasPrefix(source[i:], "--") || strings.HasPrefix(source[i:], "&&") ||
			strings.HasPrefix(source[i:], "||") || strings.HasPrefix(source[i:], "~~")):
			return false // Python warns that its meaning may change
		case inClass:
			inClass = c != ']'
		case c == '[':
			inClass = true
			if strings.HasPrefix(rest, "^") {
				i++
			}
			if strings.HasPrefix(source[i+1:], "]") { // a ] in first position is literal
				i++
			}
		case c == '(' && strings.HasPrefix(rest, "?") && !strings.HasPrefix(rest, "?:"):
			return false
		case strings.IndexByte("*+?", c) >= 0 && strings.HasPrefix(rest, "+"):
			return false // possessive
		}
	}
	return true
}

// translate rewrites the syntax in which Python and regexp2 differ: named groups and {,n}.
func translate(source string) string {
	var b strings.Builder
	inClass := false
	for i := 0; i < len(source); i++ {
		rest := source[i:]
		switch {
		case source[i] == '\\' && i+1 < len(source):
			b.WriteByte('\\')
			i++
		case inClass:
			inClass = source[i] != ']'
		case source[i] == '[':
			inClass = true
		case strings.HasPrefix(rest, "(?P<"):
			b.WriteString("(?<")
			i += len("(?P<")
		case strings.HasPrefix(rest, "(?P=") && strings.Contains(rest, ")"):
			name, _, _ := strings.Cut(rest[len("(?P="):], ")")
			b.WriteString(`\k<` + name + ">")
			i += len("(?P=") + len(name)
			continue
		case strings.HasPrefix(rest, "{,"):
			b.WriteString("{0")
			i++
		}
		b.WriteByte(source[i])
	}
	return b.String()
}

// patternTable is a compiled [Pattern].
type patternTable[V int | float64] struct {
	keys   []expression
	values []V
	budget *time.Duration
}

// compile compiles the keys, each of which matches the end of a path.
func (p Pattern[V]) compile() (patternTable[V], error) {
	left := matchTime
	t := patternTable[V]{budget: &left}
	if len(p) > maxPatterns {
		return t, fmt.Errorf("%d entries: no model has so many modules", len(p))
	}
	var errs []error
	for _, e := range p {
		key, err := compile(e.Key, `(?:.*\.)?(?:`, `)`, t.budget)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		t.keys, t.values = append(t.keys, key), append(t.values, e.Value)
	}
	return t, errors.Join(errs...)
}

// unmatched returns the keys that match none of the paths.
func (p Pattern[V]) unmatched(paths []string) (keys []string, err error) {
	t, err := p.compile()
	if err != nil {
		return nil, err
	}
	for i, key := range t.keys {
		used := false
		for _, path := range paths {
			if used, err = key.match(path); err != nil {
				return nil, err
			}
			if used {
				break
			}
		}
		if !used {
			keys = append(keys, p[i].Key)
		}
	}
	return keys, nil
}

// lookup returns the value of the first key that matches path, or otherwise if none does.
func (t patternTable[V]) lookup(path string, otherwise V) (V, error) {
	began, before := time.Now(), *t.budget
	for i, key := range t.keys {
		ok, err := key.match(path)
		if err != nil {
			return otherwise, err
		}
		if ok {
			otherwise = t.values[i]
			break
		}
	}
	if *t.budget = before - time.Since(began); *t.budget < 0 { // linear expressions count too: there may be many
		return otherwise, errors.New(t.keys[0].slow())
	}
	return otherwise, nil
}
