package source

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"mambatrain/internal/fault"
	"mambatrain/internal/testfile"
)

// texts returns the nonempty texts of a source.
func texts(t testing.TB, path string, c Config) (out []string) {
	t.Helper()
	for row, err := range Rows(t.Context(), []Input{{Path: path}}, c) {
		if err != nil {
			t.Fatal(err)
		}
		if s, _ := row["text"].(string); s != "" {
			out = append(out, s)
		}
	}
	return out
}

func checkTexts(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("documents %q, want %q", got, want)
	}
}

func TestFormats(t *testing.T) {
	var c Config
	for name, content := range map[string]string{
		"a.jsonl": "\xEF\xBB\xBF{\"text\":\"one\"}\n\n{\"text\":\"two\\nlines\",\"more\":[1,{}]}\r\n{\"text\":null}\n{\"other\":1}\n{\"text\":\"\"}\n{\"text\":\"drei — 漢字\"}",
		"a.json":  " [ {\"text\":\"one\"}, {\"text\":\"two\\nlines\"},{\"text\":\"\"},\n{\"text\":\"drei — 漢字\"}]\n",
		"b.json":  "{\"text\":\"one\"}\n{\"text\":\"two\\nlines\"}\n{\"text\":\"drei — 漢字\"}\n",
		"a.csv":   "\xEF\xBB\xBFid,text\n1,one\n2,\"two\nlines\"\n3,\n4,drei — 漢字\n",
		"a.tsv":   "text\tid\none\t1\n\"two\nlines\"\t2\ndrei — 漢字\t3",
		"a.txt":   "one\n\n\n  \ntwo\nlines\n\ndrei — 漢字\n",
	} {
		t.Run(name, func(t *testing.T) {
			checkTexts(t, texts(t, testfile.Write(t, name, content), c), "one", "two\nlines", "drei — 漢字")
			var zipped bytes.Buffer
			z := gzip.NewWriter(&zipped)
			z.Write([]byte(content))
			z.Close()
			checkTexts(t, texts(t, testfile.Write(t, name+".gz", zipped.String()), c), "one", "two\nlines", "drei — 漢字")
		})
	}
}

// Compressed files may be concatenated, as by cat, and a truncated one is an error.
func TestFormats_concatenated(t *testing.T) {
	parts := []string{"one\n", "", strings.Repeat("two ", 100) + "\n", strings.Repeat("three ", 50_000) + "\n"}
	want := strings.Split(strings.TrimSuffix(strings.Join(parts, ""), "\n"), "\n")
	for ending, newWriter := range map[string]func(io.Writer) io.WriteCloser{
		".gz":  func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
		".lz4": func(w io.Writer) io.WriteCloser { return lz4.NewWriter(w) },
		".zst": func(w io.Writer) io.WriteCloser {
			z, err := zstd.NewWriter(w)
			if err != nil {
				t.Fatal(err)
			}
			return z
		},
	} {
		var packed bytes.Buffer
		for _, part := range parts {
			w := newWriter(&packed)
			io.WriteString(w, part)
			w.Close()
		}
		path := testfile.Write(t, "a.txt"+ending, packed.String())
		checkTexts(t, texts(t, path, Config{Format: "text:line"}), want...)
		for _, left := range []int{1, 4, 8, 9} {
			path := testfile.Write(t, "a.txt"+ending, packed.String()[:packed.Len()-left])
			if err := lastError(t, path); err == nil {
				t.Errorf("%s without its last %d bytes: no error", ending, left)
			}
		}
	}
}

func TestTextDocuments(t *testing.T) {
	var c Config
	path := testfile.Write(t, "notes", "first one\r\nsecond one\r\n\r\nthird one")
	for format, want := range map[string][]string{
		"text":           {"first one\r\nsecond one", "third one"},
		"text:paragraph": {"first one\r\nsecond one", "third one"},
		"text:line":      {"first one", "second one", "third one"},
		"text:file":      {"first one\r\nsecond one\r\n\r\nthird one"},
	} {
		c.Format = format
		checkTexts(t, texts(t, path, c), want...)
	}
	for content, want := range map[string][]string{"a\rb\rc": {"a", "b", "c"}, "a\rb\r\rc\r": {"a\rb", "c"}} { // old line endings
		c.Format = "text"
		checkTexts(t, texts(t, testfile.Write(t, "notes", content), c), want...)
	}
	checkTexts(t, texts(t, testfile.Write(t, "lines", "one one\ntwo two\n"), c), "one one", "two two")
}

