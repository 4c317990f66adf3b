package data

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"os"
	"unsafe"

	"mambatrain/data/source"
	"mambatrain/data/tokenizer"
)

// spillTokens is the number of tokens kept in memory, 32 MiB. Larger data goes to a memory-mapped file.
const spillTokens = 8 << 20

// builder tokenizes all sources into a store.
type builder struct {
	inputs   []source.FileSet
	tok      *tokenizer.Tokenizer
	config   *Config
	spill    int // tokens kept in memory
	store    *store
	file     *storeWriter // nil while everything is in memory
	portions []portion
	stats    Stats
	digest   hash.Hash
	known    string // fingerprint, if the data came from the cache
	joints   *joints
}

func newBuilder(inputs []source.FileSet, tok *tokenizer.Tokenizer, c *Config) *builder {
	return &builder{
		inputs: inputs, tok: tok, config: c, spill: spillTokens, stats: Stats{MaxToken: -1}, digest: sha256.New(),
		joints: new(joints),
		store:  &store{close: func() error { return nil }},
	}
}

// build fills the store from the cache if it has the data, otherwise from the sources.
func (b *builder) build(ctx context.Context) (err error) {
	defer func() {
		if err != nil && b.file != nil {
			b.file.abandon()
		}
	}()
	if b.config.Cache == "" {
		if err := b.tokenize(ctx); err != nil || b.file == nil {
			return err
		}
		b.store, err = b.file.finish()
		return err
	}
	cache, err := newCache(ctx, b)
	if err != nil {
		return err
	}
	if cache.load(ctx, b) {
		return nil
	}
	if b.file, err = newStoreWriter(b.config.Cache); err != nil {
		return err
	}
	if err := b.tokenize(ctx); err != nil {
		return err
	}
	return cache.save(b)
}

func (b *builder) tokenize(ctx context.Context) error {
	documents := 0
	for _, in := range b.inputs {
		p := pipeline{files: in.Files, tok: b.tok, config: b.config, joints: b.joints}
		if b.config.MaxTrainSamples > 0 {
			if p.rows = b.config.MaxTrainSamples - b.stats.Rows; p.rows == 0 {
				break
			}
		}
		if err := p.run(ctx, b.sink); err != nil {
			return err
		}
		b.portions = append(b.portions, portion{weight: in.Weight, first: documents, count: b.stats.Documents - documents, files: p.done})
		documents = b.stats.Documents
		b.joints.endSource()
	}
	b.joints.report(b.config.Warn)
	return nil
}

// sink receives the documents of one block, in source order.
func (b *builder) sink(t *source.Tokens, s Stats) error {
	b.stats.add(s)
	b.digest.Write(int32Bytes(t.IDs))
	b.digest.Write(int32Bytes(t.Labels))
	b.digest.Write(int32Bytes(t.Offsets))
	if b.file == nil && b.stats.Tokens > b.spill {
		var err error
		if b.file, err = newStoreWriter(os.TempDir()); err != nil {
			return fmt.Errorf("storing more than %d tokens in a file: %w", b.spill, err)
		}
		for _, kept := range b.store.tables {
			if err := b.file.write(kept); err != nil {
				return err
			}
		}
		*b.store = store{}
	}
	if b.file != nil {
		return b.file.write(t)
	}
	b.store.append(t)
	return nil
}

func (b *builder) fingerprint() string {
	if b.known != "" {
		return b.known
	}
	return hex.EncodeToString(b.digest.Sum(nil))
}

// int32Bytes returns the memory of v as bytes, in native byte order.
func int32Bytes(v []int32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
}
