package recipe

import (
	"strings"
	"testing"
)

// TestPlain checks that a name is shown literally and has no effect as markup.
func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"my_run": "my_run", "<b>": "&lt;b&gt;", "a|b": `a\|b`, "a\nb": "a b", "[x](y)": `\[x\](y)`, "`": "\\`", "\x1b[2J": `\\x1b\[2J`, "&amp;": "&amp;amp;",
	} {
		if got := plain(text); got != want {
			t.Errorf("%q is written as %q, want %q", text, got, want)
		}
	}
}

func TestCode(t *testing.T) {
	for text, want := range map[string]string{"a.jsonl": "`a.jsonl`", "<b>": "`<b>`", "a`b": "`` a`b ``", "``": "``` `` ```", "a\n# b": "`a # b`"} {
		if got := code(text); got != want {
			t.Errorf("%q is written as %q, want %q", text, got, want)
		}
	}
	if got := fenced("yaml", "a: |\n  ```\n"); !strings.HasPrefix(got, "````yaml\n") || !strings.HasSuffix(got, "\n````\n") {
		t.Errorf("a fence in the text ends the block: %q", got)
	}
}
