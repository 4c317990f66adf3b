package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"mambatrain/data/hub/hubtest"
	"mambatrain/data/source"
)

// runPages lists the pages whose commands run, in the order in which someone new reads them.
var runPages = []string{
	"README.md", "docs/tutorial.md", "docs/chat.md", "docs/fine-tuning.md", "docs/from-scratch.md", "docs/long-documents.md",
	"docs/eval-and-generate.md", "docs/resume.md", "docs/studio.md", "docs/data.md", "docs/hub-and-environment.md",
}

// givenPages are the pages whose runs the other pages may use.
var givenPages = runPages[:2]

// notRun lists what a command contains if it cannot run in a test, with the reason.
var notRun = map[string]string{
	"mamba-train bench":      "measures a large model",
	"mamba-train doctor":     "measures the machine",
	"mamba-train studio":     "serves until it is stopped",
	"--preset 130m":          "writes 500 MB",
	"lora-falcon-7b":         "needs a model of 7B",
	"mamba-train convert":    "needs the authors' checkpoint",
	"--device vulkan":        "needs a GPU",
	"mamba-train completion": "is cobra's",
	"--tokenizer TOKENIZER":  "is a pattern",
}

// A reader can type the commands of these pages in order: each succeeds, with the files that the pages show.
func TestDocumentsRun(t *testing.T) {
	if testing.Short() || runtime.GOOS == "windows" {
		t.Skip("runs the commands of all pages in a shell")
	}
	t.Parallel()
	r := newReader(t)
	for _, path := range runPages {
		// The pages build on each other's runs, so the first failure ends the test.
		if !t.Run(path, func(t *testing.T) { r.read(t, path) }) {
			return
		}
	}
}

// Pages use only runs that they make themselves, or that the README and the tutorial make.
func TestDocumentsMakeWhatTheyUse(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	given := madeBy(t, root, givenPages...)
	for _, path := range runPages {
		made := append(madeBy(t, root, path), given...)
		for _, s := range stepsOf(t, filepath.Join(root, path)) {
			for _, dir := range regexp.MustCompile(`\bruns/[\w-]+`).FindAllString(s.command, -1) {
				if !slices.Contains(made, dir) && reasonNotToRun(s.command) == "" {
					t.Errorf("%s: no command before %q makes %s", path, s.command, dir)
				}
			}
		}
	}
}

// madeBy lists the runs and outputs that the pages name as such.
func madeBy(t *testing.T, root string, pages ...string) (list []string) {
	output := regexp.MustCompile(`(?:--output |--plot |--per-row |--state |output_dir[:=] ?)(runs/[\w-]+)`)
	for _, path := range pages {
		for _, s := range stepsOf(t, filepath.Join(root, path)) {
			text := s.command + s.text
			if config := regexp.MustCompile(`-c (configs/\S+)`).FindStringSubmatch(text); config != nil {
				text += string(readFile(t, filepath.Join(root, config[1])))
			}
			if strings.Contains(text, "--print-config > ") {
				text += "output_dir: runs/first"
			}
			for _, m := range output.FindAllStringSubmatch(text, -1) {
				list = append(list, m[1])
			}
		}
	}
	return list
}

func reasonNotToRun(command string) string {
	for part, reason := range notRun {
		if strings.Contains(command, part) {
			return reason
		}
	}
	return ""
}

// step is something that a page asks its reader to do: type a command, write a file, say something to the chat of the last
// command, or compare its output.
type step struct {
	command    string
	file, text string // the text is that of the file, or of the output if there is no file
	said       string
}

var (
	namedFile = regexp.MustCompile("`([\\w./-]+\\.(?:yaml|jsonl|jinja|txt|json))`")
	tableCell = regexp.MustCompile("\\| `(mamba-train [^`]+)` \\|$")
)

// stepsOf returns the steps of a page: commands in blocks and at the end of table rows, and blocks of text after a paragraph that
// names a file. A block of the language text is the output of the command before it.
func stepsOf(t *testing.T, path string) (list []step) {
	t.Helper()
	var paragraph, block, language string
	fenced, gap := false, false
	for line := range strings.Lines(string(readFile(t, path))) {
		text := strings.TrimRight(line, "\n")
		switch mark, isMark := strings.CutPrefix(text, "```"); {
		case isMark && !fenced:
			fenced, language, block = true, mark, ""
		case isMark:
			fenced = false
			list = append(list, stepOf(language, block, paragraph)...)
		case fenced:
			block += line
		case text == "":
			gap = true
		case strings.HasPrefix(text, "    > "):
			list = append(list, step{said: strings.TrimPrefix(text, "    > ")})
		case strings.HasPrefix(text, "    ") && len(list) > 0 && list[len(list)-1].said != "" && list[len(list)-1].text == "":
			list[len(list)-1].text = strings.TrimSpace(text) + "\n"
		case strings.HasPrefix(text, "    "):
			list = append(list, commandsIn(text)...)
		default:
			if gap {
				paragraph, gap = "", false
			}
			paragraph += text + "\n"
			if m := tableCell.FindStringSubmatch(text); m != nil {
				list = append(list, step{command: m[1]})
			}
		}
	}
	return list
}

