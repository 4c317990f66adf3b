package homepath

import "testing"

func TestExpand(t *testing.T) {
	t.Setenv("HOME", "/users/ann")
	t.Setenv("DATA", "/big/data")
	for path, want := range map[string]string{
		"":                    "",
		"~":                   "/users/ann",
		"~/x/y.jsonl":         "/users/ann/x/y.jsonl",
		"$HOME/x":             "/users/ann/x",
		"${HOME}/x":           "/users/ann/x",
		"$DATA/a/*.jsonl":     "/big/data/a/*.jsonl",
		"a/${DATA}x":          "a//big/datax",
		"~nobody-by-that/x":   "~nobody-by-that/x",
		"x/~/y":               "x/~/y",
		"$NOT_SET_ANYWHERE/x": "$NOT_SET_ANYWHERE/x",
		"cost$5.jsonl":        "cost$5.jsonl",
		"owner/name:split":    "owner/name:split",
		"~/m=0.5":             "/users/ann/m=0.5",
	} {
		if got := Expand(path); got != want {
			t.Errorf("Expand(%q) = %q, want %q", path, got, want)
		}
	}
}