func TestGlobsAndDirectories(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"b/2.jsonl": "two", "a/1.jsonl": "one", "README.md": "", ".hidden/3.jsonl": "three", "c.txt": "four"} {
		path := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(path), 0o777)
		if err := os.WriteFile(path, []byte(`{"text":"`+text+` x"}`), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	var c Config
	checkTexts(t, texts(t, dir, c), "one x", "two x")
	checkTexts(t, texts(t, filepath.Join(dir, "*", "*.jsonl"), c), "one x", "two x")
}

// arrowRecord returns three rows of a text column in a form that the datasets library or pandas may write.
func arrowRecord(kind arrow.DataType) arrow.Record {
	schema := arrow.NewSchema([]arrow.Field{{Name: "text", Type: kind, Nullable: true}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for _, s := range []string{"one", "", "two"} {
		if s == "" {
			b.Field(0).AppendNull()
		} else if err := b.Field(0).AppendValueFromString(s); err != nil {
			panic(err)
		}
	}
	return b.NewRecord()
}

func TestArrowFiles(t *testing.T) {
	for _, kind := range []arrow.DataType{
		arrow.BinaryTypes.String, arrow.BinaryTypes.LargeString,
		&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String},
	} {
		record := arrowRecord(kind)
		var stream, file bytes.Buffer
		w := ipc.NewWriter(&stream, ipc.WithSchema(record.Schema()))
		f, err := ipc.NewFileWriter(&seekBuffer{&file}, ipc.WithSchema(record.Schema()))
		if err != nil {
			t.Fatal(err)
		}
		for _, write := range []func(arrow.Record) error{w.Write, f.Write} {
			for range 2 {
				if err := write(record); err != nil {
					t.Fatal(err)
				}
			}
		}
		w.Close()
		f.Close()
		for _, b := range []*bytes.Buffer{&stream, &file} {
			checkTexts(t, texts(t, testfile.Write(t, "data.arrow", b.String()), Config{}), "one", "two", "one", "two")
		}
	}
}

// seekBuffer is a buffer that reports its position.
type seekBuffer struct{ *bytes.Buffer }

func (b *seekBuffer) Seek(int64, int) (int64, error) { return int64(b.Len()), nil }

func TestRows_faults(t *testing.T) {
	for _, c := range []struct {
		name, content string
		want          []string
	}{
		{"a.jsonl", "{\"text\":\"a\"}\n{\"text\":", []string{"a.jsonl: line 2", "object"}},
		{"a.jsonl", "{\"text\":\"a\"}\n7\n", []string{"a.jsonl: line 2", "object"}},
		{"a.json", "[{\"text\":\"a\"},", []string{"a.json", "element 2"}},
		{"a.csv", "text,x\na,b\nc,d,e\n", []string{"a.csv", "line 3", "3 fields", "2 columns"}},
		{"a.csv", "text,text\n", []string{"a.csv", "twice"}},
		{"a.csv", "", []string{"a.csv", "header"}},
		{"a.parquet", "PAR1 what is this?", []string{"a.parquet", "Parquet"}},
		{"a.arrow", "ARROW1 what is this?", []string{"a.arrow", "Arrow"}},
		{"a.xyz", "what is this?", []string{"a.xyz", "format"}},
	} {
		err := lastError(t, testfile.Write(t, c.name, c.content))
		if err == nil || errors.Is(err, fault.ErrNotFound) {
			t.Errorf("%s %q: error %v", c.name, c.content, err)
			continue
		}
		for _, part := range append(c.want, "data") {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s %q: error %q has no %q", c.name, c.content, err, part)
			}
		}
	}
	for path, want := range map[string]string{"no/such/file.parquet": "no such file", "none-*.jsonl": "no file matches", "a[*": "syntax error in pattern", "a:b:c:d": "want id, id:split", "https://x.test/a.jsonl": "URLs are not supported"} {
		if err := lastError(t, path); !errors.Is(err, fault.ErrNotFound) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want ErrNotFound with %q", path, err, want)
		}
	}
}

