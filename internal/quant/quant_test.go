package quant_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"mambatrain/internal/quant"
)

var types = []quant.Type{
	quant.F16, quant.BF16, quant.Q8_0, quant.Q4_0, quant.Q4_1, quant.Q5_0, quant.Q5_1, quant.Q4_K, quant.Q5_K, quant.Q6_K,
	quant.IQ4_NL, quant.IQ4_XS, quant.Q2_K, quant.Q3_K,
}

// tensors reads a safetensors file of bytes and float32 numbers.
func tensors(t *testing.T, path string) map[string][]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := binary.LittleEndian.Uint64(b)
	var header map[string]struct {
		Offsets [2]int `json:"data_offsets"`
	}
	if err := json.Unmarshal(b[8:8+n], &header); err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for name, h := range header {
		all[name] = b[8+n:][h.Offsets[0]:h.Offsets[1]]
	}
	return all
}

func floats(b []byte) []float32 {
	y := make([]float32, len(b)/4)
	quant.F32.Dequantize(y, b)
	return y
}

func sameFloats(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i, w := range want {
		if g := got[i]; math.Float32bits(g) != math.Float32bits(w) && !(g != g && w != w) {
			t.Fatalf("%s: value %d is %v, want %v", what, i, g, w)
		}
	}
}

// Random bytes in every field decode to llama.cpp's values, bit for bit.
func TestDequantize_golden(t *testing.T) {
	all := tensors(t, "testdata/dequantize.safetensors")
	for _, typ := range types {
		b, want := all[typ.String()+".bytes"], floats(all[typ.String()+".values"])
		if len(want) == 0 {
			t.Fatalf("no case for %s", typ)
		}
		got := make([]float32, len(want))
		typ.Dequantize(got, b)
		sameFloats(t, typ.String(), got, want)
	}
}

// Rows of every kind are encoded to llama.cpp's bytes.
func TestQuantize_golden(t *testing.T) {
	all := tensors(t, "testdata/quantize.safetensors")
	x := floats(all["input"])
	const width = 256
	for _, typ := range types {
		want := all[typ.String()+".bytes"]
		if want == nil || typ == quant.IQ4_NL { // IQ4_NL can only be read
			continue
		}
		perRow := typ.Bytes(width)
		for row := range len(x) / width {
			got := typ.Encode(x[row*width:][:width])
			if w := want[row*perRow:][:perRow]; !bytes.Equal(got, w) {
				t.Errorf("%s, row %d:\ngot  %x\nwant %x", typ, row, got, w)
			}
		}
	}
}

// Decoded values are close to the encoded ones, with the error bounded for each type.
func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, 1024)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	for typ, limit := range map[quant.Type]float64{
		quant.F32: 0, quant.F16: 1e-3, quant.BF16: 1e-2, quant.Q8_0: 0.01, quant.Q6_K: 0.04, quant.Q5_K: 0.07, quant.Q4_K: 0.12, quant.Q4_0: 0.14,
	} {
		y := make([]float32, len(x))
		typ.Dequantize(y, typ.Encode(x))
		sum := 0.0
		for i := range x {
			sum += float64((x[i] - y[i]) * (x[i] - y[i]))
		}
		if rms := math.Sqrt(sum / float64(len(x))); rms > limit {
			t.Errorf("%s: error %v of the rms, want at most %v", typ, rms, limit)
		}
	}
}

// Finite finds an infinite scale or minimum wherever a block has one.
func TestFinite(t *testing.T) {
	for _, typ := range append(types, quant.F32) {
		b, y := make([]byte, typ.Bytes(typ.Block())), make([]float32, typ.Block())
		for at := range b[1:] {
			clear(b)
			b[at], b[at+1] = 0xff, 0x7f // NaN in half precision, and in the upper half of a float32
			typ.Dequantize(y, b)
			want := !slices.ContainsFunc(y, func(v float32) bool { return v-v != 0 })
			if got := typ.Finite(append(make([]byte, len(b)), b...)); got != want {
				t.Errorf("%s: a NaN at byte %d of the second block: got %v, but its values are %v", typ, at, got, y)
			}
		}
	}
}

func TestString(t *testing.T) {
	for typ, want := range map[quant.Type]string{quant.Q4_K: "Q4_K", 39: "MXFP4", 1000: "type 1000"} {
		if got := typ.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if quant.Type(39).Readable() {
		t.Error("an unreadable type is reported as readable")
	}
}
