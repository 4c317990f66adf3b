package data

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mambatrain/internal/fault"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// texts reads a source with the tiny tokenizer and returns its documents as text.
func texts(t testing.TB, path string, o Options) (out []string) {
	t.Helper()
	tok := tinyTokenizer(t)
	d := open(t, path, tok, o)
	for i := range d.Len() {
		out = append(out, tok.DecodeText(d.Example(i).Tokens))
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
	o := DefaultOptions()
	for name, content := range map[string]string{
		"a.jsonl": "\xEF\xBB\xBF{\"text\":\"one\"}\n\n{\"text\":\"two\\nlines\",\"more\":[1,{}]}\r\n{\"text\":null}\n{\"other\":1}\n{\"text\":\"\"}\n{\"text\":\"drei — 漢字\"}",
		"a.json":  " [ {\"text\":\"one\"}, {\"text\":\"two\\nlines\"},{\"text\":\"\"},\n{\"text\":\"drei — 漢字\"}]\n",
		"b.json":  "{\"text\":\"one\"}\n{\"text\":\"two\\nlines\"}\n{\"text\":\"drei — 漢字\"}\n",
		"a.csv":   "\xEF\xBB\xBFid,text\n1,one\n2,\"two\nlines\"\n3,\n4,drei — 漢字\n",
		"a.tsv":   "text\tid\none\t1\n\"two\nlines\"\t2\ndrei — 漢字\t3",
		"a.txt":   "one\n\n\n  \ntwo\nlines\n\ndrei — 漢字\n",
	} {
		t.Run(name, func(t *testing.T) {
			checkTexts(t, texts(t, writeFile(t, name, content), o), "one", "two\nlines", "drei — 漢字")
			var zipped bytes.Buffer
			z := gzip.NewWriter(&zipped)
			z.Write([]byte(content))
			z.Close()
			checkTexts(t, texts(t, writeFile(t, name+".gz", zipped.String()), o), "one", "two\nlines", "drei — 漢字")
		})
	}
}

func TestTextDocuments(t *testing.T) {
	o := DefaultOptions()
	path := writeFile(t, "notes", "first one\r\nsecond one\r\n\r\nthird one")
	for format, want := range map[string][]string{
		"text":           {"first one\r\nsecond one", "third one"},
		"text:paragraph": {"first one\r\nsecond one", "third one"},
		"text:line":      {"first one", "second one", "third one"},
		"text:file":      {"first one\r\nsecond one\r\n\r\nthird one"},
	} {
		o.Format = format
		checkTexts(t, texts(t, path, o), want...)
	}
	o.Format = "text"
	checkTexts(t, texts(t, writeFile(t, "lines", "one one\ntwo two\n"), o), "one one", "two two")
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
	o := DefaultOptions()
	checkTexts(t, texts(t, dir, o), "one x", "two x")
	checkTexts(t, texts(t, filepath.Join(dir, "*", "*.jsonl"), o), "three x", "one x", "two x")
}

// arrowRecord has the text column of three rows as the datasets library and pandas may write it.
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
			checkTexts(t, texts(t, writeFile(t, "data.arrow", b.String()), DefaultOptions()), "one", "two", "one", "two")
		}
	}
}

// seekBuffer is a buffer that tells where it is.
type seekBuffer struct{ *bytes.Buffer }

func (b *seekBuffer) Seek(int64, int) (int64, error) { return int64(b.Len()), nil }

func TestSourceFaults(t *testing.T) {
	tok := tinyTokenizer(t)
	for _, c := range []struct {
		name, content string
		change        func(*Options)
		want          []string
	}{
		{"a.jsonl", "{\"text\":\"a\"}\n{\"text\":", nil, []string{"a.jsonl: line 2", "object"}},
		{"a.jsonl", "{\"text\":\"a\"}\n7\n", nil, []string{"a.jsonl: line 2", "object"}},
		{"a.jsonl", "{\"text\":\"a\"}\n{\"text\":[1]}\n", nil, []string{"a.jsonl: line 2", `"text"`, "a list", "want text"}},
		{"a.jsonl", "{\"txt\":\"a\",\"author\":\"b\"}\n", nil, []string{"a.jsonl", `no column "text"`, `did you mean "txt"`, "author, txt", "dataset_text_field"}},
		{"a.json", "[{\"text\":\"a\"},", nil, []string{"a.json", "element 2"}},
		{"a.csv", "text,x\na,b\nc\n", nil, []string{"a.csv", "line 3", "fields"}},
		{"a.csv", "text,text\n", nil, []string{"a.csv", "twice"}},
		{"a.csv", "", nil, []string{"a.csv", "header"}},
		{"a.parquet", "PAR1 what is this?", nil, []string{"a.parquet", "Parquet"}},
		{"a.arrow", "ARROW1 what is this?", nil, []string{"a.arrow", "Arrow"}},
		{"a.xyz", "what is this?", nil, []string{"a.xyz", "format"}},
		{"a.jsonl", "{\"text\":\"a\"}", func(o *Options) { o.Template = "{{.txet}}" }, []string{`no column "txet"`, `"text"`, "data.template"}},
		{"a.jsonl", "{\"text\":\"a\"}", func(o *Options) { o.Template = "{{.text" }, []string{"data.template"}},
		{"a.jsonl", "{\"text\":\"a\"}", func(o *Options) { o.Completion = "answer" }, []string{`no column "answer"`, "data.completion"}},
		{"a.jsonl", "{\"text\":\"one two three four five six\"}", func(o *Options) { o.Truncation, o.MaxLength = "error", 3 }, []string{"line 1", "data.max_length is 3"}},
		{"a.jsonl", "{\"input_ids\":[1,2]}", func(o *Options) { o.Template = "{{.x}}" }, []string{"input_ids", "data.template"}},
		{"a.jsonl", "{\"input_ids\":[1,2],\"labels\":[1]}", nil, []string{"line 1", "1 labels for 2"}},
		{"a.jsonl", "{\"input_ids\":[1,2],\"attention_mask\":[1]}", nil, []string{"line 1", "attention_mask of 1"}},
		{"a.jsonl", "{\"input_ids\":[1,-2]}", nil, []string{"line 1", "-2"}},
		{"a.jsonl", "{\"input_ids\":[1,2.5]}", nil, []string{"line 1", "2.5"}},
		{"a.jsonl", "{\"input_ids\":[1,4294967296]}", nil, []string{"line 1", "4294967296"}},
		{"a.jsonl", "{\"text\":\"\"}", nil, []string{"nothing to train on", "1 empty"}},
	} {
		o := DefaultOptions()
		if c.change != nil {
			c.change(&o)
		}
		_, err := Open(t.Context(), []Input{{Path: writeFile(t, c.name, c.content)}}, tok, o)
		if err == nil {
			t.Errorf("%s %q: no error", c.name, c.content)
			continue
		}
		if missing := strings.Contains(err.Error(), "no column"); missing != errors.Is(err, fault.ErrNotFound) {
			t.Errorf("%q: fault.ErrNotFound is %v", err, !missing)
		}
		for _, part := range append(c.want, "data") {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s %q: error %q has no %q", c.name, c.content, err, part)
			}
		}
	}
	for path, want := range map[string]string{"no/such/file.parquet": "no such file", "none-*.jsonl": "no file matches"} {
		_, err := Open(t.Context(), []Input{{Path: path}}, tok, DefaultOptions())
		if !errors.Is(err, fault.ErrNotFound) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want fault.ErrNotFound with %q", path, err, want)
		}
	}
}

