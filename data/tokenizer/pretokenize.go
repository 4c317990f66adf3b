package tokenizer

import (
	"encoding/json"
	"fmt"

	"github.com/dlclark/regexp2/v2"
)

// A splitter cuts a text, which is not empty, into pieces and gives their bounds in order.
type splitter interface {
	cut(s string, emit func(lo, hi int))
}

func (f scanner) cut(s string, emit func(lo, hi int)) {
	for at := 0; at < len(s); {
		n := f(s[at:])
		emit(at, at+n)
		at += n
	}
}

// newSplitter makes the splitter of a Split or Digits step. Known patterns get their scanner, others a regular expression.
func newSplitter(c component) (splitter, error) {
	switch c.Type {
	case "Digits":
		pattern := `\p{N}+`
		if c.Individual {
			pattern = `\p{N}`
		}
		return newPatternSplitter(pattern, "Isolated", keepMatches)
	case "Split":
	default:
		return nil, fmt.Errorf("type %q is not known", c.Type)
	}
	var p struct {
		String *string
		Regex  *string
	}
	if err := json.Unmarshal(c.Pattern, &p); err != nil || (p.String == nil) == (p.Regex == nil) {
		return nil, fmt.Errorf("split pattern: want {\"String\": …} or {\"Regex\": …}, got %s", c.Pattern)
	}
	pattern := ""
	if p.String != nil {
		pattern = regexp2.Escape(*p.String)
	} else {
		pattern = *p.Regex
	}
	// The known patterns match everything, so that isolating the matches and removing what is between them are one.
	if scan, ok := knownScanners[pattern]; ok && (c.Behavior == "Isolated" && !c.Invert || c.Behavior == "Removed" && c.Invert) {
		return scan, nil
	}
	side := keepMatches
	if c.Invert {
		side = keepGaps
	}
	return newPatternSplitter(pattern, c.Behavior, side)
}

// matchSide says which parts the behavior of a split is about.
type matchSide int

const (
	keepMatches matchSide = iota // the matches are the delimiters
	keepGaps                     // invert: what lies between them is
)

type patternSplitter struct {
	re       *regexp2.Regexp
	side     matchSide
	behavior string
}

// newPatternSplitter compiles a pattern. Its \p{…} are Unicode 15's, as Go knows them; the scanners have 16's.
func newPatternSplitter(pattern, behavior string, side matchSide) (splitter, error) {
	switch behavior {
	case "Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous":
	default:
		return nil, fmt.Errorf("split behavior %q is not known", behavior)
	}
	re, err := regexp2.Compile(pattern, regexp2.None)
	if err != nil {
		return nil, fmt.Errorf("split pattern %q: %w", pattern, err)
	}
	return &patternSplitter{re, side, behavior}, nil
}

// part is a piece of a text, a delimiter or not.
type splitPart struct {
	lo, hi    int
	delimiter bool
}

func (p *patternSplitter) cut(s string, emit func(lo, hi int)) {
	parts := p.parts(s)
	switch p.behavior {
	case "MergedWithPrevious":
		parts = mergeWithPrevious(parts)
	case "MergedWithNext":
		parts = mergeWithNext(parts)
	case "Contiguous":
		parts = mergeAlike(parts)
	}
	for _, x := range parts {
		if x.hi > x.lo && !(p.behavior == "Removed" && x.delimiter) {
			emit(x.lo, x.hi)
		}
	}
}

// parts cuts s at the matches.
func (p *patternSplitter) parts(s string) (parts []splitPart) {
	done := 0
	add := func(lo, hi int, match bool) {
		if hi > lo {
			parts = append(parts, splitPart{lo, hi, match == (p.side == keepMatches)})
		}
	}
	// A failure here could only be a time limit, and none is set.
	matches, _ := p.re.FindAllStringIndex(s, -1)
	for _, m := range matches {
		add(done, m[0], false)
		add(m[0], m[1], true)
		done = m[1]
	}
	add(done, len(s), false)
	return parts
}

func mergeWithPrevious(parts []splitPart) []splitPart {
	out := parts[:0]
	for i, x := range parts {
		if x.delimiter && i > 0 && !out[len(out)-1].delimiter {
			out[len(out)-1].hi, out[len(out)-1].delimiter = x.hi, true
			continue
		}
		out = append(out, x)
	}
	return out
}

func mergeWithNext(parts []splitPart) (out []splitPart) {
	for i := 0; i < len(parts); i++ {
		x := parts[i]
		if x.delimiter && i+1 < len(parts) && !parts[i+1].delimiter {
			x.hi = parts[i+1].hi
			i++
		}
		out = append(out, x)
	}
	return out
}

func mergeAlike(parts []splitPart) []splitPart {
	out := parts[:0]
	for i, x := range parts {
		if i > 0 && out[len(out)-1].delimiter == x.delimiter {
			out[len(out)-1].hi = x.hi
			continue
		}
		out = append(out, x)
	}
	return out
}
