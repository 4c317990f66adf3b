// Package testfile provides files for tests: those that a test writes, and shared ones that are not part of the
// project.
package testfile

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// Env names the directory of the shared test data.
const Env = "MAMBA_TRAIN_TEST_DATA"

// Shared returns the path of a shared test data file. It skips the test if Env is not set.
func Shared(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv(Env)
	if dir == "" {
		t.Skipf("%s is not set: %s is not part of the repository", Env, name)
	}
	return filepath.Join(dir, name)
}

// Write writes text to a new file in a temporary directory of the test and returns its path.
func Write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// Read returns the contents of a file.
func Read(t testing.TB, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Lines decodes the objects of a JSON lines file.
func Lines[T any](t testing.TB, path string) (rows []T) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var row T
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// JSON returns v as JSON, for comparing and printing.
func JSON(t testing.TB, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
