package main

import "mambatrain/internal/spelling"

// didYouMean is "; did you mean x?", or "" where nothing is near.
func didYouMean(word string, candidates []string) string {
	if n := spelling.Nearest(word, candidates); n != "" {
		return "; did you mean " + n + "?"
	}
	return ""
}
