package source

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"mambatrain/internal/format"
	"mambatrain/internal/inputfile"
)

// bufferBytes is how much of a text file is read at a time, and how much of it is inspected to detect its form.
const bufferBytes = 1 << 16

// textInput reads a file as UTF-8, decompressed, decoded, and without a byte order mark.
type textInput struct {
	*bufio.Reader
	source *File
	file   *os.File
	close  func()
	end    byte // end-of-line byte: '\n', or '\r' in old files
}

// openText opens a text file. Reading fails once ctx is done: a small compressed file may contain billions of blank lines.
func openText(ctx context.Context, f *File) (*textInput, error) {
	file, err := openFile(f.Path)
	if err != nil {
		return nil, err
	}
	in := &textInput{source: f, file: file, close: func() {}, end: '\n'}
	raw, err := in.decompress(bufio.NewReaderSize(file, bufferBytes))
	if err == nil {
		var text io.Reader
		if text, err = decodeText(ctx, raw, f.Encoding); err == nil {
			in.Reader = bufio.NewReaderSize(text, bufferBytes)
			return in, nil
		}
	}
	in.Close()
	return nil, fmt.Errorf("data: %s: %w", f.Path, err)
}

func (t *textInput) Close() error {
	t.close()
	return t.file.Close()
}

// openFile opens a data file for reading.
func openFile(path string) (*os.File, error) {
	file, err := inputfile.Open(path)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	return file, nil
}

// maxWindow limits the memory that a compressed file may require, as the zstd program does.
const maxWindow = 128 << 20

// zipMagic begins a zip archive.
const zipMagic = "PK\x03\x04"

var errZip = errors.New("is a zip archive, which is not supported: unpack it")

// decompress returns the content of a file that may be compressed. The first bytes decide, not the name.
func (t *textInput) decompress(in *bufio.Reader) (out *bufio.Reader, err error) {
	var content io.Reader
	head, _ := in.Peek(6)
	begins := func(magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }
	switch {
	case begins("\x1F\x8B"):
		content, err = gzip.NewReader(in)
	case begins("BZh") && isBzip2(in):
		content = bzip2.NewReader(in)
	case begins("\x28\xB5\x2F\xFD"):
		var d *zstd.Decoder
		if d, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow)); err == nil {
			content, t.close = d, d.Close
		}
	case begins("\x04\x22\x4D\x18"):
		content = &lz4Frames{in: in}
	case begins("\xFD7zXZ\x00"):
		err = errors.New("is compressed with xz, which is not supported: unpack it")
	case begins(zipMagic):
		err = errZip
	default:
		if ending := strings.ToLower(filepath.Ext(t.source.Path)); slices.Contains(compressions, ending) {
			return nil, fmt.Errorf("does not match its extension: not compressed as %s", ending)
		}
		return in, nil
	}
	if err != nil {
		return nil, err
	}
	return bufio.NewReaderSize(content, bufferBytes), nil
}

// isBzip2 distinguishes a compressed file from text that begins with the same letters.
func isBzip2(in *bufio.Reader) bool {
	const block, end = "\x31\x41\x59\x26\x53\x59", "\x17\x72\x45\x38\x50\x90"
	head, _ := in.Peek(10)
	return len(head) == 10 && (string(head[4:]) == block || string(head[4:]) == end)
}

// at wraps an error at a place in the file, unless err already names a better place.
func (f *File) at(place string, err error) error {
	if errors.As(err, new(*encodingError)) {
		return fmt.Errorf("data: %s: %w", f.Path, err)
	}
	return fmt.Errorf("data: %s: %s: %w", f.Path, place, err)
}

// DefaultMaxRowBytes is the maximum length of a row if nothing else is set.
const DefaultMaxRowBytes format.Bytes = 64 << 20

// maxRow returns the maximum number of bytes in a row.
func (f *File) maxRow() int {
	if f.MaxRowBytes > 0 {
		return int(f.MaxRowBytes)
	}
	return int(DefaultMaxRowBytes)
}

// tooLong returns the error for a row, or another unit, that is too long.
func (f *File) tooLong(what string) error {
	return fmt.Errorf("%s is longer than %v: raise data.max_row_bytes if that is intended", what, format.Bytes(f.maxRow()))
}

// line appends a line, including its end, to buffer, up to the maximum row length. what names the line in errors.
func (t *textInput) line(buffer []byte, what string) ([]byte, error) {
	for {
		part, err := t.ReadSlice(t.end)
		if buffer = append(buffer, part...); len(buffer) > t.source.maxRow() {
			return buffer, t.source.tooLong(what)
		}
		if err != bufio.ErrBufferFull {
			return buffer, err
		}
	}
}