// lastError reads a source to its end or first error.
func lastError(t *testing.T, path string) (err error) {
	for _, err = range Rows(t.Context(), []Input{{Path: path}}, Config{}) {
	}
	return err
}

// drain reads a source to its end or first error and returns the number of rows.
func drain(t testing.TB, f *File, m memory.Allocator) (rows int, err error) {
	r, err := f.open(t.Context(), m)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	r.Project(r.Columns())
	for {
		b, err := r.Next(t.Context())
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return rows, err
		}
		rows += b.Rows
		err = readValues(b)
		b.Release()
		if err != nil {
			return rows, err
		}
	}
}

// readValues reads each value with every method.
func readValues(b *Block) error {
	return b.Read(func() error {
		for _, c := range b.Columns {
			for i := range b.Rows {
				c.Text(i)
				c.Ints(nil, i)
				if _, err := c.Value(i); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// TestDamagedParquet flips bytes of a small Parquet file. The result must be rows or an error that names the file, with
// no crash and no leaked memory.
func TestDamagedParquet(t *testing.T) {
	var tokens Tokens
	tokens.Reset()
	for i := range 20 {
		tokens.Append([]int32{int32(i), 300, 7, 300}, nil, 2*i, 0)
		tokens.Append(nil, nil, 2*i+1, 0)
	}
	tokens.Labels = nil
	var good bytes.Buffer
	w, err := NewTokenWriter(&good, "good.parquet")
	if err == nil {
		err = errors.Join(w.Write(&tokens), w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	whole := good.Bytes()
	path := filepath.Join(t.TempDir(), "bad.parquet")
	faults := 0
	for at := range whole {
		bad := bytes.Clone(whole)
		bad[at] ^= 0x55
		if at%5 == 0 {
			bad = bad[:at]
		}
		if err := os.WriteFile(path, bad, 0o666); err != nil {
			t.Fatal(err)
		}
		checked := memory.NewCheckedAllocator(memory.DefaultAllocator)
		_, err := drain(t, &File{Path: path, Format: "parquet"}, checked)
		if err != nil {
			faults++
			if !strings.Contains(err.Error(), "bad.parquet") {
				t.Errorf("byte %d: error %q does not name the file", at, err)
			}
		}
		if n := checked.CurrentAlloc(); n != 0 {
			t.Fatalf("byte %d: %d bytes were leaked, error %v", at, n, err)
		}
	}
	if faults < len(whole)/5 {
		t.Errorf("%d faults found in %d damaged files", faults, len(whole))
	}
}

// TestParquetMemory reads the shared variants completely and partially. No Arrow memory may be leaked.
func TestParquetMemory(t *testing.T) {
	for _, name := range []string{"none", "snappy_rg7", "zstd_v2", "nodict_delta", "smallpages", "lz4", "large_string", "empty", "text_only"} {
		path := testfile.Shared(t, "english_quotes/variants/"+name+".parquet")
		m := checkedMemory(t)
		if _, err := drain(t, &File{Path: path, Format: "parquet"}, m); err != nil {
			t.Error(err)
		}
		r, err := openParquet(&File{Path: path, Format: "parquet"}, m)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := r.Next(t.Context()); err == nil {
			defer b.Release() // after the reader is closed, because a worker may still use it
		}
		r.Close()
	}
}

func TestRows(t *testing.T) {
	inputs := []Input{
		{Path: testfile.Write(t, "a.jsonl", `{"q":"x","n":1,"list":["a",{"b":null}]}`+"\n{\"q\":null}\n")},
		{Path: testfile.Write(t, "b.csv", "q,n\ny,2\n")},
	}
	var got []string
	for row, err := range Rows(t.Context(), inputs, Config{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, testfile.JSON(t, row))
	}
	checkTexts(t, got, `{"list":["a",{"b":null}],"n":1,"q":"x"}`, `{"list":null,"n":null,"q":null}`, `{"n":"2","q":"y"}`)
	bad := []Input{{Path: testfile.Write(t, "a.jsonl", "{\"q\":1}\n{")}}
	last := error(nil)
	for _, err := range Rows(t.Context(), bad, Config{}) {
		last = err
	}
	if last == nil || !strings.Contains(last.Error(), "line 2") {
		t.Errorf("error %v, want one about line 2", last)
	}
}
