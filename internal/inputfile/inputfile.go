// Package inputfile opens files that come from others: models, adapters, tokenizers and data. It reads regular files only,
// so that a pipe or a device under an expected name cannot block or feed the program for ever, and it recognizes the
// pointers that a Git clone without Git LFS has in the place of large files.
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

// Limits for files that are read whole. They are far above what real files need.
const (
	MaxConfig    = 16 << 20  // JSON settings and indexes of weights
	MaxTokenizer = 512 << 20 // tokenizer.json; the largest vocabularies take some 40 MB
	MaxPrompts   = 256 << 20 // texts and conversations to continue
)

// Open opens a regular file for reading. A pipe, a device and a directory are refused, and so is a Git LFS pointer. The
// error of a file that does not exist wraps [fs.ErrNotExist].
func Open(path string) (*os.File, error) {
	info, err := os.Stat(path) // first: opening a pipe waits for its writer
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

// Read returns the contents of a regular file of at most limit bytes, under the rules of [Open].
func Read(path string, limit int64) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	return readAll(f, path, limit)
}

// ReadAny returns the contents, at most limit bytes, of what the user has named, which may be a pipe such as /dev/stdin. It
// returns when ctx ends, as [ReadStream] does.
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

// ReadStream returns the contents of standard input or the like, at most limit bytes; name is for errors. It returns when ctx
// ends, even while it waits for somebody to write: that read, which nothing can stop, is left behind.
func ReadStream(ctx context.Context, r io.Reader, name string, limit int64) ([]byte, error) {
	return until(ctx, func() ([]byte, error) { return readLimited(r, name, limit) })
}

// until returns what read returns, or the error of ctx if that ends first.
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
	return readLimited(f, path, limit) // the size of a pipe, and of a file in /proc, is 0
}

func readLimited(r io.Reader, name string, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = tooLong(name, limit)
	}
	return b, err
}

func tooLong(name string, limit int64) error {
	return fmt.Errorf("%s: is longer than the %d MiB that such a file can have", name, limit>>20)
}

// regular returns an error that says what a file is if it is not a regular one.
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

// maxPointer bounds a Git LFS pointer; its specification says that it is shorter than 1,024 bytes.
const maxPointer = 1024

// errPointer is wrapped by the errors of Git LFS pointers.
var errPointer = errors.New("is a Git LFS pointer, not the file itself")

// checkPointer returns an error that wraps [errPointer] and says what to do if head, the beginning of a file, is that of a
// Git LFS pointer.
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
		return fmt.Errorf(`%w%s: run "git lfs pull" in its repository, or download it`, errPointer, size)
	}
	return nil
}
