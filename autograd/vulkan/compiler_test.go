package vulkan

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestShaders checks that the compiled shaders match what go generate produces from the sources.
func TestShaders(t *testing.T) {
	if out, err := exec.Command("glslc", "--version").Output(); err != nil || !strings.Contains(string(out), "shaderc 2023.2-1") {
		if required() {
			t.Fatalf("glslc of Debian 12 is missing: %v", err)
		}
		t.Skip("this test needs glslc of Debian 12")
	}
	dir := t.TempDir()
	if out, err := exec.Command("./compile-shaders", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sources, _ := filepath.Glob("*.comp")
	compiled, _ := filepath.Glob("spv/*.spv")
	if len(sources) != len(compiled) {
		t.Errorf("%d shaders, %d compiled", len(sources), len(compiled))
	}
	for _, path := range compiled {
		want, err := os.ReadFile(filepath.Join(dir, filepath.Base(path)))
		if err != nil {
			t.Error(err)
			continue
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs from its source: run go generate ./autograd/vulkan", path)
		}
	}
}

// TestCache checks that the next process reuses compiled shaders.
func TestCache(t *testing.T) {
	o := testOptions()
	o.Cache = filepath.Join(t.TempDir(), "vulkan")
	d := open(t, o)
	d.Scale(made(t, d, 1), 2)
	if err := d.Run(); err != nil {
		t.Fatal(err)
	}
	path := d.cachePath
	d.Close()
	kept, err := os.ReadFile(path)
	if err != nil || len(kept) == 0 {
		t.Fatalf("%d bytes are cached: %v", len(kept), err)
	}
	for _, content := range [][]byte{kept, []byte("no cache"), nil} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		d := open(t, o)
		x := made(t, d, 1)
		d.Scale(x, 2)
		if got := download(t, d, x)[0]; got != 2 {
			t.Errorf("with a cache of %d bytes 2·1 is %v", len(content), got)
		}
		d.Close()
	}
}
