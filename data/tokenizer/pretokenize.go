package tokenizer

import (
	"fmt"

	"github.com/dlclark/regexp2/v2"
)

// A splitter divides a nonempty text into pieces and emits their bounds in order.
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

// newSplitter returns the splitter for a Split, Digits, or Punctuation step. Known patterns get their scanner; others
// use a regular expression.
func newSplitter(c component) (splitter, error) {
	switch c.Type {
	case "Digits":
		if c.Individual {
			return runeSplitter{isNumeric, "Isolated"}, nil
		}
		return runeSplitter{isNumeric, "Contiguous"}, nil
	case "Punctuation":
		p := runeSplitter{isPunctuation, "Isolated"}
		if c.Behavior != "" {
			p.behavior = c.Behavior
		}
		return p, p.behavior.check()
	case "Split":
	default:
		return nil, fmt.Errorf("type %q is not supported", c.Type)
	}
	p, err := c.pattern()
	if err != nil {
		return nil, fmt.Errorf("split %w", err)
	}
	pattern := ""
	if p.String != nil {
		pattern = regexp2.Escape(*p.String)
	} else {
		pattern = *p.Regex
	}
	// Most known patterns match everything, so isolating the matches is the same as removing the text between them.
	scan, known := knownScanners[pattern]
	switch {
	case known && (c.Behavior == "Isolated" && !c.Invert || c.Behavior == "Removed" && c.Invert):
		return scan, nil
	case pattern == "[0-9][0-9][0-9]" && c.Behavior == "Isolated" && !c.Invert:
		return threeDigits{}, nil
	}
	side := keepMatches
	if c.Invert {
		side = keepGaps
	}
	return newPatternSplitter(pattern, c.Behavior, side)
}

// afterByteLevel returns s adapted to byte-mapped text.
func afterByteLevel(s splitter) splitter {
	switch s := s.(type) {
	case runeSplitter:
		return newByteMappedRunes(s)
	case threeDigits:
		return s // digits map to themselves
	}
	return byteMapped{s}
}

// splitBehavior determines what happens to the delimiters, by its name in tokenizer.json.
type splitBehavior string

func (b splitBehavior) check() error {
	switch b {
	case "Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous":
		return nil
	}
	return fmt.Errorf("split behavior %q is not supported", string(b))
}

// emit joins and drops parts according to the behavior.
func (b splitBehavior) emit(parts []splitPart, emit func(lo, hi int)) {
	switch b {
	case "MergedWithPrevious":
		parts = mergeWithPrevious(parts)
	case "MergedWithNext":
		parts = mergeWithNext(parts)
	case "Contiguous":
		parts = mergeAlike(parts)
	}
	for _, x := range parts {
		if x.hi > x.lo && !(b == "Removed" && x.delimiter) {
			emit(x.lo, x.hi)
		}
	}
}

// matchSide determines which parts are the delimiters.
type matchSide int

const (
	keepMatches matchSide = iota // the matches are the delimiters
	keepGaps                     // invert: the text between matches is
)

type patternSplitter struct {
	re       *regexp2.Regexp
	side     matchSide
	behavior splitBehavior
}

func newPatternSplitter(pattern string, behavior splitBehavior, side matchSide) (splitter, error) {
	if err := behavior.check(); err != nil {
		return nil, err
	}
	re, err := compilePattern(pattern)
	if err != nil {
		return nil, fmt.Errorf("split %w", err)
	}
	return &patternSplitter{re, side, behavior}, nil
}

// splitPart is a piece of a text that is or is not a delimiter.
type splitPart struct {
	lo, hi    int
	delimiter bool
}

func (p *patternSplitter) cut(s string, emit func(lo, hi int)) { p.behavior.emit(p.parts(s), emit) }

// parts splits s at the matches.
func (p *patternSplitter) parts(s string) (parts []splitPart) {
	done := 0
	add := func(lo, hi int, match bool) {
		if hi > lo {
			parts = append(parts, splitPart{lo, hi, match == (p.side == keepMatches)})
		}
	}
	// Only a timeout could fail, and none is set.
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