func stepOf(language, block, paragraph string) []step {
	switch language {
	case "text":
		return []step{{text: block}}
	case "", "sh":
		return commandsIn(block)
	case "yaml", "json", "jinja":
		if names := namedFile.FindAllStringSubmatch(paragraph, -1); names != nil {
			return []step{{file: names[len(names)-1][1], text: block}}
		}
	}
	return nil
}

// commandsIn returns the commands of this program in lines of shell.
func commandsIn(text string) (list []step) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(strings.Replace(line, "go run ./cmd/mamba-train", "mamba-train", 1))
		if regexp.MustCompile(`^(mamba-train|echo .*\| mamba-train|MAMBA_TRAIN_\w+=\S+ mamba-train) `).MatchString(line) {
			list = append(list, step{command: line})
		}
	}
	return list
}

// reader types the commands of pages in one directory, with the program in PATH.
type reader struct {
	dir          string
	env          []string
	last, output string // the last command and what it printed
}

func newReader(t *testing.T) *reader {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir, bin := t.TempDir(), t.TempDir()
	hub := hubtest.New(t, map[string]hubtest.Repository{
		"models/state-spaces/mamba-130m-hf": repository(t, tinyModel(t, root)),
		"datasets/Abirate/english_quotes":   {"data/train-00000-of-00001.parquet": readFile(t, filepath.Join(root, "configs/quickstart/quotes.parquet"))},
	})
	script := "#!/bin/sh\n" + beMain + "=1 exec '" + os.Args[0] + "' \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "mamba-train"), []byte(script), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(root, "configs"), filepath.Join(dir, "configs")); err != nil {
		t.Fatal(err)
	}
	writeOwnFiles(t, root, dir)
	path := bin + string(os.PathListSeparator) + os.Getenv("PATH")
	return &reader{dir: dir, env: append(os.Environ(), "PATH="+path, "NO_COLOR=1", "HF_ENDPOINT="+hub.URL, "HF_HOME="+filepath.Join(dir, "hf"))}
}

// writeOwnFiles writes the files that pages call the reader's own.
func writeOwnFiles(t *testing.T, root, dir string) {
	var corpus strings.Builder
	in := []source.Input{{Path: filepath.Join(root, "configs/quickstart/quotes.parquet")}}
	for row, err := range source.Rows(t.Context(), in, source.Config{}) {
		if err != nil {
			t.Fatal(err)
		}
		corpus.WriteString(row["quote"].(string) + "\n\n")
	}
	for name, text := range map[string]string{
		"corpus.txt":  corpus.String(),
		"train.jsonl": `{"text": "Once there was a river."}` + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

func (r *reader) read(t *testing.T, page string) {
	for _, s := range stepsOf(t, filepath.Join("../..", page)) {
		switch {
		case s.command != "":
			if reasonNotToRun(s.command) == "" {
				r.typeCommand(t, s.command, "", !slices.Contains(givenPages[1:], page))
			}
		case s.said != "":
			r.typeCommand(t, r.last, s.said+"\n", false)
			r.compare(t, s.text)
		case s.file != "":
			path := filepath.Join(r.dir, s.file)
			if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(s.text), 0o666); err != nil {
				t.Fatal(err)
			}
		default:
			r.compare(t, s.text)
		}
	}
}

// compare compares the output of the last command with what the page shows.
func (r *reader) compare(t *testing.T, want string) {
	t.Helper()
	if r.output != want {
		t.Fatalf("%s printed %q, and the page shows %q", r.last, r.output, want)
	}
}

// typeCommand runs a command and types its input. Short runs train for a few steps only.
func (r *reader) typeCommand(t *testing.T, command, input string, short bool) {
	typed := command
	if short && !strings.Contains(command, "--print-config") {
		typed = strings.Replace(typed, "mamba-train train ", "mamba-train train --set train.max_steps=4 ", 1)
	}
	cmd := exec.Command("sh", "-c", typed)
	cmd.Dir, cmd.Env, cmd.Stdin = r.dir, r.env, strings.NewReader(input)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, errs.String())
	}
	r.last, r.output = command, out.String()
}
