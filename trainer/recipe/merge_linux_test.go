package recipe

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"mambatrain/mamba"
	"mambatrain/nn/weights"
)

// A merge for which there is no room leaves the file that was there before, and no other. A limit on the size of files
// takes the place of a full disk; it is set in a process that writes nothing else.
func TestMerge_noRoom(t *testing.T) {
	const variable = "MERGE_ROOM"
	if room := os.Getenv(variable); room != "" {
		mergeWithoutRoom(t, room)
		return
	}
	for _, room := range []string{"1000", "100000"} {
		c := exec.Command(os.Args[0], "-test.run=^TestMerge_noRoom$")
		c.Env = append(os.Environ(), variable+"="+room)
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("room for %s bytes: %v\n%s", room, err, out)
		}
	}
}

// mergeWithoutRoom merges while no file may become longer than room bytes.
func mergeWithoutRoom(t *testing.T, room string) {
	dir := t.TempDir()
	m := quantizedMerge(t, dir)
	file := filepath.Join(dir, "merged.gguf")
	if err := os.WriteFile(file, []byte("before"), 0o666); err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(room, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: n}); err != nil {
		t.Fatal(err)
	}
	_, err = m.WriteGGUF(t.Context(), file, mamba.GGUFOptions{Type: "Q4_K_M"}, func(string, *mamba.GGUFOptions) error { return nil })
	if !errors.Is(err, unix.EFBIG) {
		t.Errorf("got %v, want %v", err, unix.EFBIG)
	}
	checkUntouched(t, file)
	whole := t.TempDir()
	if _, err := m.Write(t.Context(), whole, mamba.SaveOptions{DType: weights.F32}); !errors.Is(err, unix.EFBIG) {
		t.Errorf("a directory: got %v, want %v", err, unix.EFBIG)
	}
	if list, _ := filepath.Glob(filepath.Join(whole, "*.safetensors")); len(list) > 0 {
		t.Errorf("%v is left", list)
	}
}
