// Package spelling finds the word that the user probably meant.
package spelling

import "strings"

// longest is the maximum length of words compared: longer ones are unlikely to be typing errors and would take too
// long.
const longest = 64

// Nearest returns the candidate that is the fewest edits away from word, or "" if none is close enough to have been
// meant. Case and the difference between - and _ are ignored.
func Nearest(word string, candidates []string) string {
	if len(word) > longest {
		return ""
	}
	best, found := max(len(word)/3, 1)+1, ""
	for _, c := range candidates {
		if strings.EqualFold(strings.ReplaceAll(c, "-", "_"), strings.ReplaceAll(word, "-", "_")) {
			return c
		}
		if d := edits(word, c); d < best {
			best, found = d, c
		}
	}
	return found
}

// DidYouMean returns "; did you mean x?" for the nearest candidate, or "" if none is close enough.
func DidYouMean(word string, candidates []string) string {
	if n := Nearest(word, candidates); n != "" {
		return "; did you mean " + n + "?"
	}
	return ""
}

// edits returns the number of insertions, deletions, replacements, and swaps of neighbors between two words (optimal
// string alignment).
func edits(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
