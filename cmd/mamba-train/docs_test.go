package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mambatrain/cmd/mamba-train/internal/config"
)

// Everything that the documentation mentions exists: commands with their flags, files, keys, variables, and tests.
func TestDocuments(t *testing.T) {
	t.Chdir("../..")
	c := newDocChecker(t)
	for _, path := range documentFiles(t) {
		t.Run(path, func(t *testing.T) {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			text := string(raw)
			checkLinks(t, path, text)
			commands := 0
			for _, code := range codeOf(text) {
				commands += c.code(t, code)
			}
			if all := len(leaves((&app{}).root())); path == "README.md" && commands < all {
				t.Errorf("found only %d commands, want %d at least", commands, all)
			}
		})
	}
}

// The README shows each command at least once.
func TestReadmeShowsEveryCommand(t *testing.T) {
	raw, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, cmd := range leaves((&app{}).root()) {
		if !bytes.Contains(raw, []byte("`"+cmd.CommandPath()+" ")) {
			t.Errorf("README.md has no example of %s", cmd.CommandPath())
		}
	}
}

// The program in the README compiles.
func TestReadmeExampleBuilds(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the Go compiler")
	}
	t.Chdir("../..")
	raw, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	source := regexp.MustCompile("(?s)\n```go\npackage main\n(.*?)```\n").FindSubmatch(raw)
	if source == nil {
		t.Fatal("README.md has no Go program")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "main.go")
	place, err := filepath.Abs("cmd/readme-example/main.go") // only in the overlay, never written
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{place: file}})
	if err != nil {
		t.Fatal(err)
	}
	program := append([]byte("package example\n"), source[1]...) // not main, so that nothing is linked
	if err := errors.Join(os.WriteFile(file, program, 0o666), os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o666)); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "./cmd/readme-example").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// documentFiles lists the user documentation, as paths relative to the root of the module.
func documentFiles(t *testing.T) []string {
	t.Helper()
	list := []string{"README.md"}
	for _, pattern := range []string{"docs/*.md", ".github/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v, %v", pattern, found, err)
		}
		list = append(list, found...)
	}
	return list
}

var (
	fence   = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")
	inline  = regexp.MustCompile("`([^`\n]+)`")
	linkTo  = regexp.MustCompile(`\]\(([^)\s#]*)#?([^)\s]*)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	shWord  = regexp.MustCompile(`"[^"]*"|'[^']*'|[^\s"']+`)
	keyWord = regexp.MustCompile(`^(data|train|lora|distributed)\.[a-z_0-9]+$`)
	envWord = regexp.MustCompile(`\bMAMBA_TRAIN_[A-Z_]+`)
	ourTest = regexp.MustCompile(`^(Test|Fuzz)[A-Z]\w+$`)
)

// codeOf returns the lines of shell blocks, and the code spans outside of blocks. Programs and YAML have their own tests.
func codeOf(text string) (list []string) {
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		if m[1] == "" || m[1] == "sh" || m[1] == "bash" {
			list = append(list, strings.Split(m[2], "\n")...)
		}
	}
	text = fence.ReplaceAllString(text, "")
	for line := range strings.Lines(text) {
		if block, ok := strings.CutPrefix(line, "    "); ok {
			list = append(list, strings.TrimSpace(block))
			continue
		}
		for _, m := range inline.FindAllStringSubmatch(line, -1) {
			list = append(list, m[1])
		}
	}
	return list
}

// docChecker knows the names that exist.
type docChecker struct {
	keys  map[string]bool // configuration keys
	env   map[string]bool
	tests map[string]bool
}

func newDocChecker(t *testing.T) *docChecker {
	c := &docChecker{map[string]bool{}, map[string]bool{}, testNames(t)}
	for _, s := range config.Keys() {
		c.keys[s.Path] = true
	}
	for _, name := range config.Variables() {
		c.env[name] = true
	}
	return c
}

// testNames lists the module's tests.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir(".", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		raw, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(raw, -1) {
			names[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// checkLinks checks that the targets of relative links exist, with their headings.
func checkLinks(t *testing.T, document, text string) {
	for _, m := range linkTo.FindAllStringSubmatch(text, -1) {
		if strings.Contains(m[1], "://") {
			continue
		}
		path := document
		if m[1] != "" {
			path = filepath.Join(filepath.Dir(document), m[1])
			mustExist(t, path)
		}
		if anchor := m[2]; anchor != "" && !slices.Contains(anchorsOf(t, path), anchor) {
			t.Errorf("%s has no heading #%s", path, anchor)
		}
	}
}

// anchorsOf lists the anchors of a document's headings, as GitHub makes them.
func anchorsOf(t *testing.T, path string) (list []string) {
	t.Helper()
	for _, m := range heading.FindAllStringSubmatch(string(readFile(t, path)), -1) {
		kept := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1])
		list = append(list, kept)
	}
	return list
}