// drain reads a source to its end or first fault and returns how many rows it gave.
func drain(t testing.TB, f *sourceFile, m memory.Allocator) (rows int, err error) {
	r, err := f.open(m)
	if err != nil {
		return 0, err
	}
	defer r.close()
	r.project(r.columns())
	for {
		b, err := r.next(t.Context())
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return rows, err
		}
		rows += b.rows
		err = readValues(b)
		b.release()
		if err != nil {
			return rows, err
		}
	}
}

func readValues(b *block) (err error) {
	defer b.recovered(&err)
	for _, c := range b.columns {
		for i := range b.rows {
			if _, err := c.value(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestDamagedParquet flips bytes of a small Parquet file: an error that names the file, or rows, but neither a crash
// nor memory that is left.
func TestDamagedParquet(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "good.parquet")
	tok := tinyTokenizer(t)
	rows := writeFile(t, "rows.jsonl", strings.Repeat("{\"text\":\"small steps\"}\n{\"text\":\"\"}\n", 20))
	if _, err := WriteTokens(t.Context(), []Input{{Path: rows}}, tok, DefaultOptions(), source); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "bad.parquet")
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
		_, err := drain(t, &sourceFile{path: path, format: "parquet"}, checked)
		if err != nil {
			faults++
			if !strings.Contains(err.Error(), "bad.parquet") {
				t.Errorf("byte %d: error %q does not name the file", at, err)
			}
		}
		if n := checked.CurrentAlloc(); n != 0 {
			t.Fatalf("byte %d: %d bytes are left, error %v", at, n, err)
		}
	}
	if faults < len(whole)/5 {
		t.Errorf("%d faults found in %d damaged files", faults, len(whole))
	}
}

// TestParquetMemory reads the shared variants to the end and stops them half-way: no Arrow memory may be left.
func TestParquetMemory(t *testing.T) {
	for _, name := range []string{"none", "snappy_rg7", "zstd_v2", "nodict_delta", "smallpages", "lz4", "large_string", "empty", "text_only"} {
		path := testData(t, "english_quotes/variants/"+name+".parquet")
		m := checkedMemory(t)
		if _, err := drain(t, &sourceFile{path: path, format: "parquet"}, m); err != nil {
			t.Error(err)
		}
		r, err := openParquet(&sourceFile{path: path, format: "parquet"}, m)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := r.next(t.Context()); err == nil {
			defer b.release() // after the reader's close: a worker may still have it
		}
		r.close()
	}
}

func TestRows(t *testing.T) {
	inputs := []Input{
		{Path: writeFile(t, "a.jsonl", `{"q":"x","n":1,"list":["a",{"b":null}]}`+"\n{\"q\":null}\n")},
		{Path: writeFile(t, "b.csv", "q,n\ny,2\n")},
	}
	var got []string
	for row, err := range Rows(t.Context(), inputs, DefaultOptions()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, asJSON(t, row))
	}
	checkTexts(t, got, `{"list":["a",{"b":null}],"n":1,"q":"x"}`, `{"list":null,"n":null,"q":null}`, `{"n":"2","q":"y"}`)
	bad := []Input{{Path: writeFile(t, "a.jsonl", "{\"q\":1}\n{")}}
	last := error(nil)
	for _, err := range Rows(t.Context(), bad, DefaultOptions()) {
		last = err
	}
	if last == nil || !strings.Contains(last.Error(), "line 2") {
		t.Errorf("error %v, want one of line 2", last)
	}
}
