package cli

import (
	"os/exec"
	"testing"
)

// A shell reads a quoted argument as the original.
func TestQuote(t *testing.T) {
	if got := Quote("runs/a-1.b_c=0.5"); got != "runs/a-1.b_c=0.5" {
		t.Errorf("got %s", got)
	}
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	for _, arg := range []string{"", "my run", "it's", "a\"b", "$HOME", "`id`", "a;b", "a&b", "*", "~", "#a", "(a)", "é ü", "a\\b", "new\nline", "tab\t!", "[a]", "{a,b}"} {
		got, err := exec.Command(shell, "-c", "printf %s "+Quote(arg)).Output()
		if err != nil || string(got) != arg {
			t.Errorf("%q is quoted as %s, which is %q to a shell, %v", arg, Quote(arg), got, err)
		}
	}
}

// A suggestion is never broken within an argument, even on a narrow terminal.
func TestSuggest(t *testing.T) {
	got := suggestion([]string{"merge", "--adapter", "my first run", "--output", "my first run-merged"}, 40)
	if want := "next: mamba-train merge \\\n  --adapter 'my first run' \\\n  --output 'my first run-merged'"; got != want {
		t.Errorf("got\n%s", got)
	}
}
