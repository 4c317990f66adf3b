package data

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// builder tokenises all sources into a store.
type builder struct {
	inputs  []resolvedInput
	tok     *Tokenizer
	options *Options
	store   *store
	sources []source
	stats   Stats
	digest  hash.Hash
}

func newBuilder(inputs []resolvedInput, tok *Tokenizer, o *Options) (*builder, error) {
	return &builder{inputs: inputs, tok: tok, options: o, stats: Stats{MaxToken: -1}, digest: sha256.New(),
		store: &store{close: func() error { return nil }}}, nil
}

func (b *builder) abandon() {}

func (b *builder) build(ctx context.Context) error {
	for _, in := range b.inputs {
		first := b.store.count
		t := tokeniser{files: in.files, tok: b.tok, options: b.options, memory: memory.DefaultAllocator}
		if b.options.MaxTrainSamples > 0 {
			if t.rows = b.options.MaxTrainSamples - b.stats.Rows; t.rows == 0 {
				break
			}
		}
		if err := t.run(ctx, b.sink); err != nil {
			return err
		}
		b.sources = append(b.sources, source{weight: in.weight, first: first, count: b.store.count - first})
	}
	return nil
}

func (b *builder) sink(c *chunk, s Stats) error {
	b.stats.add(s)
	b.store.append(c)
	b.digest.Write(int32Bytes(c.tokens))
	b.digest.Write(int32Bytes(c.labels))
	b.digest.Write(int32Bytes(c.offsets))
	return nil
}

func (b *builder) fingerprint() string { return hex.EncodeToString(b.digest.Sum(nil)) }

// int32Bytes views numbers as bytes, in the machine's order.
func int32Bytes(v []int32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
}
