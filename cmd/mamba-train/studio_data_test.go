package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The studio shows data as inspect does, and opens nothing outside its folders, whatever a run's configuration says.
func TestStudioData(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	quickstart := filepath.Join(root, "configs", "quickstart")
	dir, outside := t.TempDir(), t.TempDir()
	text := `{"text": "secret"}` + "\n"
	for _, path := range []string{filepath.Join(outside, "rows.jsonl"), filepath.Join(dir, "rows.jsonl")} {
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Skip(err)
	}
	base := filepath.Join(quickstart, "base")
	if err := errors.Join(
		os.Mkdir(filepath.Join(dir, "[x]"), 0o777), os.Mkdir(filepath.Join(dir, "data"), 0o777),
		os.Symlink(filepath.Join(outside, "rows.jsonl"), filepath.Join(dir, "data", "rows.jsonl")),
		os.CopyFS(filepath.Join(outside, "base"), os.DirFS(base)), os.CopyFS(filepath.Join(dir, "base"), os.DirFS(base)),
		os.Remove(filepath.Join(dir, "base", "tokenizer.json")),
		os.Symlink(filepath.Join(outside, "base", "tokenizer.json"), filepath.Join(dir, "base", "tokenizer.json")),
		os.CopyFS(filepath.Join(dir, "linked"), os.DirFS(base)),
		os.Remove(filepath.Join(dir, "linked", "model.safetensors")),
		os.Symlink(filepath.Join(outside, "base", "model.safetensors"), filepath.Join(dir, "linked", "model.safetensors")),
	); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	read := studioData([]string{dir, quickstart})
	run := func(model, train string) (string, error) {
		config := "model: " + model + "\noutput_dir: " + dir + "\ndata: {train: '" + train + "'}\n"
		if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o666); err != nil {
			t.Fatal(err)
		}
		d, err := read(context.Background(), dir)
		if err != nil {
			return "", err
		}
		if d.Documents != 1 || len(d.Histogram) == 0 || d.Rows[0].Labels == 0 {
			t.Errorf("got %+v", d)
		}
		return d.Rows[0].Segments[0].Text, nil
	}
	if got, err := run(base, filepath.Join(dir, "rows.jsonl")); err != nil || !strings.HasPrefix(got, "secret") {
		t.Errorf("inside: %q, %v", got, err)
	}
	// Weights, which are not read, may be a link, and the tokenizer can be named.
	if got, err := run(filepath.Join(dir, "linked"), filepath.Join(dir, "rows.jsonl")); err != nil || !strings.HasPrefix(got, "secret") {
		t.Errorf("linked weights: %q, %v", got, err)
	}
	for _, named := range []string{filepath.Join(dir, "linked"), filepath.Join(dir, "linked", "tokenizer.json")} {
		if got, err := run(base+"\ntokenizer: "+named, filepath.Join(dir, "rows.jsonl")); err != nil || !strings.HasPrefix(got, "secret") {
			t.Errorf("tokenizer %s: %q, %v", named, got, err)
		}
	}
	for _, train := range []string{
		filepath.Join(outside, "rows.jsonl"), filepath.Join(outside, "*.jsonl"), filepath.Join(dir, "link", "rows.jsonl"),
		filepath.Join(dir, "..", filepath.Base(outside), "rows.jsonl"), outside,
		dir + "/[x]/../../" + filepath.Base(outside) + "/rows.jsonl", filepath.Join(dir, "data"), filepath.Join(dir, "data", "*.jsonl"),
		filepath.Join(dir, "l*", "rows.jsonl"), "link:train",
	} {
		if got, err := run(base, train); err == nil || !strings.Contains(err.Error(), "outside the folders") {
			t.Errorf("%s: %q, %v", train, got, err)
		}
	}
	for _, model := range []string{outside, dir + "/[x]/../../" + filepath.Base(outside) + "/base", filepath.Join(dir, "base")} {
		if _, err := run(model, filepath.Join(dir, "rows.jsonl")); err == nil || !strings.Contains(err.Error(), "outside the folders") {
			t.Errorf("model %s: %v", model, err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "config.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(outside, "rows.jsonl"), filepath.Join(dir, "config.yaml")); err != nil {
		t.Fatal(err)
	}
	if _, err := read(context.Background(), dir); err == nil || !strings.Contains(err.Error(), "outside the folders") {
		t.Errorf("configuration: %v", err)
	}
}
