package gguf_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"mambatrain/internal/gguf"
	"mambatrain/internal/quant"
)

// sample returns a file with a key of every type and two tensors.
func sample(t testing.TB) []byte {
	t.Helper()
	var w gguf.Writer
	for name, v := range map[string]any{
		"u8": uint8(200), "i16": int16(-2), "f32": float32(1.5), "yes": true, "s": "héy", "u64": uint64(1 << 56), "f64": -2.0,
		"texts": []string{"a", ""}, "ints": []int32{1, -1}, "empty": []string{},
	} {
		w.Set(name, v)
	}
	w.Add(gguf.Tensor{Name: "a", Dims: []int{32, 2}, Type: quant.Q8_0}, func() ([]byte, error) { return quant.Q8_0.Encode(make([]float32, 64)), nil })
	w.Add(gguf.Tensor{Name: "b", Dims: []int{3}, Type: quant.F32}, func() ([]byte, error) { return quant.F32.Encode([]float32{1, 2, 3}), nil })
	var b bytes.Buffer
	if err := w.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t testing.TB, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// Open reads back what the writer writes.
func TestOpen(t *testing.T) {
	f, err := gguf.Open(write(t, "x.gguf", sample(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, want := range map[string]any{
		"u8": uint64(200), "i16": int64(-2), "f32": 1.5, "yes": true, "s": "héy", "u64": uint64(1 << 56), "f64": -2.0,
		"texts": []string{"a", ""}, "ints": []int64{1, -1}, "empty": []string{}, "none": nil,
	} {
		if got := f.Key(name); !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %#v, want %#v", name, got, want)
		}
	}
	if len(f.Tensors) != 2 || f.Tensors[0].Name != "a" || f.Tensors[0].Size() != 68 {
		t.Fatalf("tensors %+v", f.Tensors)
	}
	b := make([]byte, f.Tensors[1].Size())
	if _, err := f.Tensors[1].ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	y := make([]float32, 3)
	f.Tensors[1].Type.Dequantize(y, b)
	if !reflect.DeepEqual(y, []float32{1, 2, 3}) {
		t.Errorf("tensor b is %v", y)
	}
}

// The blocks of a tensor equal what ReadAt reads, remain valid after the file is closed, and are refused if the file
// no longer has them.
func TestBlocks(t *testing.T) {
	path := write(t, "x.gguf", sample(t))
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var mapped, read [][]byte
	for _, x := range f.Tensors {
		b := make([]byte, x.Size())
		if _, err := x.ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
		m, err := x.Blocks()
		if err != nil {
			t.Fatal(err)
		}
		mapped, read = append(mapped, m), append(read, b)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(mapped, read) {
		t.Error("the mapped blocks differ from those read")
	}

	if f, err = gguf.Open(path); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Truncate(path, 300); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Tensors[1].Blocks(); err == nil || !strings.Contains(err.Error(), "the file shrank") {
		t.Errorf("blocks of a truncated file: got %v", err)
	}
}

// Goroutines that call Blocks share one mapping of the file.
func TestBlocks_concurrent(t *testing.T) {
	f, err := gguf.Open(write(t, "x.gguf", sample(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all sync.WaitGroup
	blocks := make([][]byte, 16)
	for i := range blocks {
		all.Go(func() { blocks[i], _ = f.Tensors[0].Blocks() })
	}
	all.Wait()
	for _, b := range blocks {
		if len(b) == 0 || &b[0] != &blocks[0][0] {
			t.Fatal("the blocks are not shared")
		}
	}
}

// A damaged file is refused with a one-line error and costs no more memory than its size.
func TestOpen_damaged(t *testing.T) {
	whole := sample(t)
	edit := func(f func(b []byte)) []byte {
		b := bytes.Clone(whole)
		f(b)
		return b
	}
	u64 := func(at int, v uint64) func(b []byte) {
		return func(b []byte) { binary.LittleEndian.PutUint64(b[at:], v) }
	}
	dims := bytes.LastIndex(whole, []byte("b")) + 1          // of tensor b: number of dimensions, one dimension, type, offset
	count := bytes.Index(whole, []byte("texts")) + 5 + 4 + 4 // of texts, after the types of the value and its elements
	for want, b := range map[string][]byte{
		"does not start with GGUF":             edit(func(b []byte) { b[0] = 'X' }),
		"has version 9":                        edit(func(b []byte) { b[4] = 9 }),
		"is big-endian":                        edit(func(b []byte) { b[4], b[7] = 0, 3 }),
		"past the end of the file":             whole[:len(whole)-32],
		"the header needs":                     whole[:100],
		"are left":                             edit(u64(24, math.MaxUint64)),
		"has 1000 dimensions":                  edit(func(b []byte) { binary.LittleEndian.PutUint32(b[dims:], 1000) }),
		"invalid dimension":                    edit(u64(dims+4, 1<<60)),
		"is MXFP4, which is not supported":     edit(func(b []byte) { b[dims+12] = 39 }),
		"starts at byte 1, which is not a mul": edit(u64(dims+16, 1)),
		"has 1048576 tensors, want at most":    edit(u64(8, 1<<20)),
		"tensor a: appears twice":              edit(func(b []byte) { b[dims-1] = 'a' }),
		"the header needs 536870912 bytes":     edit(u64(24, 1<<29)),    // in a sparse file
		"has 33554432 elements, want at most":  edit(u64(count, 1<<25)), // in a sparse file
		"texts: has 2 elements, but only 1 by": whole[:count+8+1],
	} {
		path := write(t, "x.gguf", b)
		if strings.Contains(want, "536870912") || strings.Contains(want, "33554432") {
			if err := os.Truncate(path, 1<<30); err != nil {
				t.Fatal(err)
			}
		}
		f, err := gguf.Open(path)
		if err == nil {
			f.Close()
			t.Errorf("no error, want %q", want)
			continue
		}
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(sample(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := gguf.Open(write(t, "x.gguf", b))
		if err != nil {
			return
		}
		defer file.Close()
		for _, x := range file.Tensors {
			if _, err := x.ReadAt(make([]byte, x.Size()), 0); err != nil {
				t.Errorf("tensor %s: %v", x.Name, err)
			}
		}
	})
}
