package data

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"mambatrain/data/source"
	"mambatrain/internal/atomicfile"
	"mambatrain/internal/testfile"
)

// sameDocuments checks that two datasets are equal.
func sameDocuments(t *testing.T, got, want *Dataset) {
	t.Helper()
	if got.Len() != want.Len() || got.Stats() != want.Stats() || got.Fingerprint() != want.Fingerprint() {
		t.Fatalf("%d documents, %+v, %.8s, want %d, %+v, %.8s", got.Len(), got.Stats(), got.Fingerprint(), want.Len(), want.Stats(), want.Fingerprint())
	}
	for i := range want.Len() {
		g, w := got.Example(i), want.Example(i)
		if !slices.Equal(g.Tokens, w.Tokens) || !slices.Equal(g.Labels, w.Labels) || g.Row != w.Row {
			t.Fatalf("document %d: %+v, want %+v", i, g, w)
		}
	}
}

func promptRowsFile(t testing.TB) string {
	return testfile.Write(t, "pairs.jsonl", `{"prompt":"What is a river?","completion":" A road."}
{"prompt":"And the sea?","completion":" Where it ends, and where a good many others do."}
{"prompt":"x","completion":null}
`)
}

func promptConfig() Config {
	o := Default()
	o.Prompt, o.Completion, o.MaxLength = "prompt", "completion", 8
	return o
}

func TestOpen_spilling(t *testing.T) {
	o := promptConfig()
	want := open(t, promptRowsFile(t), tinyTokenizer(t), o)
	inputs, err := source.Resolve(t.Context(), []source.Input{{Path: promptRowsFile(t)}}, o.Config)
	if err != nil {
		t.Fatal(err)
	}
	b := newBuilder(inputs, tinyTokenizer(t), &o)
	b.spill = 1
	if err := b.build(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.file == nil {
		t.Fatal("nothing was spilled")
	}
	got := newDataset(b)
	sameDocuments(t, got, want)
	if err := got.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(b.file.file.Name()); !os.IsNotExist(err) {
		t.Errorf("the temporary file remains: %v", err)
	}
}

func TestCache(t *testing.T) {
	o := promptConfig()
	want := open(t, promptRowsFile(t), tinyTokenizer(t), o)
	o.Cache = t.TempDir()
	for range 2 {
		sameDocuments(t, open(t, promptRowsFile(t), tinyTokenizer(t), o), want)
	}
	files, err := filepath.Glob(filepath.Join(o.Cache, "*"))
	if err != nil || len(files) != 2 {
		t.Fatalf("the cache contains %v, want one .arrow and one .json", files)
	}
	other := o
	other.MaxLength = 9
	open(t, promptRowsFile(t), tinyTokenizer(t), other)
	if files, _ := filepath.Glob(filepath.Join(o.Cache, "*")); len(files) != 4 {
		t.Errorf("another max_length uses the same cache: %v", files)
	}
}

// The same bytes are other rows in a .csv file than in a .tsv file.
func TestCache_delimiter(t *testing.T) {
	const content = "text\none\ttwo\n" // in a .tsv file, the row has too many fields
	o := Default()
	o.Cache = t.TempDir()
	open(t, testfile.Write(t, "a.csv", content), tinyTokenizer(t), o)
	if _, err := Open(t.Context(), []source.Input{{Path: testfile.Write(t, "a.tsv", content)}}, tinyTokenizer(t), o); err == nil {
		t.Error("the .tsv file was read from the cache of the .csv file")
	}
}

func TestCache_concurrent(t *testing.T) {
	o, tok, path := promptConfig(), tinyTokenizer(t), promptRowsFile(t)
	want := open(t, path, tok, o)
	o.Cache = t.TempDir()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			d, err := Open(t.Context(), []source.Input{{Path: path}}, tok, o)
			if err != nil {
				t.Error(err)
				return
			}
			defer d.Close()
			if d.Fingerprint() != want.Fingerprint() || d.Len() != want.Len() {
				t.Errorf("%d documents, %.8s", d.Len(), d.Fingerprint())
			}
		})
	}
	group.Wait()
	if files, err := filepath.Glob(filepath.Join(o.Cache, ".*")); err != nil || len(files) > 0 {
		t.Errorf("%v is left behind, %v", files, err)
	}
}

// TestOpen_canceled cancels a build partway. Nothing may be left behind.
func TestOpen_canceled(t *testing.T) {
	o := Default()
	o.Cache = t.TempDir()
	path := testfile.Write(t, "rows.jsonl", strings.Repeat("{\"text\":\"small steps, taken daily\"}\n", 50000))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Open(endsOnceWatched{ctx, cancel}, []source.Input{{Path: path}}, tinyTokenizer(t), o)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if files, _ := os.ReadDir(o.Cache); len(files) > 0 {
		t.Errorf("%v is left behind", files)
	}
}

// endsOnceWatched is canceled by the first call of Done, which happens when the rows are about to be read.
type endsOnceWatched struct {
	context.Context
	end func()
}

func (c endsOnceWatched) Done() <-chan struct{} {
	c.end()
	return c.Context.Done()
}

// TestCache_damaged flips each byte of the cached file in turn, and truncates it.
func TestCache_damaged(t *testing.T) {
	o := promptConfig()
	path, tok := promptRowsFile(t), tinyTokenizer(t)
	want := open(t, path, tok, o)
	o.Cache = t.TempDir()
	open(t, path, tok, o)
	for _, ending := range []string{".arrow", ".json"} {
		files, _ := filepath.Glob(filepath.Join(o.Cache, "*"+ending))
		whole, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(whole); at += 13 {
			broken := slices.Clone(whole)
			broken[at] ^= 0x10
			if at%2 == 0 {
				broken = broken[:at]
			}
			// The cache in use is mapped, so a new file replaces it, as a copy or another process would do.
			if err := atomicfile.WriteFile(files[0], broken); err != nil {
				t.Fatal(err)
			}
			d, err := Open(t.Context(), []source.Input{{Path: path}}, tok, o)
			if err != nil {
				t.Fatal(err)
			}
			sameDocuments(t, d, want)
			d.Close()
		}
	}
}

// The error names a directory where tokens cannot be written, and nothing is left in it.
func TestStoreWriter_fails(t *testing.T) {
	dir := t.TempDir()
	w, err := newStoreWriter(dir)
	if err != nil {
		t.Fatal(err)
	}
	w.file.Close() // like on a full disk, nothing more can be written
	tokens := &source.Tokens{IDs: []int32{1}, Offsets: []int32{0, 1}, Rows: []int64{0}}
	if err := w.write(tokens); err == nil || !strings.Contains(err.Error(), "cannot write tokens to "+dir+": ") || strings.Contains(err.Error(), ".tmp") {
		t.Errorf("got %v", err)
	}
	w.abandon()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}
