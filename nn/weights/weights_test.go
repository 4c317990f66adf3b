package weights

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
	"mambatrain/internal/quant"
)

// raw writes a file with the given header and data, without checking them.
func raw(t testing.TB, header string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.safetensors")
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	b = append(append(b, header...), data...)
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func random(n int) []float32 {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

func open(t testing.TB, path string) *Reader {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestRoundTrip checks that tensors are read back as written, exactly in float32 and rounded to nearest in 16 bits.
func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	v := random(7 * 30001) // more than one piece
	sources := []Entry{
		FromFloat32s("f32", []int{7, 30001}, v, F32), FromFloat32s("bf16", []int{7, 30001}, v, BF16),
		FromFloat32s("f16", []int{30001, 7}, v, F16), FromInts("ints", []int{-100, 0, 1 << 40}),
		FromFloat32s("none", []int{0, 3}, nil, F32),
	}
	if err := Save(path, sources, map[string]string{"kind": "test"}); err != nil {
		t.Fatal(err)
	}
	f := open(t, path)
	if f.Metadata["kind"] != "test" || f.Metadata["format"] != "pt" {
		t.Errorf("metadata %v", f.Metadata)
	}
	const denormal = 0x1p-25 // half the smallest step of F16
	// Half a unit in the last place of an 8-bit and of an 11-bit significand.
	for name, rel := range map[string]float64{"f32": 0, "bf16": 1.0 / 256, "f16": 1.0 / 2048} {
		x, _ := f.Tensor(name)
		got, err := x.Float32s()
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if math.Abs(float64(got[i]-v[i])) > rel*math.Abs(float64(v[i])) && (name != "f16" || math.Abs(float64(got[i]-v[i])) > denormal) {
				t.Fatalf("%s: element %d is %v, want %v", name, i, got[i], v[i])
			}
		}
	}
	x, _ := f.Tensor("ints")
	if got, err := x.Ints(); err != nil || !slices.Equal(got, []int{-100, 0, 1 << 40}) {
		t.Errorf("ints: %v, %v", got, err)
	}
}

// TestParamTypes checks that a bfloat16 parameter copies a BF16 tensor bit by bit and rounds others.
func TestParamTypes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	v := random(300)
	if err := Save(path, []Entry{FromFloat32s("a", []int{20, 15}, v, BF16), FromFloat32s("b", []int{20, 15}, v, F32)}, nil); err != nil {
		t.Fatal(err)
	}
	f := open(t, path)
	var bits [2][]uint16
	for i, name := range []string{"a", "b"} {
		x, _ := f.Tensor(name)
		p, err := x.Param(name, quant.BF16)
		if err != nil {
			t.Fatal(err)
		}
		bits[i] = p.BF16s()
	}
	if !slices.Equal(bits[0], bits[1]) {
		t.Error("rounding on reading differs from rounding on writing")
	}
	x, _ := f.Tensor("b")
	if err := x.read(ag.Zeros("b", 15, 20)); err == nil || !strings.Contains(err.Error(), "[20 15], want [15 20]") {
		t.Errorf("a wrong shape returns %v", err)
	}
}

