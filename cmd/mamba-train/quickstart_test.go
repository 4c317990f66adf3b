package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mambatrain/data/source"
	"mambatrain/trainer/checkpoint"
)

// The quick start works as shown in the README: train, merge, generate. The loss falls by at least a tenth, and nine out of
// ten generated words occur in the training texts.
func TestQuickstart(t *testing.T) {
	if testing.Short() {
		t.Skip("trains for several seconds")
	}
	t.Parallel()
	const root = "../.."
	dir := filepath.Join(t.TempDir(), "run")
	mambaTrainIn(t, root, "train", "--quiet", "-c", "configs/quickstart.yaml", "--set", "output_dir="+dir)
	rows := lossRows(t, dir)
	if first, last := rows[0]["loss"], rows[len(rows)-1]["loss"]; !(last < 0.9*first) {
		t.Errorf("loss went from %.4f to %.4f, want a tenth less", first, last)
	}

	var merged mergeResult
	decodeJSON(t, mambaTrainIn(t, root, "merge", "--json", "--adapter", dir, "--output", dir+"-merged"), &merged)
	if !merged.UntiedHead || merged.MaxDiff == nil || *merged.MaxDiff > 1e-3 {
		t.Errorf("merge: %+v", merged)
	}

	known := knownWords(t, filepath.Join(root, "configs/quickstart/quotes.parquet"))
	words, right := 0, 0
	for _, prompt := range []string{"A good friend", "The sea", "When the old man", "Never", "A letter", "Bread"} {
		var text answer
		decodeJSON(t, mambaTrainIn(t, root, "generate", "--json", "--model", dir+"-merged", "--prompt", prompt), &text)
		for _, w := range wordsOf(text.Text) {
			words++
			if known[w] {
				right++
			}
		}
		if text.FinishReason != "eos" {
			t.Errorf("%q continues with %q and does not end", prompt, text.Text)
		}
	}
	if words < 20 || right*10 < words*9 {
		t.Errorf("%d of %d words are known", right, words)
	}
}

// mambaTrain runs the program and returns its standard output.
func mambaTrain(t *testing.T, args ...string) []byte {
	t.Helper()
	return mambaTrainIn(t, ".", args...)
}

// mambaTrainIn is mambaTrain in the working directory dir.
func mambaTrainIn(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), beMain+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("mamba-train %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func decodeJSON(t *testing.T, b []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
}

// lossRows returns the training rows of a run's history.
func lossRows(t *testing.T, dir string) (rows []checkpoint.Row) {
	t.Helper()
	run, err := history(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range run.Rows {
		if _, ok := r["loss"]; ok {
			rows = append(rows, r)
		}
	}
	return rows
}

var word = regexp.MustCompile(`[a-z]+`)

func wordsOf(s string) []string { return word.FindAllString(strings.ToLower(s), -1) }

// knownWords returns the words of the quotes in a file.
func knownWords(t *testing.T, path string) map[string]bool {
	t.Helper()
	known := map[string]bool{}
	in := []source.Input{{Path: path}}
	for row, err := range source.Rows(t.Context(), in, source.Config{}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range wordsOf(row["quote"].(string)) {
			known[w] = true
		}
	}
	return known
}
