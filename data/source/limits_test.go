package source

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
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
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"github.com/klauspost/compress/zstd"

	"mambatrain/internal/testfile"
)

// In every format, an endless row is an error that names it, before its memory is allocated.
func TestLimits(t *testing.T) {
	const limit = 1 << 12
	long := strings.Repeat("x", 3*limit)
	for _, c := range []struct{ name, format, content, want string }{
		{"a.jsonl", "", row("ok") + row(long), "line 2: the object is longer than 4.00 KiB: raise data.max_row_bytes"},
		{"a.json", "", "[" + row("ok") + "," + row(long) + "]", "line 2, element 2: the object is longer"},
		{"a.json", "", "[" + long, "the value is longer"},
		{"a.csv", "", "text,x\nok,1\n" + long + ",1\n", "line 3: the row is longer"},
		{"a.csv", "", "text,x\nok,1\n\"" + long, "line 3: the row is longer"},
		{"a.csv", "", "text\nok\n" + strings.Repeat(",", 3*limit), "line 3: the row is longer"},
		{"a.csv", "", long, "line 1: the row is longer"},
		{"a.txt", "", "ok\n" + long, "line 2: the line is longer"},
		{"a.txt", "text:paragraph", "ok\n\n" + strings.Repeat("a\n", 3*limit), "line 3: the paragraph is longer"},
		{"a.txt", "text:file", long, "the file is longer"},
		{"a.arrow", "", arrowStream("ok", long), `row 1: column "text": is longer`},
		{"a.parquet", "", parquetFile(t, compress.Codecs.Zstd, "ok", long), `row 1: column "text": is longer`},
	} {
		path := testfile.Write(t, c.name, c.content)
		got, _, err := read(t, path, Config{MaxRowBytes: limit, Format: c.format})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.name) {
			t.Errorf("%s %s: %v, want an error with %q", c.name, c.format, err, c.want)
		}
		if c.want != "" && strings.Contains(c.content, "ok") && !strings.Contains(c.name, ".arrow") && !strings.Contains(c.name, ".parquet") && len(got) != 1 {
			t.Errorf("%s %s: %d rows before the fault, want 1", c.name, c.format, len(got))
		}
		if _, _, err := read(t, path, Config{MaxRowBytes: 8 * limit, Format: c.format}); err != nil && strings.Contains(err.Error(), "longer") {
			t.Errorf("%s %s: %v", c.name, c.format, err)
		}
	}
}

// Reading ends with its context at any point: a file may begin with gigabytes of blank lines.
func TestOpen_interrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, name := range []string{"a.jsonl", "a.csv", "a.txt"} {
		f := &File{Path: testfile.Write(t, name, strings.Repeat("\n", 3*bufferBytes)+row("a")), Format: strings.Replace(name[2:], "txt", "text", 1)}
		r, err := f.Open(ctx)
		if err == nil {
			_, err = r.Next(ctx)
			r.Close()
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want a canceled error", name, err)
		}
	}
}

