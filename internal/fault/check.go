package fault

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"mambatrain/internal/spelling"
)

// Require adds a fault unless ok.
func (l *List) Require(ok bool, path, format string, args ...any) {
	if !ok {
		l.Add(path, format, args...)
	}
}

// AtLeast requires v ≥ limit.
func (l *List) AtLeast(path string, v, limit int) {
	l.Require(v >= limit, path, "must be at least %d, got %d", limit, v)
}

// AtMost requires v ≤ limit. NaN and infinity pass.
func (l *List) AtMost(path string, v float64, limit int) {
	l.Require(!(v > float64(limit)) || math.IsInf(v, 1), path, "must be at most %d, got %s", limit, Number(v))
}

// Positive requires 0 < v < ∞.
func (l *List) Positive(path string, v float64) {
	if l.Require(v > 0, path, "must be positive, got %s", Number(v)); v > 0 {
		l.Require(!math.IsInf(v, 0), path, "must be a finite number, got %s", Number(v))
	}
}

// NotNegative requires 0 ≤ v < ∞.
func (l *List) NotNegative(path string, v float64) {
	if l.Require(v >= 0, path, "must not be negative, got %s", Number(v)); v >= 0 {
		l.Require(!math.IsInf(v, 0), path, "must be a finite number, got %s", Number(v))
	}
}

// Fraction requires 0 ≤ v < 1.
func (l *List) Fraction(path string, v float64) {
	l.Require(v >= 0 && v < 1, path, "must be at least 0 and below 1, got %s", Number(v))
}

// OneOf requires v to be one of the known words.
func (l *List) OneOf(path, v string, known ...string) {
	if slices.Contains(known, v) {
		return
	}
	problem := fmt.Sprintf("must be one of %s, got %q%s", strings.Join(known, ", "), v, spelling.DidYouMean(v, known))
	*l = append(*l, Fault{Path: path, Problem: problem, Choices: known})
}

// Number formats a number the way people write it, with inf and nan rather than Go's spellings.
func Number(v float64) string {
	switch {
	case math.IsNaN(v):
		return "nan"
	case math.IsInf(v, 1):
		return "inf"
	case math.IsInf(v, -1):
		return "-inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// CheckText returns a [Fault] if text is not UTF-8, and nil if it is.
func CheckText(path, text string) error {
	for i, r := range text {
		if r != utf8.RuneError {
			continue
		}
		if _, size := utf8.DecodeRuneInString(text[i:]); size == 1 {
			return Fault{Path: path, Problem: fmt.Sprintf("is not UTF-8: byte %#02x at offset %d", text[i], i)}
		}
	}
	return nil
}

// Value formats a value from a file, whatever its type, as JSON: null, "text", {"a":1}. A long one is shortened.
func Value(v any) string {
	const limit = 60
	if x, ok := v.(float64); ok {
		return Number(x)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(v) != nil { // such as a list with NaN
		return "a value that JSON cannot represent"
	}
	return Shorten(strings.TrimSpace(b.String()), limit)
}
