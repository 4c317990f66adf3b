// Package inputfile opens files from other sources: models, adapters, tokenizers, and data. It reads only regular
// files, so that a pipe or a device under an expected name cannot block the program or feed it forever, and it
// recognizes the pointers that a Git clone without Git LFS contains in place of large files.
package inputfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
)

// Limits for files that are read whole. They are far above the sizes of real files.
const (
	MaxConfig    = 16 << 20  // JSON settings and indexes of weights
	MaxTokenizer = 512 << 20 // tokenizer.json; the largest vocabularies take about 40 MB
	MaxPrompts   = 256 << 20 // texts and conversations to continue
)

// Open opens a regular file for reading. Pipes, devices, directories, and Git LFS pointers are refused. If the file
// does not exist, the error wraps [fs.ErrNotExist].
func Open(path string) (*os.File, error) {
	info, err := os.Stat(path) // first, because opening a pipe waits for its writer
	if err != nil {
		return nil, err
	}
	if err := regular(path, info); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if info.Size() <= maxPointer {
		head := make([]byte, info.Size())
		n, _ := f.ReadAt(head, 0)
		if err := checkPointer(head[:n]); err != nil {
			f.Close()
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return f, nil
}

// Read returns the contents of a regular file of at most limit bytes. The rules of [Open] apply.
func Read(path string, limit int64) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	return readAll(f, path, limit)
}

// ReadAny returns the contents, at most limit bytes, of a file named by the user, which may be a pipe such as
// /dev/stdin. It returns when ctx ends, as [ReadStream] does.
func ReadAny(ctx context.Context, path string, limit int64) ([]byte, error) {
	b, err := until(ctx, func() ([]byte, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		return readAll(f, path, limit)
	})
	if err != nil {
		return nil, err
	}
	if err := checkPointer(b); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// ReadStream returns the contents of standard input or another stream, at most limit bytes; name is used in errors. It
// returns when ctx ends, even while waiting for input: the pending read cannot be stopped and is abandoned.
func ReadStream(ctx context.Context, r io.Reader, name string, limit int64) ([]byte, error) {
	return until(ctx, func() ([]byte, error) { return readLimited(r, name, limit) })
}

// until returns the result of read, or the error of ctx if ctx ends first.
func until(ctx context.Context, read func() ([]byte, error)) ([]byte, error) {
	type result struct {
		content []byte
		err     error
	}
	done := make(chan result, 1)
	go func() {
		b, err := read()
		done <- result{b, err}
	}()
	select {
	case r := <-done:
		return r.content, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func readAll(f *os.File, path string, limit int64) ([]byte, error) {
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, tooLong(path, limit)
	}
	return readLimited(f, path, limit) // a pipe, or a file in /proc, reports size 0
}

func readLimited(r io.Reader, name string, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = tooLong(name, limit)
	}
	return b, err
}

func tooLong(name string, limit int64) error {
	return fmt.Errorf("%s: is larger than the limit of %d MiB for such a file", name, limit>>20)
}

// regular returns nil for a regular file, and otherwise an error that states what the file is.
func regular(path string, info fs.FileInfo) error {
	what := ""
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		what = "a directory"
	case mode&fs.ModeNamedPipe != 0:
		what = "a pipe"
	case mode&fs.ModeSocket != 0:
		what = "a socket"
	default:
		what = "a device"
	}
	return fmt.Errorf("%s: is %s, want a file", path, what)
}

// maxPointer bounds the size of a Git LFS pointer. The specification requires less than 1,024 bytes.
const maxPointer = 1024

// errPointer is wrapped by the errors for Git LFS pointers.
var errPointer = errors.New("is a Git LFS pointer, not the file itself")

// checkPointer returns an error if head, the beginning of a file, is that of a Git LFS pointer. The error wraps
// [errPointer] and explains what to do.
func checkPointer(head []byte) error {
	for _, version := range []string{"https://git-lfs.github.com/spec/", "https://hawser.github.com/spec/"} {
		if !bytes.HasPrefix(head, []byte("version "+version)) {
			continue
		}
		size := ""
		for line := range bytes.Lines(head) {
			digits, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("size "))
			if n, err := strconv.ParseUint(string(digits), 10, 63); ok && err == nil {
				size = fmt.Sprintf(" of %d bytes", n)
			}
		}
		return fmt.Errorf(`%w%s: run "git lfs pull" in its repository, or download the file`, errPointer, size)
	}
	return nil
}