// A few bytes that decompress to gigabytes are stopped by the row limit.
func TestLimits_bombs(t *testing.T) {
	for _, kind := range []string{".gz", ".zst"} {
		path := filepath.Join(t.TempDir(), "bomb.txt"+kind)
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		var z io.WriteCloser = gzip.NewWriter(f)
		if kind == ".zst" {
			if z, err = zstd.NewWriter(f); err != nil {
				t.Fatal(err)
			}
		}
		zeros := bytes.Repeat([]byte("0"), 1<<20)
		for range 64 {
			if _, err := z.Write(zeros); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(z.Close(), f.Close()); err != nil {
			t.Fatal(err)
		}
		_, _, err = read(t, path, Config{MaxRowBytes: 4 << 20})
		if err == nil || !strings.Contains(err.Error(), "line 1: the line is longer than 4.00 MiB") {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// parquetFile returns a Parquet file with a text column, one row per text.
func parquetFile(t testing.TB, codec compress.Compression, texts ...string) string {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).(*array.StringBuilder).AppendValues(texts, nil)
	record := b.NewRecord()
	defer record.Release()
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &out, parquet.NewWriterProperties(parquet.WithCompression(codec)), pqarrow.DefaultWriterProps())
	if err == nil {
		err = errors.Join(w.Write(record), w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Lengths in a file are checked before memory is allocated for them; 64 GiB would kill the process.
func TestClaimedLengths(t *testing.T) {
	stream := arrowStream("a", "b")
	var compressed bytes.Buffer
	schema := arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String}}, nil)
	w := ipc.NewWriter(&compressed, ipc.WithSchema(schema), ipc.WithZstd())
	b := array.NewStringBuilder(memory.DefaultAllocator)
	b.AppendValues([]string{strings.Repeat("a", 1000)}, nil)
	column := b.NewArray()
	if err := errors.Join(w.Write(array.NewRecord(schema, []arrow.Array{column}, 1)), w.Close()); err != nil {
		t.Fatal(err)
	}
	huge := binary.LittleEndian.AppendUint64(nil, 1<<36)
	for what, content := range map[string][]byte{
		"the length of a message":   patch([]byte(stream), 4, []byte{0xFF, 0xFF, 0xFF, 0x7F}),
		"the length of a buffer":    bytes.Replace(compressed.Bytes(), binary.LittleEndian.AppendUint64(nil, 1000), huge, 1),
		"a part of a message":       []byte(stream[:len(stream)/2]),
		"only a beginning":          []byte(stream[:6]),
		"a truncated file":          []byte("ARROW1\x00\x00" + stream),
		"a footer that is too long": []byte("ARROW1\x00\x00" + stream + "\xFF\xFF\xFF\x7FARROW1"),
	} {
		if _, _, err := read(t, testfile.Write(t, "a.arrow", string(content)), Config{}); err == nil || !strings.Contains(err.Error(), "a.arrow") {
			t.Errorf("%s: %v, want an error", what, err)
		}
	}
	if bytes.Count(compressed.Bytes(), binary.LittleEndian.AppendUint64(nil, 1000)) != 1 {
		t.Error("the length of the buffer was not found")
	}
}

func patch(b []byte, at int, with []byte) []byte {
	b = bytes.Clone(b)
	copy(b[at:], with)
	return b
}

// TestClaimedLengths_damage puts large numbers into every position of Arrow and Parquet files. The result must be rows
// or an error; failing to allocate memory would kill the process.
func TestClaimedLengths_damage(t *testing.T) {
	texts := []string{"one", "two", strings.Repeat("three", 50)}
	files := map[string]string{
		"a.arrow":   arrowStream(texts...),
		"b.parquet": parquetFile(t, compress.Codecs.Snappy, texts...),
		"c.parquet": parquetFile(t, compress.Codecs.Zstd, texts...),
		"d.parquet": structParquet(t),
	}
	path := filepath.Join(t.TempDir(), "bad")
	for name, whole := range files {
		format := strings.TrimPrefix(filepath.Ext(name), ".")
		for at := 0; at < len(whole)-8; at += 3 {
			for _, with := range [][]byte{{0xFF}, binary.LittleEndian.AppendUint64(nil, 1<<40+1<<30)} {
				if err := os.WriteFile(path, patch([]byte(whole), at, with), 0o666); err != nil {
					t.Fatal(err)
				}
				_, _, err := read(t, path, Config{Format: format})
				if err != nil && !strings.Contains(err.Error(), path) {
					t.Errorf("%s, byte %d: %v does not name the file", name, at, err)
				}
			}
		}
	}
}

// structParquet returns a Parquet file with a list of structs, whose fields Arrow's reader reads on its own goroutines.
func structParquet(t testing.TB) string {
	t.Helper()
	message := arrow.StructOf(arrow.Field{Name: "role", Type: arrow.BinaryTypes.String}, arrow.Field{Name: "content", Type: arrow.BinaryTypes.String})
	schema := arrow.NewSchema([]arrow.Field{{Name: "messages", Type: arrow.ListOf(message)}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	list := b.Field(0).(*array.ListBuilder)
	parts := list.ValueBuilder().(*array.StructBuilder)
	for range 3 {
		list.Append(true)
		for _, text := range []string{"user", "assistant"} {
			parts.Append(true)
			parts.FieldBuilder(0).(*array.StringBuilder).Append(text)
			parts.FieldBuilder(1).(*array.StringBuilder).Append("Hello, " + text)
		}
	}
	record := b.NewRecord()
	defer record.Release()
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &out, parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Snappy)), pqarrow.DefaultWriterProps())
	if err == nil {
		err = errors.Join(w.Write(record), w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// fullDisk accepts a number of bytes and rejects the others.
type fullDisk int

func (d *fullDisk) Write(p []byte) (int, error) {
	n := min(len(p), int(*d))
	*d -= fullDisk(n)
	if n < len(p) {
		return n, errors.New("no space left on device")
	}
	return n, nil
}

// A disk that becomes full at any byte causes an error, and no panic from the library.
func TestTokenWriter_fullDisk(t *testing.T) {
	var tokens Tokens
	tokens.Reset()
	for i := range 200 {
		tokens.Append([]int32{int32(i), 300, 7}, []int32{1, 2, 3}, i, 0)
	}
	for _, name := range []string{"a.parquet", "a.jsonl"} {
		var whole bytes.Buffer
		if err := writeAll(&whole, name, &tokens); err != nil {
			t.Fatal(err)
		}
		for room := 0; room < whole.Len(); room += 1 + room/8 {
			disk := fullDisk(room)
			if err := writeAll(&disk, name, &tokens); err == nil || !strings.Contains(err.Error(), "no space left") {
				t.Errorf("%s, room for %d of %d bytes: %v", name, room, whole.Len(), err)
			}
		}
	}
}

func writeAll(out io.Writer, name string, tokens *Tokens) error {
	w, err := NewTokenWriter(out, name)
	if err != nil {
		return err
	}
	if err := errors.Join(w.Write(tokens), w.Write(tokens)); err != nil {
		w.Close() // as WriteTokens does
		return err
	}
	return w.Close()
}