// TestDamagedFiles checks that the error for each kind of damage describes it, and that no file makes the reader
// allocate more memory than its size justifies.
func TestDamagedFiles(t *testing.T) {
	four := make([]byte, 4)
	for _, c := range []struct{ what, path, want string }{
		{"too short", short(t), "not a safetensors file"},
		{"header longer than the file", huge(t), "header of"},
		{"no JSON", raw(t, "nonsense", nil), "header:"},
		{"truncated data", raw(t, `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, four), "truncated or damaged"},
		{"shape beyond its bytes", raw(t, `{"a":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4]}}`, four), "takes"},
		{"overflowing shape", raw(t, `{"a":{"dtype":"F32","shape":[2147483647,2147483647,2147483647],"data_offsets":[0,4]}}`, four), "too large"},
		{"wrapping to the right size", raw(t, `{"a":{"dtype":"F32","shape":[4294967296,4294967297],"data_offsets":[0,4]}}`, four), "too large"},
		{"overlap", raw(t, `{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, four), "starts at"},
		{"gap", raw(t, `{"a":{"dtype":"I8","shape":[1],"data_offsets":[2,3]}}`, four), "starts at"},
		{"rest", raw(t, `{"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}`, four), "the file has"},
		{"backwards", raw(t, `{"a":{"dtype":"I8","shape":[1],"data_offsets":[3,1]}}`, four), "bytes 3 to 1"},
		{"unknown type", raw(t, `{"a":{"dtype":"F7","shape":[1],"data_offsets":[0,4]}}`, four), "F7"},
		{"a list instead of tensors", raw(t, `{"a":{"dtype":"F32","shape":[`+strings.Repeat("0,", 1<<16)+`0],"data_offsets":[0,0]}}`, nil), "values"},
		{"a name twice", raw(t, `{"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, four), "tensor a: appears twice"},
		{"a name twice, spelled differently", raw(t, `{"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]},"\u0061":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, four), "tensor a: appears twice"},
		{"metadata twice", raw(t, `{"__metadata__":{},"__metadata__":{},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, four), "appears twice"},
		{"a shape twice", raw(t, `{"a":{"dtype":"F32","shape":[1],"shape":[1,1],"data_offsets":[0,4]}}`, four), "tensor a: shape appears twice"},
		{"an unknown key", raw(t, `{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"strides":[1]}}`, four), `"strides" is not a known key`},
		{"no shape", raw(t, `{"a":{"dtype":"F32","shape":null,"data_offsets":[0,4]}}`, four), "want dtype, shape, and two"},
		{"three offsets", raw(t, `{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}`, four), "want dtype, shape, and two"},
		{"a negative size", raw(t, `{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}`, four), "want a whole number"},
		{"no number", raw(t, `{"a":{"dtype":"F32","shape":[1,x],"data_offsets":[0,4]}}`, four), "header: tensor a: not JSON"},
		{"two objects", raw(t, `{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}{}`, four), "unexpected data"},
		{"too many tensors", raw(t, "{"+many(maxTensors+1)+"}", nil), "more tensors than any model"},
		{"a pointer", pointer(t), "is a Git LFS pointer"},
		{"a directory", t.TempDir() + "/..", "neither"},
		{"missing", filepath.Join(t.TempDir(), "none"), "no such file"},
	} {
		f, err := Open(c.path)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.what, err, c.want)
		}
		if err == nil {
			f.Close()
		}
	}
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}`, i)
	}
	return b.String()[1:]
}

func pointer(t testing.TB) string {
	path := filepath.Join(t.TempDir(), ModelFile)
	os.WriteFile(path, []byte("version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 5\n"), 0o666)
	return path
}

func short(t testing.TB) string {
	path := filepath.Join(t.TempDir(), "short")
	os.WriteFile(path, []byte{1, 2, 3}, 0o666)
	return path
}

// huge returns a file whose header claims to be a gigabyte long.
func huge(t testing.TB) string {
	path := filepath.Join(t.TempDir(), "huge")
	os.WriteFile(path, append(binary.LittleEndian.AppendUint64(nil, 1<<30), '{', '}'), 0o666)
	return path
}

// TestShards checks that sharded weights read as one checkpoint, have the Hugging Face layout, and
// that a second save leaves nothing of the first.
func TestShards(t *testing.T) {
	dir := t.TempDir()
	var sources []Entry
	for _, name := range []string{"a", "b", "c", "d"} {
		sources = append(sources, FromFloat32s(name, []int{5, 5}, random(25), F32))
	}
	if err := SaveShards(dir, sources, nil, 210); err != nil { // two tensors of 100 bytes each
		t.Fatal(err)
	}
	if got := entries(t, dir); !slices.Equal(got, []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", IndexFile}) {
		t.Fatalf("files %v", got)
	}
	b, _ := os.ReadFile(filepath.Join(dir, IndexFile))
	if !strings.Contains(string(b), `"total_parameters": 100`) || !strings.Contains(string(b), `"total_size": 400`) {
		t.Errorf("index %s", b)
	}
	f := open(t, dir)
	if !slices.Equal(f.Names(), []string{"a", "b", "c", "d"}) || f.Bytes() != 400 {
		t.Errorf("names %v, %d bytes", f.Names(), f.Bytes())
	}
	x, _ := f.Tensor("c")
	if got, err := x.Float32s(); err != nil || !slices.Equal(got, random(25)) {
		t.Errorf("c: %v, %v", got, err)
	}
	if err := SaveShards(dir, sources, nil, 0); err != nil {
		t.Fatal(err)
	}
	if got := entries(t, dir); !slices.Equal(got, []string{ModelFile}) {
		t.Errorf("files after a save in one file: %v", got)
	}
}

func entries(t testing.TB, dir string) (names []string) {
	t.Helper()
	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		names = append(names, e.Name())
	}
	return names
}

// TestDamagedIndex checks that an index cannot refer to files outside its directory and that all of its tensors must
// exist.
func TestDamagedIndex(t *testing.T) {
	for index, want := range map[string]string{
		`{"weight_map":{"a":"../x.safetensors"}}`:                   "plain file name",
		`{"weight_map":{"a":"/etc/passwd"}}`:                        "plain file name",
		`{"weight_map":{}}`:                                         "missing or empty",
		`{"weight_map":{"a":"x.safetensors","a":"x.safetensors"}}`:  "tensor a: appears twice",
		`{"weight_map":{"a":1}}`:                                    "want a string",
		"version https://git-lfs.github.com/spec/v1\n":              "is a Git LFS pointer",
		`{"weight_map":{"a":"one.safetensors"}}`:                    "one.safetensors",
		`{"weight_map":{"a":"x.safetensors","no":"y.safetensors"}}`: "y.safetensors",
		`[]`: IndexFile,
	} {
		dir := t.TempDir()
		os.WriteFile(filepath.Join(dir, IndexFile), []byte(index), 0o666)
		Save(filepath.Join(dir, "x.safetensors"), []Entry{FromInts("a", []int{1})}, nil)
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", index, err, want)
		}
	}
}

