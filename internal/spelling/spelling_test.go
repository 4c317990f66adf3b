package spelling

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	words := []string{"learning_rate", "lr", "text", "prompt", "completion"}
	for word, want := range map[string]string{
		"learning-rate": "learning_rate",
		"Learning_Rate": "learning_rate",
		"learnign_rate": "learning_rate",
		"larning_rat":   "learning_rate",
		"txt":           "text",
		"tetx":          "text", // one swap
		"promt":         "prompt",
		"rl":            "lr",
		"zz":            "",
		"quantisation":  "",
		"":              "",

		strings.Repeat("learning_rate", 1<<20): "",
	} {
		if got := Nearest(word, words); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}
