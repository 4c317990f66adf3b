package cli

import (
	"strings"
	"testing"
)

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		columns    int
		text, want string
	}{
		{0, strings.Repeat("word ", 40), strings.Repeat("word ", 40)},
		{40, "fits", "fits"},
		{40, "memory    about 72 MiB: weights 2.51 MiB, gradients 201 KiB", "memory    about 72 MiB: weights 2.51\n          MiB, gradients 201 KiB"},
		{40, "step 20/60  eval_loss 4.1234  eval_perplexity 61.7  (best)", "step 20/60  eval_loss 4.1234\n            eval_perplexity 61.7  (best)"},
		{40, "warning: a sentence that does not fit into forty columns", "warning: a sentence that does not fit\n  into forty columns"},
		{40, "wrote /a/path/that/is/longer/than/the/terminal/is/wide: files", "wrote\n  /a/path/that/is/longer/than/the/terminal/is/wide:\n  files"},
		{40, "first\nthe second line has more words than forty columns", "first\nthe second line has more words than\n  forty columns"},
		{40, "model     " + strings.Repeat("漢字", 6) + " " + strings.Repeat("漢字", 6), "model     " + strings.Repeat("漢字", 6) + "\n          " + strings.Repeat("漢字", 6)},
		{40, "  indented text of a list that is too long", "  indented text of a list that is too\n    long"},
	} {
		if got := Wrap(c.text, c.columns); got != c.want {
			t.Errorf("got\n%s\nwant\n%s", got, c.want)
		}
	}
}

func TestWrapHelp(t *testing.T) {
	const text = `The first line of a paragraph is too long for it.
The second is not.

Examples:
  mamba-train train -c configs/quickstart.yaml --set output_dir=runs/short
  mamba-train export --model DIR --dtype bfloat16 --output DIR2

Flags:
  -c, --config string   YAML file with the settings of the run`
	const want = `The first line of a paragraph is too long for
it. The second is not.

Examples:
  mamba-train train -c configs/quickstart.yaml \
    --set output_dir=runs/short
  mamba-train export --model DIR \
    --dtype bfloat16 --output DIR2

Flags:
  -c, --config string   YAML file with the
                        settings of the run`
	if got := WrapHelp(text, 48); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := WrapHelp(text, 0); got != text {
		t.Errorf("without a terminal, got\n%s", got)
	}
}

// Wrapping only adds or removes spaces, and breaks every line that is too long and has a space to break at.
func FuzzWrap(f *testing.F) {
	f.Add("model     a  b c\n d", 30)
	f.Fuzz(func(t *testing.T, text string, columns int) {
		if columns > 200 || len(text) > 1000 {
			t.Skip()
		}
		got := Wrap(text, columns)
		if words := strings.Fields(got); strings.Join(words, " ") != strings.Join(strings.Fields(text), " ") {
			t.Fatalf("%q became %q", text, got)
		}
	})
}
