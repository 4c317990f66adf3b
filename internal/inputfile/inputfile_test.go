package inputfile_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mambatrain/internal/inputfile"
)

const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:aaaa\nsize 2400000\n"

func TestRead(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if b, err := inputfile.Read(write("four", "1234"), 4); err != nil || string(b) != "1234" {
		t.Errorf("got %q, %v", b, err)
	}
	sparse := write("sparse", "")
	if err := os.Truncate(sparse, 6<<30); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct{ path, want string }{
		"too long":       {sparse, "is larger than the limit of 16 MiB"},
		"a directory":    {dir, "is a directory, want a file"},
		"a device":       {os.DevNull, "is a device, want a file"},
		"a pointer":      {write("pointer", pointer), "is a Git LFS pointer, not the file itself of 2400000 bytes: run"},
		"an old version": {write("old", "version https://hawser.github.com/spec/v1\n"), "is a Git LFS pointer"},
		"no such thing":  {filepath.Join(dir, "absent"), "no such file"},
	} {
		_, err := inputfile.Read(c.path, inputfile.MaxConfig)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.path) {
			t.Errorf("%s: error %v, want one with %q", what, err, c.want)
		}
		if got := errors.Is(err, fs.ErrNotExist); got != (what == "no such thing") {
			t.Errorf("%s: is ErrNotExist: %v", what, got)
		}
	}
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("version 2 of a text about https://git-lfs.github.com/spec/v1"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := inputfile.Read(text, inputfile.MaxConfig); err != nil {
		t.Error(err)
	}
}

// A stream that nobody writes to does not delay an interrupt, and an endless one is not read forever.
func TestReadStream(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	waiting, writer := io.Pipe()
	defer writer.Close()
	if _, err := inputfile.ReadStream(ctx, waiting, "standard input", 4); !errors.Is(err, context.Canceled) {
		t.Errorf("an interrupt: %v", err)
	}
	if b, err := inputfile.ReadStream(t.Context(), strings.NewReader("1234"), "standard input", 4); err != nil || string(b) != "1234" {
		t.Errorf("got %q, %v", b, err)
	}
	if _, err := inputfile.ReadStream(t.Context(), strings.NewReader("12345"), "standard input", 4); err == nil || !strings.Contains(err.Error(), "standard input: is larger than") {
		t.Errorf("too long: %v", err)
	}
	if _, err := os.Stat("/dev/zero"); err == nil {
		if _, err := inputfile.ReadAny(t.Context(), "/dev/zero", 1<<20); err == nil || !strings.Contains(err.Error(), "/dev/zero: is larger than the limit of 1 MiB") {
			t.Errorf("an endless device: %v", err)
		}
	}
}
