package mambatrain_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// british contains spellings that American English does not use.
var british = func() map[string]bool {
	words := map[string]bool{}
	for _, w := range strings.Fields("behaviour colour favour neighbour honour centre grey artefact catalogue judgement " +
		"cancelled labelled modelled travelled cancelling labelling modelling whilst learnt analyse analysed") {
		words[w], words[w+"s"] = true, true
	}
	for _, stem := range strings.Fields("optim token quant normal initial recogn organ minim maxim summar serial material") {
		for _, end := range strings.Fields("ise ises ised iser isers ising isation") {
			words[stem+end] = true
		}
	}
	return words
}()

// quoted are British spellings that a file needs: a name of another file, or a key that users write.
var quoted = map[string]string{"cmd/mamba-train/internal/config/read.go": "optimiser", "internal/quant/quant_test.go": "quantise",
	"trainer/optim/golden_test.go": "optimisers"}

// TestSpelling checks that code and documents use American spelling, and "dataset" as Hugging Face does.
func TestSpelling(t *testing.T) {
	eachText(t, func(path string, text []byte) {
		for word := range strings.FieldsFuncSeq(strings.ToLower(string(text)), func(r rune) bool { return !unicode.IsLetter(r) }) {
			if british[word] && quoted[path] != word {
				t.Errorf("%s: %q", path, word)
			}
		}
		for _, apart := range []string{"data set ", "data sets", "data set,", "data set."} {
			if bytes.Contains(text, []byte(apart)) {
				t.Errorf("%s: %q: write dataset", path, apart)
			}
		}
	})
}

// unidiomatic lists phrases that messages once contained, with what to write instead.
var unidiomatic = []struct {
	phrase  *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`(^|%[dqsv]\)?:? )is no [a-z]`), "is not a …"},
	{regexp.MustCompile(`\bis there (already|twice)\b`), "already exists, appears twice"},
	{regexp.MustCompile(`\bthat (are|is) there\b`), "existing"},
	{regexp.MustCompile(`\b(is|are) not known\b`), "is not supported, unknown …"},
	{regexp.MustCompile(`\bhas no meaning\b`), "does not apply, is valid only with …"},
	{regexp.MustCompile(`\bexclude each other\b`), "cannot be used together"},
	{regexp.MustCompile(`\bdoes not go with\b`), "cannot be used with"},
	{regexp.MustCompile(`\bmust be given\b`), "is required"},
	{regexp.MustCompile(`\b(leave|leaves) (it |:?%s )?out\b`), "omit"},
	{regexp.MustCompile(`\b(begin|begins|go|goes) (again|anew|on)\b`), "starts over, continues"},
	{regexp.MustCompile(`\bof its own\b`), "its own, separate"},
	{regexp.MustCompile(`\b(stands|stand) (in|there|for)\b`), "is, appears, means"},
	{regexp.MustCompile(`\b(lie|lies) side by side\b`), "adjacent"},
	{regexp.MustCompile(`\b(ends|end) in the middle\b`), "unexpected end, truncated"},
	{regexp.MustCompile(`\b(is|are) (another|other) (model|weights|method)\b`), "is not supported, different weights"},
	{regexp.MustCompile(`\b(holds|hold) (a|an|no|the)\b`), "contains"},
	{regexp.MustCompile(`\bwhole(,|;| and|$)`), "in full"},
	{regexp.MustCompile(`\bfor ever\b`), "forever"},
}

// TestIdiom checks that the string literals of the program, which are messages and help, avoid phrases that no native
// speaker would use.
func TestIdiom(t *testing.T) {
	eachText(t, func(path string, text []byte) {
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return
		}
		files := token.NewFileSet()
		f, err := parser.ParseFile(files, path, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			s, ok := n.(*ast.BasicLit)
			if !ok || s.Kind != token.STRING {
				return true
			}
			for _, u := range unidiomatic {
				if found := u.phrase.FindString(strings.Trim(s.Value, "\"`")); found != "" {
					t.Errorf("%s: %q: write %q", files.Position(s.Pos()), found, u.instead)
				}
			}
			return true
		})
	})
}

// eachText calls check for every file of code or documentation that people of this project write.
func eachText(t *testing.T, check func(path string, text []byte)) {
	t.Helper()
	kinds := []string{".go", ".md", ".yaml", ".yml", ".js", ".html", ".css", ".txtar"}
	skipped := []string{".git", "vendor", "shared", "axe"}
	err := filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && slices.Contains(skipped, e.Name()):
			return filepath.SkipDir
		case !e.Type().IsRegular() || !slices.Contains(kinds, filepath.Ext(path)) || path == "words_test.go" || strings.HasSuffix(path, "spelling_test.go"):
			return nil
		case strings.Contains(path, "testdata") && filepath.Ext(path) != ".txtar":
			return nil
		}
		text, err := os.ReadFile(path)
		if err == nil {
			check(filepath.ToSlash(path), text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
