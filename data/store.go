package data

import (
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"sort"

	"mambatrain/data/source"
	"mambatrain/internal/atomicfile"
	"mambatrain/internal/mappedfile"
)

// store contains the documents of a dataset, in memory or in a mapped file.
type store struct {
	tables []*source.Tokens
	firsts []int // index of each table's first document
	count  int
	close  func() error
}

func (s *store) append(t *source.Tokens) {
	if t.Len() == 0 {
		return
	}
	s.tables, s.firsts = append(s.tables, t), append(s.firsts, s.count)
	s.count += t.Len()
}

func (s *store) document(i int) source.Document {
	k := sort.SearchInts(s.firsts, i+1) - 1
	return s.tables[k].Document(i - s.firsts[k])
}

// length returns the number of tokens in document i.
func (s *store) length(i int) int { return len(s.document(i).IDs) }

// castagnoli is the polynomial for which current processors have an instruction.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// storeWriter writes tables to a temporary Arrow file.
type storeWriter struct {
	file   *atomicfile.File
	tokens source.TokenWriter
	sum    hash.Hash32
	size   int64
}

// newStoreWriter creates a file with a unique name in dir.
func newStoreWriter(dir string) (*storeWriter, error) {
	file, err := atomicfile.Create(dir)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	w := &storeWriter{file: file, sum: crc32.New(castagnoli)}
	if w.tokens, err = source.NewArrowTokenWriter(w); err != nil {
		w.abandon()
		return nil, w.failed(err)
	}
	return w, nil
}

// Write writes p to the file and updates the checksum.
func (w *storeWriter) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	w.sum.Write(p[:n])
	w.size += int64(n)
	return n, err
}

func (w *storeWriter) write(t *source.Tokens) error {
	if err := w.tokens.Write(t); err != nil {
		return w.failed(err)
	}
	return nil
}

// failed names the directory in a write error instead of the temporary file, whose name means nothing to the user.
func (w *storeWriter) failed(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return fmt.Errorf("data: cannot write tokens to %s: %w: set data.cache or TMPDIR to another directory", filepath.Dir(w.file.Name()), err)
}

// commit completes the file and moves it to path.
func (w *storeWriter) commit(path string) error {
	if err := w.tokens.Close(); err != nil {
		return w.failed(err)
	}
	if err := w.file.Commit(path); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	return nil
}

// finish completes a temporary file and maps it. Closing the store removes the file.
func (w *storeWriter) finish() (*store, error) {
	if err := w.tokens.Close(); err != nil {
		return nil, w.failed(err)
	}
	s, err := mapStore(w.file.Name())
	if err != nil {
		return nil, err
	}
	unmap := s.close
	s.close = func() error { return errors.Join(unmap(), w.file.Close(), removeIfThere(w.file.Name())) }
	return s, nil
}

// abandon removes an unfinished file.
func (w *storeWriter) abandon() { w.file.Abort() }

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// mapStore maps a file written by storeWriter. The tables point into the mapping.
func mapStore(path string) (*store, error) {
	m, err := mappedfile.Open(path)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	s, err := newStore(m.Bytes)
	if err != nil {
		m.Close()
		return nil, fmt.Errorf("data: %s: %w", path, err)
	}
	s.close = m.Close
	return s, nil
}

// newStore returns the documents in a file written by storeWriter.
func newStore(file []byte) (*store, error) {
	tables, err := source.ParseArrowTokens(file)
	if err != nil {
		return nil, err
	}
	s := &store{}
	for _, t := range tables {
		s.append(t)
	}
	return s, nil
}
