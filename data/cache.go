package data

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"mambatrain/internal/atomicfile"
	"mambatrain/internal/contenthash"
	"mambatrain/internal/inputfile"
	"mambatrain/internal/mappedfile"
)

// cacheVersion must change whenever the same source would produce different tokens or a different file.
const cacheVersion = "5"

// cache stores the tokenized form of one source under one configuration: KEY.arrow, and KEY.json, which describes it
// and is written last. Each file is written atomically, and two processes write the same bytes.
type cache struct {
	dir, key string
}

// cacheSummary is the content of KEY.json.
type cacheSummary struct {
	Size        int64
	CRC32C      uint32
	Fingerprint string
	Stats       Stats
	Documents   []int   // per source
	Rows        [][]int // per source and file
	Warning     string  // about how prompts and completions join
	Check       string
}

// sum returns the hash of all fields except Check.
func (s cacheSummary) sum() string {
	s.Check = ""
	return contenthash.Sum(fmt.Appendf(nil, "%+v", s))
}

// newCache derives the key from the contents of the sources, the tokenizer, and the settings that affect tokens.
func newCache(ctx context.Context, b *builder) (*cache, error) {
	if err := os.MkdirAll(b.config.Cache, 0o777); err != nil {
		return nil, fmt.Errorf("data: cache: %w", err)
	}
	o := *b.config
	o.Cache, o.Shuffle, o.Packing, o.MaxRowBytes = "", false, false, 0
	settings, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	parts := [][]byte{[]byte(cacheVersion), settings}
	if b.tok != nil {
		parts = append(parts, []byte(b.tok.Digest()))
	}
	for _, in := range b.inputs {
		parts = append(parts, []byte("source"))
		for _, f := range in.Files {
			sum, err := fileHash(ctx, f.Path)
			if err != nil {
				return nil, err
			}
			parts = append(parts, []byte(f.Format), []byte(f.Encoding), []byte(f.Delimiter), sum)
		}
	}
	return &cache{b.config.Cache, contenthash.Sum(parts...)[:32]}, nil
}

// fileHash returns the SHA-256 of a file.
func fileHash(ctx context.Context, path string) ([]byte, error) {
	f, err := inputfile.Open(path)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, contextReader{ctx, f}); err != nil {
		return nil, fmt.Errorf("data: %s: %w", path, err)
	}
	return h.Sum(nil), nil
}

// contextReader fails once ctx is done.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

func (c *cache) path(ending string) string { return filepath.Join(c.dir, c.key+ending) }

// load fills b from the cache. It returns false if there is no entry or the entry cannot be trusted; the caller then
// rebuilds it.
func (c *cache) load(ctx context.Context, b *builder) bool {
	raw, err := inputfile.Read(c.path(".json"), inputfile.MaxConfig)
	if err != nil {
		return false
	}
	var s cacheSummary
	if json.Unmarshal(raw, &s) != nil || s.Check != s.sum() || len(s.Documents) > len(b.inputs) || len(s.Rows) != len(s.Documents) {
		return false
	}
	m, err := mappedfile.Open(c.path(".arrow"))
	if err != nil {
		return false
	}
	sum := crc32.New(castagnoli)
	_, err = io.Copy(sum, contextReader{ctx, bytes.NewReader(m.Bytes)})
	if err != nil || int64(len(m.Bytes)) != s.Size || sum.Sum32() != s.CRC32C {
		m.Close()
		return false
	}
	st, err := newStore(m.Bytes)
	if err != nil || st.count != s.Stats.Documents {
		m.Close()
		return false
	}
	st.close = m.Close
	b.store, b.stats, b.known = st, s.Stats, s.Fingerprint
	first := 0
	for k, n := range s.Documents {
		p := portion{weight: b.inputs[k].Weight, first: first, count: n}
		for i, rows := range s.Rows[k][:min(len(s.Rows[k]), len(b.inputs[k].Files))] {
			p.files = append(p.files, fileRows{b.inputs[k].Files[i].Path, rows})
		}
		b.portions = append(b.portions, p)
		first += n
	}
	b.joints.found = s.Warning
	b.joints.report(b.config.Warn)
	return true
}

// save commits b's file to the cache and maps it.
func (c *cache) save(b *builder) error {
	if err := b.file.commit(c.path(".arrow")); err != nil {
		return err
	}
	s := cacheSummary{Size: b.file.size, CRC32C: b.file.sum.Sum32(), Fingerprint: b.fingerprint(), Stats: b.stats, Documents: []int{}, Rows: [][]int{}, Warning: b.joints.found}
	for _, p := range b.portions {
		rows := []int{}
		for _, f := range p.files {
			rows = append(rows, f.rows)
		}
		s.Documents, s.Rows = append(s.Documents, p.count), append(s.Rows, rows)
	}
	s.Check = s.sum()
	raw, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.WriteFile(c.path(".json"), append(raw, '\n')); err != nil {
		return fmt.Errorf("data: cache: %w", err)
	}
	b.store, err = mapStore(c.path(".arrow"))
	return err
}