// TestSaveFails checks that a save that fails halfway leaves the old file and nothing else.
func TestSaveFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.safetensors")
	old := []Entry{FromInts("a", []int{1, 2})}
	if err := Save(path, old, nil); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(path)
	broken := errors.New("disk on fire")
	failing := FromFloat32s("b", []int{3}, nil, F32)
	failing.Values = func() (any, error) { return nil, broken }
	for _, sources := range [][]Entry{
		{FromInts("a", []int{7}), failing},
		{FromFloat32s("short", []int{4}, make([]float32, 3), F32)},
		{FromInts("a", nil), FromInts("a", nil)},
		{{Name: "type", Shape: []int{1}, DType: "F7", Values: func() (any, error) { return []int{1}, nil }}},
	} {
		if err := func() (err error) {
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("panic: %v", p)
				}
			}()
			return Save(path, sources, nil)
		}(); err == nil {
			t.Error("no error")
		}
	}
	after, _ := os.ReadFile(path)
	if !slices.Equal(before, after) || len(entries(t, dir)) != 1 {
		t.Errorf("the old file changed or something was left behind: %v", entries(t, dir))
	}
}

// TestStreaming checks that writing and reading a checkpoint allocates at most one tensor at a time, and that reading
// float32 into a parameter allocates nothing for the data.
func TestStreaming(t *testing.T) {
	const n, each = 8, 1 << 20
	path := filepath.Join(t.TempDir(), "x.safetensors")
	var sources []Entry
	for i := range n {
		sources = append(sources, Entry{Name: string(rune('a' + i)), Shape: []int{each}, DType: BF16,
			Values: func() (any, error) { return make([]float32, each), nil }})
	}
	if err := Save(path, sources, nil); err != nil {
		t.Fatal(err)
	}
	f, p := open(t, path), ag.Zeros("p", each)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, name := range f.Names() {
		x, _ := f.Tensor(name)
		if err := x.read(p); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	const perTensor = 2*chunk + 4096 // a piece in bytes, a piece in elements, and some overhead
	if got := after.TotalAlloc - before.TotalAlloc; got > n*perTensor {
		t.Errorf("reading %d tensors of %d bytes allocated %d bytes", n, 2*each, got)
	}
}

func FuzzReadHeader(f *testing.F) {
	kernel.SetThreads(1) // everything here is too small for several threads
	f.Cleanup(func() { kernel.SetThreads(0) })
	path := filepath.Join(f.TempDir(), "seed")
	Save(path, []Entry{FromFloat32s("a", []int{2, 3}, random(6), F32), FromInts("b", []int{1}), FromFloat32s("c", []int{2}, random(2), F16)}, nil)
	b, _ := os.ReadFile(path)
	f.Add(b)
	f.Add(b[:20])
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x00\x00{}"))
	f.Add([]byte("\x0c\x00\x00\x00\x00\x00\x00\x00{\"a\": null}   "))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		tensors, _, err := readHeader(r, int64(len(b)))
		if err != nil {
			return
		}
		total := int64(0)
		for _, x := range tensors {
			x.data = r
			total += x.bytes()
			if _, err := x.Float32s(); err != nil && x.floating() == nil {
				t.Fatal(err)
			}
			if _, err := x.Ints(); err != nil && (x.DType == I64 || x.DType == I32) {
				t.Fatal(err)
			}
		}
		if total > int64(len(b)) {
			t.Fatalf("%d bytes of tensors in a file of %d", total, len(b))
		}
	})
}

