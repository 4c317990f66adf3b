// Package format formats numbers, sizes, and durations for people.
package format

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Count formats a number with commas between groups of three digits.
func Count(n int) string {
	s := strconv.Itoa(n)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	var b strings.Builder
	for i, r := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(r)
	}
	return sign + b.String()
}

// Counted returns a number with its noun: 1 row, 2 rows.
func Counted(n int, noun string) string {
	switch {
	case n == 1:
	case strings.HasSuffix(noun, "tch"):
		noun += "es"
	default:
		noun += "s"
	}
	return Count(n) + " " + noun
}

// Few lists the first few names and counts the others: a, b, c, and 40 more.
func Few(names []string) string {
	const limit = 3
	if more := len(names) - limit; more > 1 {
		return strings.Join(names[:limit], ", ") + fmt.Sprintf(", and %s more", Count(more))
	}
	return strings.Join(names, ", ")
}

// Duration formats a duration the way people say it: 45 s, 3 min 20 s, 2 h 5 min, 3 d 4 h.
func Duration(d time.Duration) string {
	s := int(math.Round(d.Seconds()))
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	case s < 48*3600:
		return fmt.Sprintf("%d h %d min", s/3600, s%3600/60)
	}
	return fmt.Sprintf("%d d %d h", s/86400, s%86400/3600)
}

// Percent formats a fraction as a percentage with a suitable number of digits.
func Percent(x float64) string {
	switch {
	case x != 0 && math.Abs(x) < 0.001:
		return fmt.Sprintf("%.4f %%", 100*x)
	case math.Abs(x) < 0.1:
		return fmt.Sprintf("%.2f %%", 100*x)
	}
	return fmt.Sprintf("%.1f %%", 100*x)
}

// Significant formats x with n significant digits, without an exponent where that is readable.
func Significant(x float64, n int) string { return strconv.FormatFloat(x, 'g', n, 64) }
