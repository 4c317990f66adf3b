package weights

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"testing"
)

// TestNotFinite checks that NaN and infinity are found in every type, when reading and when writing, and so are values
// that are too large only for float16.
func TestNotFinite(t *testing.T) {
	nan, inf, large := float32(math.NaN()), float32(math.Inf(-1)), float32(65520)
	entries := []Entry{
		FromFloat32s("finite", []int{2}, []float32{1, 65504}, F16),
		FromFloat32s("nan", []int{2}, []float32{1, nan}, F32),
		FromFloat32s("inf", []int{2}, []float32{1, inf}, BF16),
		FromFloat32s("large", []int{2}, []float32{1, large}, F16),
		FromFloat32s("large in float32", []int{2}, []float32{1, large}, F32),
		FromInts("ints", []int{-1}),
	}
	bits := Entry{Name: "bits", Shape: []int{1}, DType: F16, Values: func() (any, error) { return []uint16{0x7f00}, nil }}
	want := []string{"bits", "inf", "large", "nan"}
	var said []string
	path := filepath.Join(t.TempDir(), ModelFile)
	if err := Save(path, Watch(append(entries, bits), func(name string) { said = append(said, name) }), nil); err != nil {
		t.Fatal(err)
	}
	slices.Sort(said)
	if !slices.Equal(said, want) {
		t.Errorf("on writing: %v, want %v", said, want)
	}
	if got, err := open(t, path).NotFinite(context.Background()); err != nil || !slices.Equal(got, want) {
		t.Errorf("on reading: %v, %v, want %v", got, err, want)
	}
}
