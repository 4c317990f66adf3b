package config

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mambatrain/configs"
	"mambatrain/internal/format"
	"mambatrain/trainer/recipe"
)

// Every shipped configuration loads, and its run fits in the memory that the file mentions.
func TestShippedConfigurations(t *testing.T) {
	t.Chdir("../../../..")
	list := shipped(t)
	if len(list) < 40 {
		t.Fatalf("found only %v", list)
	}
	for _, path := range list {
		c, err := Load(Source{File: path})
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		sizes, err := recipe.Sizes(c.Model)
		if err != nil {
			t.Logf("%s: %v", path, err) // created by another command before the run
			continue
		}
		e, err := c.Estimate(sizes)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if need := e.Memory.Total(); c.MemoryLimit > 0 && need > int64(c.MemoryLimit) {
			t.Errorf("%s: needs %v, memory_limit is %v", path, format.Bytes(need), c.MemoryLimit)
		}
	}
}

// Keys that are commented out in the starter are valid as well.
func TestStarter(t *testing.T) {
	commented := regexp.MustCompile(`^( *)# ([a-z_]+: )`)
	lines := strings.Split(string(configs.Starter), "\n")
	found := 0
	for i := range lines {
		if !commented.MatchString(lines[i]) {
			continue
		}
		found++
		with := slices.Clone(lines)
		with[i] = commented.ReplaceAllString(with[i], "$1$2")
		if strings.Contains(with[i], "prompt:") { // together with the completion on the line above
			with[i-1] = commented.ReplaceAllString(with[i-1], "$1$2")
		}
		sets := []string{}
		if strings.Contains(with[i], "load_best") {
			sets = []string{"data.eval_fraction=0.1"}
		}
		if _, err := Load(Source{File: tempFile(t, "starter.yaml", strings.Join(with, "\n")), Sets: sets}); err != nil {
			t.Error(err)
		}
	}
	if found < 8 {
		t.Errorf("found %d keys in comments", found)
	}
}

// shipped lists the configurations in configs, except for the reference, which omits required values.
func shipped(t *testing.T) (list []string) {
	t.Helper()
	err := filepath.WalkDir("configs", func(path string, e fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".yaml" {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(list, func(p string) bool { return filepath.Base(p) == "reference.yaml" })
}
