package torchfile

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mambatrain/nn/weights"
)

const original = "../testdata/original"

// repack writes the original checkpoint's archive with some entries changed. change returns nil to omit an entry.
func repack(t testing.TB, change func(name string, b []byte) []byte) string {
	t.Helper()
	return repackAs(t, zip.Store, change)
}

func repackAs(t testing.TB, method uint16, change func(name string, b []byte) []byte) string {
	t.Helper()
	z, err := zip.OpenReader(filepath.Join(original, ModelFile))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, f := range z.File {
		b, err := readEntry(f, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if b = change(f.Name, b); b == nil {
			continue
		}
		e, err := w.CreateHeader(&zip.FileHeader{Name: f.Name, Method: method})
		if err == nil {
			_, err = e.Write(b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	path := filepath.Join(t.TempDir(), ModelFile)
	if err := os.WriteFile(path, out.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// doubled writes the original checkpoint's archive with one entry repeated under another name.
func doubled(t testing.TB, name, again string) string {
	t.Helper()
	path := repack(t, func(_ string, b []byte) []byte { return b })
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, f := range z.File {
		names := []string{f.Name}
		if f.Name == name {
			names = append(names, again)
		}
		b, _ := readEntry(f, 1<<20)
		for _, n := range names {
			e, err := w.CreateHeader(&zip.FileHeader{Name: n, Method: zip.Store})
			if err == nil {
				_, err = e.Write(b)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	w.Close()
	if err := os.WriteFile(path, out.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func pointer(t testing.TB) string {
	path := filepath.Join(t.TempDir(), ModelFile)
	if err := os.WriteFile(path, []byte("version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 5\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestHostilePickles checks that only the globals of tensors are looked up, and that no description makes the reader
// read outside a storage.
func TestHostilePickles(t *testing.T) {
	pickled := func(program string) string {
		return repack(t, func(name string, b []byte) []byte {
			if name == "archive/data.pkl" {
				return []byte(program)
			}
			return b
		})
	}
	storage := "ctorch\nFloatStorage\n"
	tensor := func(key, elements, offset, size, stride string) string {
		return "\x80\x02}X\x01\x00\x00\x00ac" + "torch._utils\n_rebuild_tensor_v2\n" + "((X\x07\x00\x00\x00storage" + storage +
			"X" + string([]byte{byte(len(key)), 0, 0, 0}) + key + "X\x03\x00\x00\x00cpu" + elements + "tQ" + offset + size + stride + "tRs."
	}
	for what, c := range map[string]struct{ path, want string }{
		"a system call":                   {pickled("cos\nsystem\n(X\x02\x00\x00\x00lstR."), `"os.system"`},
		"by stack":                        {pickled("\x80\x04\x8c\x02os\x8c\x06system\x93."), `"os.system"`},
		"eval":                            {pickled("c__builtin__\neval\n."), `"__builtin__.eval"`},
		"an old opcode":                   {pickled("(ios\nsystem\n."), "opcode 0x69"},
		"a huge text":                     {pickled("X\xff\xff\xff\x7f"), "string of"},
		"cut off":                         {pickled("\x80\x02}("), "unexpected end"},
		"an empty stack":                  {pickled("R"), "stack underflow"},
		"a list":                          {pickled("\x80\x02]."), "want a dictionary"},
		"nothing in it":                   {pickled("\x80\x02}."), "contains no tensors"},
		"a missing storage":               {pickled(tensor("99", "K\x04", "K\x00", "K\x04\x85", "K\x01\x85")), `storage "99" is missing`},
		"a storage larger than its bytes": {pickled(tensor("0", "J\xff\xff\xff\x7f", "K\x00", "K\x04\x85", "K\x01\x85")), "elements of FloatStorage"},
		"a shape beyond the storage":      {pickled(tensor("0", "K\xc0", "K\x00", "M\xff\xff\x85", "K\x01\x85")), "exceeds its storage"},
		"a stride beyond the storage":     {pickled(tensor("0", "K\xc0", "K\x00", "K\x02\x85", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85")), "exceeds its storage"},
		"an offset beyond the storage":    {pickled(tensor("0", "K\xc0", "K\xc0", "K\x01\x85", "K\x01\x85")), "exceeds its storage"},
		"one element many times":          {pickled(tensor("0", "K\xc0", "K\x00", "J\xff\xff\xff\x7f\x85", "K\x00\x85")), "exceeds its storage"},
		"a negative offset":               {pickled(tensor("0", "K\xc0", "J\xff\xff\xff\xff", "K\x01\x85", "K\x01\x85")), "malformed tensor"},
		"a tuple of 2¹⁰⁰ elements":        {pickled("\x80\x02)q\x00" + strings.Repeat("h\x00h\x00\x86q\x00", 100) + "."), "contains a tuple, want"},
		"a call of one":                   {pickled("\x80\x02)q\x00" + strings.Repeat("h\x00h\x00\x86q\x00", 100) + ")R."), "unsupported call of a tuple with 0"},
		"elements for one":                {pickled("\x80\x02)q\x00" + strings.Repeat("h\x00h\x00\x86q\x00", 100) + "Na."), "cannot add elements to a tuple"},
		"a storage of one":                {pickled("\x80\x02)q\x00" + strings.Repeat("h\x00h\x00\x86q\x00", 100) + "(h\x00h\x00h\x00h\x00h\x00tQ."), "not a storage"},
		"a deep tuple":                    {pickled("\x80\x02)" + strings.Repeat("\x85", 1_000_000) + "."), "contains a tuple, want"},
		"too many tuples":                 {pickled("\x80\x02)" + strings.Repeat("\x85", 4_300_000) + "."), "more values than a list"},
		"too many containers":             {pickled("\x80\x02" + strings.Repeat("}", 4_300_000) + "."), "more values than a list"},
		"too long a memo":                 {pickled("\x80\x02}" + strings.Repeat("\x94", 4_300_000) + "."), "more values than a list"},
		"too long a description":          {pickled("\x80\x02" + strings.Repeat("N", 1<<24) + "."), "too large for a list"},
		"a tensor of 2²⁰ dimensions":      {pickled(tensor("0", "K\xc0", "K\x00", "("+strings.Repeat("K\x01", 1<<20)+"t", "("+strings.Repeat("K\x01", 1<<20)+"t")), "malformed tensor"},
		"a duplicate name":                {pickled("\x80\x02}(X\x01\x00\x00\x00aK\x01X\x01\x00\x00\x00aK\x02u."), "a appears twice"},
		"a zip bomb": {repackAs(t, zip.Deflate, func(name string, b []byte) []byte {
			if name == "archive/data.pkl" {
				return bytes.Repeat([]byte("N0"), 1<<20)
			}
			return b
		}), "too large for a list"},
		"a duplicate storage":     {doubled(t, "archive/data/0", "archive/data/0"), "archive/data/0: appears twice"},
		"a storage at two places": {doubled(t, "archive/data/0", "other/data/0"), `want one storage "0"`},
		"two pickles":             {doubled(t, "archive/data.pkl", "other/data.pkl"), "want one data.pkl"},
		"a pointer":               {pointer(t), "is a Git LFS pointer"},
		"a negative shape":        {pickled(tensor("0", "K\xc0", "K\x00", "J\xff\xff\xff\xff\x85", "K\x01\x85")), "malformed tensor"},
		"no archive":              {filepath.Join(original, "make.py"), "not a zip archive"},
		"big endian": {repack(t, func(name string, b []byte) []byte {
			if name == "archive/byteorder" {
				return []byte("big")
			}
			return b
		}), "want little"},
		"a storage cut short": {repack(t, func(name string, b []byte) []byte {
			if name == "archive/data/0" {
				return b[:8]
			}
			return b
		}), "has 8 bytes"},
		"no pickle": {repack(t, func(name string, b []byte) []byte {
			if name == "archive/data.pkl" {
				return nil
			}
			return b
		}), "no data.pkl"},
	} {
		f, err := Open(c.path)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", what, err, c.want)
		}
		if err == nil {
			f.Close()
		}
	}
}

// A tensor of a type that cannot be read is refused, however large the pickle says that it is.
func TestEqual_unreadable(t *testing.T) {
	entry := func(name, key string) string {
		return "X\x01\x00\x00\x00" + name + "ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nDoubleStorage\n" +
			"X\x01\x00\x00\x00" + key + "X\x03\x00\x00\x00cpu\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x40tQK\x00K\x04\x85K\x01\x85tRs"
	}
	r, err := Open(repack(t, func(name string, b []byte) []byte {
		if name == "archive/data.pkl" {
			return []byte("\x80\x02}" + entry("a", "0") + entry("b", "1") + ".")
		}
		return b
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	x, _ := r.Tensor("a")
	y, _ := r.Tensor("b")
	if _, err := Equal(x, y); err == nil || !strings.Contains(err.Error(), "tensor a: is DoubleStorage, want FloatStorage") {
		t.Errorf("got %v", err)
	}
}

func FuzzUnpickle(f *testing.F) {
	z, err := zip.OpenReader(filepath.Join(original, ModelFile))
	if err != nil {
		f.Fatal(err)
	}
	r, err := z.Open("archive/data.pkl")
	if err != nil {
		f.Fatal(err)
	}
	b, _ := io.ReadAll(r)
	f.Add(b)
	f.Add([]byte("\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x01a\x94K\x01u."))
	f.Add([]byte("\x80\x02(((d.ta]es\x86."))
	f.Fuzz(func(t *testing.T, b []byte) {
		object, err := unpickle(bytes.NewReader(b))
		if err != nil {
			return
		}
		d, ok := object.(*dict)
		if !ok {
			return
		}
		file := &archive{size: 1 << 10, views: map[string]view{}, data: map[string]*zip.File{
			"0": {FileHeader: zip.FileHeader{UncompressedSize64: 768, CompressedSize64: 768}}}}
		if file.list(d) != nil {
			return
		}
		for _, name := range file.names {
			s := file.tensor(name)
			n := 1
			for _, dim := range s.Shape {
				n *= dim
			}
			if s.DType == weights.F32 && (n < 0 || n > 192) {
				t.Fatalf("%s %v passed the check against 192 elements", name, s.Shape)
			}
		}
	})
}
