package start

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

func TestConfigurations(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.yaml", "b.txt", "x/y/c.yml", "x/y/z/deep.yaml", "run/config.yaml"} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	folders := []string{dir}
	if runtime.GOOS != "windows" {
		link := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(dir, link); err != nil {
			t.Fatal(err)
		}
		folders = append(folders, link)
	}
	for _, folder := range folders {
		want := []string{filepath.Join(folder, "a.yaml"), filepath.Join(folder, "x", "y", "c.yml")}
		if got := configurations(folder); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	if got := configurations(filepath.Join(dir, "missing")); len(got) > 0 {
		t.Errorf("got %v", got)
	}
}
