package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/internal/testfile"
)

// onTerminal runs a command line on a terminal of 80 columns with the given input and returns the output.
func onTerminal(t *testing.T, typed string, args ...string) string {
	t.Helper()
	outer, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer outer.Close()
	fd := int(outer.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Skip(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Skip(err)
	}
	inner, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	if err := unix.IoctlSetWinsize(int(inner.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Skip(err)
	}
	if _, err := outer.WriteString(typed); err != nil {
		t.Fatal(err)
	}
	shown := make(chan string)
	go func() {
		b, _ := io.ReadAll(outer) // ends with an error when the other side is closed
		shown <- string(b)
	}()
	a := &app{Console: cli.Console{In: inner, Out: inner, Err: inner}}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(inner)
	root.SetErr(inner)
	err = root.ExecuteContext(t.Context())
	inner.Close()
	text := regexp.MustCompile(`(\r|\x1b\[[02]?K|\n)+`).ReplaceAllString(<-shown, "\n") // the status line
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, text)
	}
	return text
}

func TestTerminal(t *testing.T) {
	tiny, dir := tinyModel(t, "../.."), t.TempDir()
	run := filepath.Join(dir, "run")
	config := testfile.Write(t, "c.yaml", `
data: {train: q.jsonl, dataset_text_field: quote, eval: q.jsonl}
train: {max_steps: 12, logging_steps: 4, eval_steps: 12, learning_rate: 0.02, lr_scheduler_type: constant, sample_prompts: ["A \e[31m stitch\n"]}
lora: {target_modules: [x_proj, embeddings, in_proj, out_proj]}
`)
	quotes := testfile.Write(t, "q.jsonl", `{"quote": "A stitch in time saves nine."}`)
	masked := testfile.Write(t, "masked.jsonl", `{"p": "Ask \u001b[31m this", "c": " and that"}`)
	for _, c := range []struct {
		args         []string
		want, absent []string
	}{
		{
			[]string{"train", "-c", config, "--threads", "1", "--set", "model=" + tiny, "--set", "output_dir=" + run, "--set", "data.train=" + quotes, "--set", "data.eval=" + quotes},
			[]string{
				`(?m)^compute   .*1 thread, up to 12 rows`,
				`(?m)^steps     12: 12 epochs of 1 step, `,
				`(?m)^step  4/12  epoch 4\.00  loss [0-9.]+  grad norm [0-9.]+ +lr 0\.02$`,
				`(?m)^step 12/12  eval_loss [0-9.]+  eval_mean_token_accuracy [0-9.]+\n            eval_perplexity`,
				`(?m)^sample    "A \\x1b\[31m stitch\\n" → "`,
				`(?m)^next: mamba-train merge `,
			},
			[]string{"\x1b[31m"},
		},
		{[]string{"info", "--adapter", run}, []string{`(?m)^transformers [0-9.]+ and newer, through peft\n {25}(yes|no)`}, nil},
		{[]string{"data", "inspect", "--tokenizer", tiny, "--data", masked, "--prompt", "p", "--completion", "c"}, []string{"\x1b\\[2mAsk \\\\x1b\\[31m this\x1b\\[22m"}, []string{"\x1b[31m"}},
		{[]string{"train", "--help"}, []string{`(?m)^Train or fine-tune`, `\\\n    --set output_dir=runs/short`}, nil},
	} {
		got := onTerminal(t, "", c.args...)
		for _, want := range c.want {
			if !regexp.MustCompile(want).MatchString(got) {
				t.Errorf("%v: no match for %q", c.args, want)
			}
		}
		for _, absent := range c.absent {
			if strings.Contains(got, absent) {
				t.Errorf("%v: %q is written to the terminal", c.args, absent)
			}
		}
		for line := range strings.Lines(got) {
			if words := strings.TrimSpace(line); len([]rune(line)) > 81 && strings.Contains(words, " ") && !strings.Contains(words, dir) {
				t.Errorf("%v: a line of %d columns: %q", c.args, len([]rune(line))-1, line)
			}
		}
		if t.Failed() {
			t.Log(got)
		}
	}
}

// A chat on the terminal breaks lines between words, escapes control characters, and survives invalid commands.
func TestTerminal_chat(t *testing.T) {
	base, err := filepath.Abs("../../configs/quickstart/base")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} {
		if err := os.Symlink(filepath.Join(base, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	template := "{% for m in messages %}{{ m.content }}\n{% endfor %}"
	if err := os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte(template), 0o666); err != nil {
		t.Fatal(err)
	}
	got := onTerminal(t, "/nope\nA friend\n/save /dev\n/quit\n", "generate", "--model", dir, "--chat", "-n", "200", "--ignore-eos")
	for _, want := range []string{
		"(?m)^Type a message", "(?m)^> warning: unknown command /nope: /help lists the commands; put a space before /\n +to send it as a message$",
		"stopped after 200 tokens", "warning: /save /dev: the file exists; choose another name",
	} {
		if !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("no match for %q", want)
		}
	}
	for line := range strings.Lines(got) {
		line = strings.TrimPrefix(line, "> ") // the newline after it was typed by the user
		if len([]rune(line)) > 81 {
			t.Errorf("a line of %d columns: %q", len([]rune(line))-1, line)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}
