package fault

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"mambatrain/internal/spelling"
)

// Require adds a fault unless ok.
func (l *List) Require(ok bool, path, format string, args ...any) {
	if !ok {
		l.Add(path, format, args...)
	}
}

// AtLeast requires v ≥ least.
func (l *List) AtLeast(path string, v, least int) {
	l.Require(v >= least, path, "must be at least %d, got %d", least, v)
}

// AtMost requires v ≤ most. NaN passes.
func (l *List) AtMost(path string, v float64, most int) {
	l.Require(!(v > float64(most)), path, "must be at most %d, got %v", most, v)
}

// NotNegative requires 0 ≤ v < ∞.
func (l *List) NotNegative(path string, v float64) {
	l.Require(v >= 0 && !math.IsInf(v, 0), path, "must not be negative, got %v", v)
}

// Fraction requires 0 ≤ v < 1.
func (l *List) Fraction(path string, v float64) {
	l.Require(v >= 0 && v < 1, path, "must be at least 0 and below 1, got %v", v)
}

// OneOf requires v to be one of the known words.
func (l *List) OneOf(path, v string, known ...string) {
	if slices.Contains(known, v) {
		return
	}
	problem := fmt.Sprintf("must be one of %s, got %q%s", strings.Join(known, ", "), v, spelling.DidYouMean(v, known))
	*l = append(*l, Fault{Path: path, Problem: problem, Choices: known})
}
