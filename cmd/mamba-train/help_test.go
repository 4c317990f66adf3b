package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
)

// heavy maps parts of examples that the test does not run to the reason. Their flags are checked anyway.
var heavy = map[string]string{
	"mamba-train bench":                           "takes minutes",
	"mamba-train convert --model state-spaces/":   "fetches an original checkpoint",
	"mamba-train init --preset 130m":              "writes half a gigabyte",
	"mamba-train studio":                          "serves until it is stopped",
	"mpirun ":                                     "needs another build",
	"mamba-train graph --layers 2 --format dot |": "continues with Graphviz",
}

// checkpointStep matches the checkpoint in an example. The test replaces its step because its runs are shorter.
var checkpointStep = regexp.MustCompile(`checkpoint-\d+`)

// Every example in the help works, in sequence, in a directory with the files that they use.
func TestHelpExamples(t *testing.T) {
	if testing.Short() {
		t.Skip("runs every command")
	}
	t.Parallel()
	var script strings.Builder
	script.WriteString("env MAMBA_TRAIN_TRAIN_MAX_STEPS=2\nenv MAMBA_TRAIN_TRAIN_SAVE_STEPS=1\nenv MAMBA_TRAIN_TRAIN_LOGGING_STEPS=1\n")
	for _, name := range []string{"a", "b"} {
		fmt.Fprintf(&script, "code 0 train -c configs/quickstart.yaml --quiet --set output_dir=runs/%s\n", name)
	}
	examples := helpExamples((&app{}).root())
	if len(examples) < 40 {
		t.Fatalf("found only %q", examples)
	}
	c := newDocChecker(t)
	for _, line := range examples {
		if isHeavy(line) {
			c.code(t, line)
			continue
		}
		line, _, _ = strings.Cut(line, " > ")
		line = checkpointStep.ReplaceAllString(strings.ReplaceAll(line, `"`, `'`), "checkpoint-1")
		script.WriteString(strings.Replace(line, "mamba-train", "code 0", 1) + "\n")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "examples.txtar"), []byte(script.String()), 0o666); err != nil {
		t.Fatal(err)
	}
	p := scriptParams(t)
	p.Dir = dir
	setup := p.Setup
	p.Setup = func(env *testscript.Env) error {
		if err := setup(env); err != nil {
			return err
		}
		return exampleFiles(env)
	}
	testscript.Run(t, p)
}

// Every description in the help ends with a whole sentence.
func TestHelpDescriptions(t *testing.T) {
	for _, cmd := range leaves((&app{}).root()) {
		if text := strings.TrimSpace(cmd.Long); text != "" && !strings.HasSuffix(text, ".") {
			t.Errorf("%s ends with %q", cmd.CommandPath(), text[max(0, len(text)-40):])
		}
	}
}

func isHeavy(line string) bool {
	for part := range heavy {
		if strings.HasPrefix(line, part) {
			return true
		}
	}
	return false
}

// helpExamples lists the examples of all commands, starting with those that train and merge.
func helpExamples(root *cobra.Command) (lines []string) {
	for _, cmd := range append([]*cobra.Command{root}, leaves(root)...) {
		for line := range strings.Lines(cmd.Example) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	first := []string{"mamba-train train -c configs/quickstart.yaml", "mamba-train merge --adapter runs/quickstart --output runs/quickstart-merged"}
	rest := slices.DeleteFunc(lines, func(line string) bool { return slices.Contains(first, line) })
	return slices.Concat(first, rest)
}

// exampleFiles creates the models and files that the examples use.
func exampleFiles(env *testscript.Env) error {
	root, work := env.Getenv("ROOT"), func(name string) string { return filepath.Join(env.WorkDir, name) }
	if err := os.Symlink(filepath.Join(root, "configs"), work("configs")); err != nil {
		return err
	}
	for _, model := range []string{"DIR", "models/mamba-130m-hf"} {
		if err := os.CopyFS(work(model), os.DirFS(filepath.Join(root, "configs/quickstart/base"))); err != nil {
			return err
		}
	}
	chat := `{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}` + "\n"
	for name, text := range map[string]string{
		"DIR/chat_template.jinja": `{% for m in messages %}{{ m.role }}: {% if m.role == "assistant" %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}`,
		"chat.jsonl":              chat,
		"chats.jsonl":             `{"messages": [{"role": "user", "content": "Hi"}]}` + "\n",
		"questions.jsonl":         `{"context": "The sea is", "choices": ["dry", "wet"], "answer": 1}` + "\n",
		"prompts.jsonl":           `{"prompt": "A friend"}` + "\n",
		"corpus.txt":              "A friend is a second self.\n",
		"config.json":             `{"model_type": "mamba", "vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1}`,
	} {
		if err := os.WriteFile(work(name), []byte(text), 0o666); err != nil {
			return err
		}
	}
	return nil
}
