//go:build unix

package atomicfile_test

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"mambatrain/internal/atomicfile"
)

// TestWriteOutput_pipe: a pipe is written to and remains a pipe.
func TestWriteOutput_pipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o666); err != nil {
		t.Skip(err)
	}
	for _, write := range []func(string, func(io.Writer) error) error{atomicfile.WriteOutput, atomicfile.Write} {
		got := make(chan string)
		go func() {
			b, _ := os.ReadFile(path)
			got <- string(b)
		}()
		if err := write(path, text("through")); err != nil {
			t.Fatal(err)
		}
		if s := <-got; s != "through" {
			t.Errorf("got %q", s)
		}
	}
	if info, err := os.Lstat(path); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		t.Errorf("it is %v now, %v", info.Mode(), err)
	}
	if err := atomicfile.WriteOutput(os.DevNull, text("x")); err != nil {
		t.Error(err)
	}
	if info, err := os.Lstat(os.DevNull); err != nil || info.Mode()&os.ModeDevice == 0 {
		t.Errorf("%s is %v now, %v", os.DevNull, info.Mode(), err)
	}
}

// TestWriteOutput_standard: if standard output is a file, output is appended to it.
func TestWriteOutput_standard(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	defer func(old *os.File) { os.Stdout = old }(os.Stdout)
	os.Stdout = f
	f.WriteString("before ")
	if err := atomicfile.WriteOutput("/dev/stdout", text("rows ")); err != nil {
		t.Fatal(err)
	}
	f.WriteString("after")
	if got := content(t, path); got != "before rows after" {
		t.Errorf("the file has %q", got)
	}
}