func mustExist(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("%s is named but does not exist", path)
	}
}

// code checks a line or span of code and returns the number of mamba-train commands in it.
func (c *docChecker) code(t *testing.T, code string) (commands int) {
	for _, name := range envWord.FindAllString(code, -1) {
		if !c.env[name] && !strings.HasSuffix(name, "_") {
			t.Errorf("%s sets no key (in %q)", name, code)
		}
	}
	words := shWord.FindAllString(code, -1)
	for i, w := range words {
		w = strings.Trim(w, `"'`)
		switch {
		case keyWord.MatchString(w) && !c.keys[w]:
			t.Errorf("%s is not a key (in %q)", w, code)
		case ourTest.MatchString(w) && !c.tests[w]:
			t.Errorf("there is no test %s", w)
		case w == "mamba-train" && !startsBuild(words[:i]), w == "./cmd/mamba-train" && i > 0 && words[i-1] == "run":
			c.command(t, code, words[i+1:])
			commands++
		}
		if path := inModule(w); path != "" {
			mustExist(t, path)
		}
	}
	if len(words) > 0 && strings.HasPrefix(words[0], "--") {
		flagSomewhere(t, words[0])
	}
	return commands
}

// startsBuild reports whether the next word is an output of go build or the name of something else, and not a command.
func startsBuild(words []string) bool {
	return len(words) > 0 && slices.Contains([]string{"-o", "name:"}, strings.TrimLeft(words[len(words)-1], "{"))
}

// inModule returns the path in a word if it is inside the module. It returns "" for anything else, including patterns.
func inModule(word string) string {
	word = strings.TrimPrefix(strings.TrimSuffix(strings.TrimRight(word, ".,;:"), "/"), "mambatrain/")
	word = strings.TrimPrefix(word, "./")
	top, _, below := strings.Cut(word, "/")
	if !below || strings.ContainsAny(word, "*<…{") {
		return ""
	}
	switch top {
	case "autograd", "nn", "mamba", "lora", "trainer", "data", "cmd", "configs", "docs", ".ci", ".github":
		return word
	}
	return ""
}

// command checks the words after mamba-train: the command, its flags, and the keys set by --set.
func (c *docChecker) command(t *testing.T, code string, words []string) {
	var args []string
	for _, w := range words {
		if slices.Contains([]string{"|", "&&", ";", ">", "#", "…"}, w) {
			break
		}
		args = append(args, strings.ReplaceAll(strings.Trim(w, `"'`), "…", "x"))
	}
	root := (&app{}).root()
	root.InitDefaultCompletionCmd()
	cmd, rest, err := root.Find(args)
	if err != nil {
		t.Errorf("%s: %v", code, err)
		return
	}
	if err := cmd.ParseFlags(rest); err != nil && !errors.Is(err, pflag.ErrHelp) {
		t.Errorf("%s: %v", code, err)
		return
	}
	if len(rest) > 0 && !slices.Contains(rest, "--help") {
		if err := errors.Join(cmd.ValidateRequiredFlags(), cmd.ValidateArgs(cmd.Flags().Args())); err != nil {
			t.Errorf("%s: %v", code, err)
		}
	}
	if f := cmd.Flags().Lookup("set"); f != nil {
		for _, s := range f.Value.(pflag.SliceValue).GetSlice() {
			if key, _, _ := strings.Cut(s, "="); !c.keys[key] {
				t.Errorf("%s: %s is not a key", code, key)
			}
		}
	}
}

// flagSomewhere checks that at least one command has the flag, for spans that do not name a command.
func flagSomewhere(t *testing.T, word string) {
	name, _, _ := strings.Cut(strings.TrimPrefix(word, "--"), "=")
	if slices.Contains(launcherFlags, name) {
		return
	}
	for _, cmd := range leaves((&app{}).root()) {
		if name == "help" || cmd.Flags().Lookup(name) != nil || cmd.InheritedFlags().Lookup(name) != nil {
			return
		}
	}
	t.Errorf("no command has a flag --%s", name)
}

// launcherFlags are flags of mpirun and srun.
var launcherFlags = []string{"bind-to", "cpus-per-task", "dependency", "map-by", "mca", "mpi", "oversubscribe", "requeue", "signal", "allow-run-as-root", "hostfile"}

// leaves lists the commands that have no subcommands.
func leaves(cmd *cobra.Command) (list []*cobra.Command) {
	if !cmd.HasSubCommands() && !cmd.Hidden {
		return []*cobra.Command{cmd}
	}
	for _, sub := range cmd.Commands() {
		list = append(list, leaves(sub)...)
	}
	return list
}
