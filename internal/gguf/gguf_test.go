package gguf_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"mambatrain/internal/gguf"
	"mambatrain/internal/quant"
)

// str returns a string as the format stores it, preceded by its length.
func str(s string) string { return string([]byte{byte(len(s)), 0, 0, 0, 0, 0, 0, 0}) + s }

// TestWriter: every type of value, and two tensors with their padding, are written byte for byte as specified.
func TestWriter(t *testing.T) {
	var w gguf.Writer
	want := "GGUF\x03\x00\x00\x00" + "\x02\x00\x00\x00\x00\x00\x00\x00" + "\x0e\x00\x00\x00\x00\x00\x00\x00"
	for _, k := range []struct {
		name  string
		value any
		kind  byte
		bytes string
	}{
		{"u8", uint8(200), 0, "\xc8"},
		{"i8", int8(-2), 1, "\xfe"},
		{"u16", uint16(0x102), 2, "\x02\x01"},
		{"i16", int16(-2), 3, "\xfe\xff"},
		{"u32", uint32(0x1020304), 4, "\x04\x03\x02\x01"},
		{"i32", int32(-2), 5, "\xfe\xff\xff\xff"},
		{"f32", float32(1.5), 6, "\x00\x00\xc0\x3f"},
		{"yes", true, 7, "\x01"},
		{"s", "héy", 8, str("héy")},
		{"u64", uint64(1 << 56), 10, "\x00\x00\x00\x00\x00\x00\x00\x01"},
		{"i64", int64(-2), 11, "\xfe\xff\xff\xff\xff\xff\xff\xff"},
		{"f64", -2.0, 12, "\x00\x00\x00\x00\x00\x00\x00\xc0"},
		{"texts", []string{"a", ""}, 9, "\x08\x00\x00\x00" + "\x02\x00\x00\x00\x00\x00\x00\x00" + str("a") + str("")},
		{"ints", []int32{1, -1}, 9, "\x05\x00\x00\x00" + "\x02\x00\x00\x00\x00\x00\x00\x00" + "\x01\x00\x00\x00\xff\xff\xff\xff"},
	} {
		w.Set(k.name, k.value)
		want += str(k.name) + string([]byte{k.kind, 0, 0, 0}) + k.bytes
	}
	w.Add(gguf.Tensor{Name: "a", Dims: []int{3, 1}, Type: quant.F16}, func() ([]byte, error) { return quant.F16.Encode([]float32{1, 2, -1}), nil })
	w.Add(gguf.Tensor{Name: "b", Dims: []int{1}, Type: quant.F32}, func() ([]byte, error) { return quant.F32.Encode([]float32{1}), nil })
	want += str("a") + "\x02\x00\x00\x00" + "\x03\x00\x00\x00\x00\x00\x00\x00" + "\x01\x00\x00\x00\x00\x00\x00\x00" + "\x01\x00\x00\x00" + strings.Repeat("\x00", 8)
	want += str("b") + "\x01\x00\x00\x00" + "\x01\x00\x00\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x20" + strings.Repeat("\x00", 7)
	pad := func() {
		for len(want)%32 != 0 {
			want += "\x00"
		}
	}
	pad()
	want += "\x00\x3c\x00\x40\x00\xbc"
	pad()
	want += "\x00\x00\x80\x3f"
	pad()
	var got bytes.Buffer
	if err := w.Write(&got); err != nil {
		t.Fatal(err)
	}
	if got.String() != want {
		t.Errorf("got\n%q\nwant\n%q", got.String(), want)
	}
}

// TestWriter_refuses: what llama.cpp cannot read is refused, and an error from data is passed on.
func TestWriter_refuses(t *testing.T) {
	broken := errors.New("broken")
	ok := func() ([]byte, error) { return make([]byte, 4), nil }
	one := gguf.Tensor{Name: "a", Dims: []int{1}, Type: quant.F32}
	for what, c := range map[string]struct {
		fill func(w *gguf.Writer)
		want string
	}{
		"a duplicate key":    {func(w *gguf.Writer) { w.Set("k", true); w.Set("k", false) }, `key "k"`},
		"a duplicate tensor": {func(w *gguf.Writer) { w.Add(one, ok); w.Add(one, ok) }, `tensor "a"`},
		"a long name":        {func(w *gguf.Writer) { w.Add(gguf.Tensor{Name: strings.Repeat("a", 64), Dims: []int{1}}, ok) }, "longer than 63"},
		"no dimensions":      {func(w *gguf.Writer) { w.Add(gguf.Tensor{Name: "a"}, ok) }, "0 dimensions"},
		"part of a block":    {func(w *gguf.Writer) { w.Add(gguf.Tensor{Name: "a", Dims: []int{40}, Type: quant.Q8_0}, ok) }, "multiple of 32 for Q8_0"},
		"too few bytes":      {func(w *gguf.Writer) { w.Add(gguf.Tensor{Name: "a", Dims: []int{2}}, ok) }, "4 bytes, want 8"},
		"data that fails":    {func(w *gguf.Writer) { w.Add(one, func() ([]byte, error) { return nil, broken }) }, "broken"},
		"nothing to reject":  {func(w *gguf.Writer) { w.Add(one, ok) }, ""},
	} {
		var w gguf.Writer
		c.fill(&w)
		err := w.Write(&bytes.Buffer{})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", what, err, c.want)
		}
	}
}

func TestTensorName(t *testing.T) {
	for name, want := range map[string]string{
		"backbone.layers.12.mixer.in_proj.weight": "blk.12.ssm_in.weight", "layers.0.mixer.A_log": "blk.0.ssm_a",
		"backbone.embeddings.weight": "token_embd.weight", "embeddings.weight": "token_embd.weight", "lm_head.weight": "output.weight",
		"backbone.norm_f.weight": "output_norm.weight", "backbone.layers.0.mixer.in_proj.bias": "", "x.embedding.weight": "",
	} {
		if got := gguf.TensorName(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}
