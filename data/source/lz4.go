package source

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/pierrec/lz4/v4"
)

// The two LZ4 codecs of the Parquet format that arrow/go lacks.
const (
	codecLZ4Hadoop compress.Compression = 5 // each block preceded by big-endian sizes, which some writers omit
	codecLZ4Raw    compress.Compression = 7
)

func init() {
	compress.RegisterCodec(codecLZ4Hadoop, lz4Codec{})
	compress.RegisterCodec(codecLZ4Raw, lz4Codec{})
}

// lz4Codec decompresses pages. It does not compress: nothing is written with it.
type lz4Codec struct{}

// Decode decompresses the page into dst, whose length is that of the page. The interface has no error result, so Decode
// panics and the reader names the row group.
func (lz4Codec) Decode(dst, src []byte) []byte {
	if n, ok := hadoopBlocks(dst, src); ok {
		return dst[:n]
	}
	n, err := lz4.UncompressBlock(src, dst)
	if err != nil {
		panic(fmt.Errorf("lz4: %w", err))
	}
	return dst[:n]
}

// hadoopBlocks decodes consecutive blocks, each preceded by its two sizes. It returns false for any other input.
func hadoopBlocks(dst, src []byte) (n int, ok bool) {
	for len(src) >= 8 {
		whole, packed := int(binary.BigEndian.Uint32(src)), int(binary.BigEndian.Uint32(src[4:]))
		src = src[8:]
		if packed > len(src) || whole > len(dst)-n {
			return 0, false
		}
		got, err := lz4.UncompressBlock(src[:packed], dst[n:n+whole])
		if err != nil || got != whole {
			return 0, false
		}
		n, src = n+whole, src[packed:]
	}
	return n, n == len(dst) && len(src) == 0
}

func (lz4Codec) Encode(_, _ []byte) []byte             { panic("lz4: writing is not supported") }
func (lz4Codec) EncodeLevel(_, _ []byte, _ int) []byte { panic("lz4: writing is not supported") }
func (lz4Codec) CompressBound(n int64) int64           { return int64(lz4.CompressBlockBound(int(n))) }
func (lz4Codec) NewReader(r io.Reader) io.ReadCloser   { return io.NopCloser(lz4.NewReader(r)) }
func (lz4Codec) NewWriter(w io.Writer) io.WriteCloser  { return lz4.NewWriter(w) }
func (lz4Codec) NewWriterLevel(w io.Writer, _ int) (io.WriteCloser, error) {
	return lz4.NewWriter(w), nil
}

// lz4Frames reads consecutive frames as one stream. The package's reader stops after the first one, and takes the end
// of a truncated file for the end of the frame.
type lz4Frames struct {
	in    *bufio.Reader
	frame *lz4.Reader // nil between frames
}

func (r *lz4Frames) Read(p []byte) (int, error) {
	for {
		if r.frame == nil {
			if _, err := r.in.Peek(1); err != nil {
				return 0, err
			}
			r.frame = lz4.NewReader(unfinished{r.in})
		}
		n, err := r.frame.Read(p)
		if err != io.EOF {
			return n, err
		}
		if r.frame = nil; n > 0 {
			return n, nil
		}
	}
}

// unfinished is a reader whose end is unexpected.
type unfinished struct{ io.Reader }

func (r unfinished) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
