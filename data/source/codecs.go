package source

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/golang/snappy"
	"github.com/klauspost/compress/zstd"
)

// Two of arrow's codecs trust the length in the compressed data instead of that of the page. These do not.
func init() {
	for _, kind := range []compress.Compression{compress.Codecs.Snappy, compress.Codecs.Zstd} {
		codec, err := compress.GetCodec(kind)
		if err != nil {
			panic(err)
		}
		if kind == compress.Codecs.Snappy {
			compress.RegisterCodec(kind, snappyCodec{codec})
		} else {
			compress.RegisterCodec(kind, zstdCodec{codec})
		}
	}
}

type snappyCodec struct{ compress.Codec }

// Decode decompresses the page into dst, whose length is that of the page. Like arrow's codec, it panics on errors.
func (snappyCodec) Decode(dst, src []byte) []byte {
	if n, err := snappy.DecodedLen(src); err != nil || n != len(dst) {
		panic(fmt.Errorf("snappy: a page of %d bytes, want %d", n, len(dst)))
	}
	out, err := snappy.Decode(dst, src)
	if err != nil {
		panic(err)
	}
	return out
}

type zstdCodec struct{ compress.Codec }

// zstdDecoders holds decoders for reuse: each one has tables and a window.
var zstdDecoders = sync.Pool{New: func() any {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		panic(err)
	}
	return d
}}

// Decode decompresses the page into dst, whose length is that of the page. Like arrow's codec, it panics on errors.
func (zstdCodec) Decode(dst, src []byte) []byte {
	d := zstdDecoders.Get().(*zstd.Decoder)
	defer zstdDecoders.Put(d)
	if err := d.Reset(bytes.NewReader(src)); err != nil {
		panic(err)
	}
	n, err := io.ReadFull(d, dst)
	if err != nil {
		panic(fmt.Errorf("zstd: a page of %d bytes, want %d: %w", n, len(dst), err))
	}
	return dst
}
