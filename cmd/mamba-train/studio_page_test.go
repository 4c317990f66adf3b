package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"mambatrain/studio/studiotest"
)

// browse opens a view of the studio.
func (s *studioProcess) browse(t *testing.T, ctx context.Context, parts ...string) {
	t.Helper()
	if studiotest.Evaluate[string](t, ctx, "location.host") != s.url.Host {
		studiotest.Do(t, ctx, chromedp.Navigate(s.url.String()))
		studiotest.Until(t, ctx, `document.querySelector("main h1")`)
	}
	studiotest.Evaluate[any](t, ctx, `location.hash = "#/" + `+quoted(append([]string{}, parts...))+`.map(encodeURIComponent).join("/"), null`)
}

// quoted formats a value for a script.
func quoted(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// enter replaces the text in the field with the given id.
func enter(t *testing.T, ctx context.Context, id, text string) {
	t.Helper()
	studiotest.Until(t, ctx, fmt.Sprintf(`document.getElementById(%s)`, quoted(id)))
	studiotest.Evaluate[any](t, ctx, fmt.Sprintf(`((e) => { e.focus(); e.select(); })(document.getElementById(%s)), null`, quoted(id)))
	studiotest.Do(t, ctx, chromedp.KeyEvent(text))
}

// press clicks the button or link with the given text as soon as it is visible.
func press(t *testing.T, ctx context.Context, text string) {
	t.Helper()
	find := fmt.Sprintf(`[...document.querySelectorAll("main button, main a")].find((b) => b.textContent === %s && b.checkVisibility() && !b.disabled)`, quoted(text))
	studiotest.Until(t, ctx, find)
	studiotest.Evaluate[any](t, ctx, find+`.click(), null`)
}

// seen waits until an element of the page shows a text.
func seen(t *testing.T, ctx context.Context, selector, text string) {
	t.Helper()
	studiotest.Until(t, ctx, fmt.Sprintf(`[...document.querySelectorAll(%s)].some((e) => e.textContent.includes(%s))`, quoted(selector), quoted(text)))
}

// hostile is a text that would run as a program if a page treated it as markup.
const hostile = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>`

// A user starts the quick start from the form, watches it, stops it, resumes it, and tries the trained model.
func TestStudioPage(t *testing.T) {
	if testing.Short() {
		t.Skip("trains for several seconds")
	}
	if runtime.GOOS == "windows" {
		t.Skip("a run cannot be stopped from another process")
	}
	t.Parallel()
	ctx := studiotest.Browser(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(t.TempDir(), "base")
	if err := os.CopyFS(base, os.DirFS(filepath.Join(root, "configs/quickstart/base"))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(base, "chat_template.jinja"), []byte(chatML), 0o666); err != nil {
		t.Fatal(err)
	}
	runs := filepath.Join(t.TempDir(), "runs")
	s := startStudio(t, root, linkProgram(t), "--dir", runs)
	axe := filepath.Join(root, "studio/testdata/axe/axe.min.js")

	s.browse(t, ctx, "start")
	studiotest.Until(t, ctx, `document.querySelector("#upload")`)
	typo := writeFile(t, "typo.yaml", `model: nowhere
output_dir: runs/typo
gradient_checkpointing: True
data: {train: x.csv, prompt: "Q: {{.q}}\nA:", completion: a}
train: {learning_rat: 1.0e-3, optim: adamww}
`)
	studiotest.Do(t, ctx, chromedp.SetUploadFiles("#upload", []string{typo}))
	seen(t, ctx, ".side pre", "output_dir: runs/typo") // the form has been checked
	for _, kept := range []string{"gradient_checkpointing: true", "Q: {{.q}}\n", "optim: adamww"} {
		seen(t, ctx, ".side pre", kept)
	}
	const misspelled = "train.learning_rat: unknown key; did you mean train.learning_rate?"
	seen(t, ctx, ".side .problem", misspelled)
	studiotest.Do(t, ctx, chromedp.SetUploadFiles("#upload", []string{filepath.Join(root, "configs/quickstart.yaml")}))
	studiotest.Until(t, ctx, `document.getElementById("field-model").value === "configs/quickstart/base"`)
	studiotest.Until(t, ctx, fmt.Sprintf(`!document.querySelector(".side").textContent.includes(%s)`, quoted(misspelled)))
	enter(t, ctx, "field-model", base)
	enter(t, ctx, "field-output_dir", filepath.Join(runs, "quick"))
	enter(t, ctx, "field-train.learning_rate", "-1")
	seen(t, ctx, ".side button", "train.learning_rate: must be positive, got -1")
	studiotest.Until(t, ctx, `document.getElementById("field-train.learning_rate").getAttribute("aria-invalid") === "true"`)
	enter(t, ctx, "find", "learning rate")
	studiotest.Until(t, ctx, `!document.getElementById("field-data.train").checkVisibility()`)
	enter(t, ctx, "find", " ")
	enter(t, ctx, "field-train.learning_rate", "2e-3")
	enter(t, ctx, "field-train.max_steps", "1000000") // longer than the test
	seen(t, ctx, ".side", "Memory: up to about")
	seen(t, ctx, ".side", "Time: about")
	seen(t, ctx, ".side pre", "max_steps: 1000000")
	studiotest.Check(t, ctx, axe, "the form")
	press(t, ctx, "Start the run")

	seen(t, ctx, "main h1", "runs/quick")
	seen(t, ctx, ".state", "running")
	dir := filepath.Join(runs, "quick")
	studiotest.Until(t, ctx, `document.querySelectorAll(".plot canvas").length >= 2`)
	press(t, ctx, "Stop")
	seen(t, ctx, ".state", "interrupted")
	studiotest.Check(t, ctx, axe, "a run that was stopped")
	step := lastStep(t, dir)
	press(t, ctx, "Resume")
	seen(t, ctx, ".state", "running")
	s.until(t, "it trains again", func(jobAnswer) bool { return lastStep(t, dir) > step })
	press(t, ctx, "Stop")
	seen(t, ctx, ".state", "interrupted")

	press(t, ctx, "Start a similar run") // with the same settings under another name
	seen(t, ctx, ".side pre", "output_dir: "+dir+"-2\n")
	if yaml := studiotest.Evaluate[string](t, ctx, `document.querySelector(".side pre").textContent`); !strings.Contains(yaml, "max_steps: 1000000\n") || strings.Contains(yaml, "adam_epsilon") {
		t.Errorf("the run's settings became\n%s", yaml)
	}
	enter(t, ctx, "field-data.train", filepath.Join(runs, "missing.jsonl"))
	press(t, ctx, "Start the run")
	seen(t, ctx, "main [role=status]", "exit code 2")
	seen(t, ctx, "main pre", "missing.jsonl: no such file")
	studiotest.Check(t, ctx, axe, "a run that did not begin")

	s.browse(t, ctx, "run", "runs/quick")
	press(t, ctx, "Try it")
	studiotest.Until(t, ctx, `document.querySelector("#mode-chat")?.checked && document.querySelector("#try-place").children.length > 0`)
	enter(t, ctx, "max_new_tokens", "12.5")
	enter(t, ctx, "prompt", "kept")
	press(t, ctx, "Send")
	seen(t, ctx, ".ask .problem", "max_new_tokens: want a non-negative whole number, got 12.5")
	studiotest.Until(t, ctx, `document.getElementById("prompt").value === "kept" && document.querySelectorAll(".entry").length === 0`)
	enter(t, ctx, "max_new_tokens", "20")
	enter(t, ctx, "temperature", "0.7") // matters only for sampling
	studiotest.Until(t, ctx, `document.getElementById("do_sample").value === "true"`)
	for range 2 {
		enter(t, ctx, "prompt", hostile)
		press(t, ctx, "Send")
		studiotest.Until(t, ctx, `!document.querySelector(".ask button[type=submit]").disabled`)
	}
	if said := studiotest.Evaluate[string](t, ctx, `[...document.querySelectorAll(".entry")].map((e) => e.querySelector("p.faint").textContent).join("\n")`); strings.Count(said, "tokens/s") != 4 {
		t.Errorf("answers end with\n%s", said)
	}
	seen(t, ctx, ".entry .asked", hostile)
	seen(t, ctx, ".entry pre", "<|im_start|>user\n"+hostile)
	studiotest.Check(t, ctx, axe, "a chat")
	if studiotest.Evaluate[bool](t, ctx, `"hacked" in window || document.querySelector("main img, main script") !== null`) {
		t.Error("a text became markup")
	}

	closed := startStudio(t, root, s.cmd.Path, "--dir", runs, "--read-only")
	closed.browse(t, ctx)
	seen(t, ctx, "tbody tr", "runs/quick")
	if nav := studiotest.Evaluate[string](t, ctx, `document.querySelector("nav").textContent`); nav != "Runs" {
		t.Errorf("--read-only: the page offers %s", nav)
	}
	closed.browse(t, ctx, "run", "runs/quick")
	seen(t, ctx, ".state", "interrupted")
	if studiotest.Evaluate[bool](t, ctx, `document.querySelector(".actions") !== null`) {
		t.Error("--read-only: the page offers controls")
	}
}