// Parameters are read by name, and other tensors are ignored. The error for a missing tensor names it.
func TestReadInto(t *testing.T) {
	dir := t.TempDir()
	entries := []Entry{FromFloat32s("a", []int{3}, random(3), F32), FromFloat32s("b", []int{2, 2}, random(4), BF16), FromInts("c", []int{1})}
	if err := Save(filepath.Join(dir, ModelFile), entries, nil); err != nil {
		t.Fatal(err)
	}
	a, b := ag.Zeros("a", 3), ag.Zeros("b", 2, 2)
	if err := ReadInto(dir, []*ag.Param{b, a}); err != nil || !slices.Equal(a.Float32s(), random(3)) || b.Float32s()[3] == 0 {
		t.Errorf("%v, %v, %v", err, a.Float32s(), b.Float32s())
	}
	if err := ReadInto(dir, []*ag.Param{ag.Zeros("d", 1)}); err == nil || !strings.Contains(err.Error(), ModelFile+": d is missing") {
		t.Errorf("a missing tensor returns %v", err)
	}
}

// A tensor read piece by piece is the same as the whole, whatever its type and length.
func TestPieces(t *testing.T) {
	for _, n := range []int{1, 1<<17 - 1, 1 << 17, 1<<17 + 3, 300_000} {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(i%509) / 4
		}
		for _, as := range []DType{F32, BF16, F16} {
			path := filepath.Join(t.TempDir(), "x.safetensors")
			if err := Save(path, []Entry{FromFloat32s("x", []int{n}, v, as)}, nil); err != nil {
				t.Fatal(err)
			}
			f, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			x, _ := f.Tensor("x")
			want, err := x.Float32s()
			if err != nil {
				t.Fatal(err)
			}
			var got []float32
			if err := x.Pieces(func(p []float32) { got = append(got, p...) }); err != nil || !slices.Equal(got, want) {
				t.Errorf("%d elements of %s: %d read, %v", n, as, len(got), err)
			}
			if head, err := x.Head(3); err != nil || !slices.Equal(head, want[:min(3, n)]) {
				t.Errorf("the head of %d elements of %s is %v, %v", n, as, head, err)
			}
		}
	}
}

// TestResize checks that old rows do not change and that new rows are their mean, in every type and with every read
// method.
func TestResize(t *testing.T) {
	values := []float32{1, 2, 3, 5, 8, 13, -1, 0.5, 7, 11, 0, 4} // 4 rows of 3
	mean := []float32{(1 + 5 - 1 + 11) / 4.0, (2 + 8 + 0.5 + 0) / 4.0, (3 + 13 + 7 + 4) / 4.0}
	for _, as := range []DType{F32, BF16, F16} {
		path := filepath.Join(t.TempDir(), "x.safetensors")
		if err := Save(path, []Entry{FromFloat32s("a", []int{4, 3}, values, as), FromFloat32s("b", []int{2}, []float32{1, 2}, as)}, nil); err != nil {
			t.Fatal(err)
		}
		r, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if err := r.Resize(6, "a"); err != nil {
			t.Fatal(err)
		}
		x, _ := r.Tensor("a")
		got, err := x.Float32s()
		if err != nil {
			t.Fatal(err)
		}
		want := append(append(slices.Clone(values), mean...), mean...)
		if !slices.Equal(x.Shape, []int{6, 3}) || !slices.Equal(got, want) {
			t.Errorf("%s: %v %v, want %v", as, x.Shape, got, want)
		}
		for at := range len(want) * as.Size() { // reads that begin and end at any byte
			b, all := make([]byte, 5), make([]byte, len(want)*as.Size())
			if err := x.readAt(all, 0); err != nil {
				t.Fatal(err)
			}
			b = b[:min(5, len(all)-at)]
			if err := x.readAt(b, int64(at)); err != nil || !bytes.Equal(b, all[at:at+len(b)]) {
				t.Errorf("%s: bytes from %d: %v, %v, want %v", as, at, b, err, all[at:at+len(b)])
			}
		}
		for _, rows := range []int{5, 2} {
			if err := r.Resize(rows, "a"); err != nil {
				t.Fatal(err)
			}
			x, _ := r.Tensor("a")
			if got, err := x.Float32s(); err != nil || !slices.Equal(x.Shape, []int{rows, 3}) || !slices.Equal(got, want[:rows*3]) {
				t.Errorf("%s: %v %v, want %v: %v", as, x.Shape, got, want[:rows*3], err)
			}
		}
		if err := r.Resize(5, "b"); err == nil || !strings.Contains(err.Error(), "tensor b: shape [2] cannot be resized to 5 rows") {
			t.Errorf("error %v", err)
		}
	}
}
