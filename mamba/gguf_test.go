package mamba

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	ag "mambatrain/autograd"
	"mambatrain/internal/float16"
	"mambatrain/internal/gguf"
)

// ggufSum is the relative tolerance for sums that numpy and the test compute in different orders.
const ggufSum = 1e-6

// ggufGolden is golden.json: the contents of a file as read by the reference reader, the Python package gguf; see
// golden.py.
type ggufGolden struct {
	Keys []struct {
		Key   string
		Types []string
		Value any
	}
	Tensors []struct {
		Name, Type string
		Dims       []int
		Offset     int
		Sum, Last  float64
	}
}

// exported exports the base model of the reference with a small tokenizer to GGUF.
func exported(t *testing.T, as GGUFType) string {
	t.Helper()
	dir := t.TempDir()
	for from, to := range map[string]string{
		"testdata/golden/base/model/config.json": ConfigFile, "testdata/golden/base/model/model.safetensors": "model.safetensors",
		"testdata/gguf/tokenizer.json": tokenizerFile,
	} {
		copyFile(t, from, filepath.Join(dir, to))
	}
	file := filepath.Join(dir, "model.gguf")
	n, err := ExportGGUF(context.Background(), dir, file, GGUFOptions{Type: as, Name: "golden"})
	if err != nil {
		t.Fatal(err)
	}
	if n != 32 {
		t.Errorf("%d tensors, want 32", n)
	}
	return file
}

// TestGGUF compares the keys, tensors, and values with those that the reference reader found in the same file.
func TestGGUF(t *testing.T) {
	b, err := os.ReadFile("testdata/gguf/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var want ggufGolden
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	r := readGGUF(t, exported(t, GGUFQ8))
	if len(r.keys) != len(want.Keys) || len(r.tensors) != len(want.Tensors) {
		t.Fatalf("%d keys, %d tensors; want %d and %d", len(r.keys), len(r.tensors), len(want.Keys), len(want.Tensors))
	}
	for i, k := range want.Keys {
		if r.keys[i] != k.Key || !reflect.DeepEqual(r.values[i], k.Value) {
			t.Errorf("key %d: %s = %v, want %s = %v", i, r.keys[i], r.values[i], k.Key, k.Value)
		}
	}
	for i, w := range want.Tensors {
		got := r.tensors[i]
		if got.name != w.Name || got.kind != w.Type || !reflect.DeepEqual(got.dims, w.Dims) || r.data+got.offset != w.Offset {
			t.Errorf("tensor %d: %s %s %v at %d, want %s %s %v at %d", i, got.name, got.kind, got.dims, r.data+got.offset, w.Name, w.Type, w.Dims, w.Offset)
			continue
		}
		v := r.decode(got)
		sum := 0.0
		for _, x := range v {
			sum += math.Abs(float64(x))
		}
		if math.Abs(sum-w.Sum) > ggufSum*w.Sum || math.Abs(float64(v[len(v)-1])-w.Last) > ggufSum {
			t.Errorf("%s: |sum| %v, last %v; want %v and %v", w.Name, sum, v[len(v)-1], w.Sum, w.Last)
		}
	}
}

// TestGGUFFamilies compares the architecture, keys, shapes, and values of the other families with those of llama.cpp's
// converter.
func TestGGUFFamilies(t *testing.T) {
	falcon, mamba2 := falconDefaults(), mamba2Defaults()
	falcon.VocabSize, falcon.HiddenSize, falcon.NumHiddenLayers, falcon.TimeStepRank, falcon.TieWordEmbeddings = 512, 256, 1, 32, false
	mamba2.VocabSize, mamba2.HiddenSize, mamba2.NumHiddenLayers, mamba2.NumHeads, mamba2.NGroups, mamba2.TieWordEmbeddings = 512, 256, 1, 8, 2, true
	for _, c := range []struct {
		config  Config
		keys    map[string]any
		tensors map[string][]int // llama.cpp lists the fastest dimension first
	}{
		{falcon, map[string]any{
			"general.architecture": "mamba", "mamba.ssm.inner_size": 512.0, "mamba.ssm.state_size": 16.0, "mamba.ssm.time_step_rank": 32.0,
			"mamba.ssm.dt_b_c_rms": true, "mamba.attention.layer_norm_rms_epsilon": float64(float32(1e-5)),
		}, map[string][]int{
			"output.weight": {256, 512}, "output_norm.weight": {256}, "token_embd.weight": {256, 512}, "blk.0.attn_norm.weight": {256},
			"blk.0.ssm_a": {16, 512}, "blk.0.ssm_conv1d.bias": {512}, "blk.0.ssm_conv1d.weight": {4, 512}, "blk.0.ssm_d": {512},
			"blk.0.ssm_dt.bias": {512}, "blk.0.ssm_dt.weight": {32, 512}, "blk.0.ssm_in.weight": {256, 1024},
			"blk.0.ssm_out.weight": {512, 256}, "blk.0.ssm_x.weight": {512, 64},
		}},
		{mamba2, map[string]any{
			"general.architecture": "mamba2", "mamba2.context_length": float64(1 << 20), "mamba2.embedding_length": 256.0,
			"mamba2.feed_forward_length": 0.0, "mamba2.attention.head_count": 0.0, "mamba2.block_count": 1.0, "mamba2.ssm.conv_kernel": 4.0,
			"mamba2.ssm.inner_size": 512.0, "mamba2.ssm.state_size": 128.0, "mamba2.ssm.time_step_rank": 8.0, "mamba2.ssm.group_count": 2.0,
			"mamba2.attention.layer_norm_rms_epsilon": float64(float32(1e-5)),
		}, map[string][]int{
			"output_norm.weight": {256}, "token_embd.weight": {256, 512}, "blk.0.attn_norm.weight": {256}, "blk.0.ssm_a": {1, 8},
			"blk.0.ssm_conv1d.bias": {1024}, "blk.0.ssm_conv1d.weight": {4, 1024}, "blk.0.ssm_d": {1, 8}, "blk.0.ssm_dt.bias": {8},
			"blk.0.ssm_in.weight": {256, 1544}, "blk.0.ssm_norm.weight": {256, 2}, "blk.0.ssm_out.weight": {512, 256},
		}},
	} {
		for _, bias := range []bool{true, false} { // llama.cpp requires a bias: zeros are written
			c.config.UseConvBias = bias
			c.config.derive()
			m, err := New(c.config, InitMambaSSM, rand.New(rand.NewPCG(1, 2)), LoadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := m.Save(dir, SaveOptions{}); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, "model.gguf")
			if _, err := ExportGGUF(ctx, dir, file, GGUFOptions{Type: GGUFF32}); err != nil {
				t.Fatal(err)
			}
			checkFamilyGGUF(t, readGGUF(t, file), m, c.keys, c.tensors)
		}
	}
}

func checkFamilyGGUF(t *testing.T, r *ggufContents, m *Model, keys map[string]any, tensors map[string][]int) {
	t.Helper()
	for key, want := range keys {
		if i := slices.Index(r.keys, key); i < 0 || !reflect.DeepEqual(r.values[i], want) {
			t.Errorf("%s is not %v", key, want)
		}
	}
	params := map[string]*ag.Param{}
	for _, p := range m.Params() {
		params[gguf.TensorName(p.Name)] = p
	}
	for _, x := range r.tensors {
		if !slices.Equal(x.dims, tensors[x.name]) {
			t.Errorf("%s: %v, want %v", x.name, x.dims, tensors[x.name])
			continue
		}
		want := make([]float32, len(r.decode(x)))
		if p := params[x.name]; p != nil {
			copy(want, p.Float32s())
		}
		if strings.HasSuffix(x.name, "ssm_a") {
			for i, v := range want {
				want[i] = float32(-math.Exp(float64(v)))
			}
		}
		if !slices.Equal(r.decode(x), want) {
			t.Errorf("%s has different values", x.name)
		}
	}
	if len(r.tensors) != len(tensors) {
		t.Errorf("%d tensors, want %d", len(r.tensors), len(tensors))
	}
}

// TestGGUFPreTokenizer checks llama.cpp's name for the way a tokenizer splits texts.
func TestGGUFPreTokenizer(t *testing.T) {
	const falcon = `{"type":"Sequence","pretokenizers":[{"type":"Punctuation","behavior":"Contiguous"},
		{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},{"type":"Digits","individual_digits":false},
		{"type":"Split","pattern":{"Regex":"[0-9][0-9][0-9]"},"behavior":"Isolated","invert":false}]}`
	for text, want := range map[string]string{
		`{"type":"ByteLevel"}`:                   "gpt-2",
		`{"type":"ByteLevel","use_regex":false}`: "",
		falcon:                                   "falcon",
		strings.Replace(falcon, "[0-9][0-9][0-9]", "[0-9]", 1):      "",
		strings.Replace(falcon, "Contiguous", "Isolated", 1):        "",
		strings.Replace(falcon, `"Punctuation"`, `"Whitespace"`, 1): "",
	} {
		var p preTokenizer
		if err := json.Unmarshal([]byte(text), &p); err != nil || p.name() != want {
			t.Errorf("%s: %q, want %q; %v", text, p.name(), want, err)
		}
	}
}

// TestGGUFTypes checks that every type preserves the weights within its precision, and that sensitive weights remain
// float32.
func TestGGUFTypes(t *testing.T) {
	m := loadGolden(t, "base/model")
	table := m.Embeddings.Weight.Float32s()
	a := m.Layers[1].Mixer.(*Mamba1).ALog.Float32s()
	for as, rel := range map[GGUFType]float64{GGUFF32: 0, GGUFF16: 1.0 / 2048, "BF16": 1.0 / 256, GGUFQ8: 1.0 / 254} {
		r := readGGUF(t, exported(t, as))
		top := 0.0
		for _, x := range table {
			top = max(top, math.Abs(float64(x)))
		}
		within(t, string(as)+" table", r.decode(r.tensors[0]), table, rel*top, 0)
		for _, x := range r.tensors {
			if x.name != "blk.1.ssm_a" {
				continue
			}
			for i, v := range r.decode(x) {
				if want := -math.Exp(float64(a[i])); math.Abs(float64(v)-want) > 1e-6*math.Abs(want) {
					t.Fatalf("A %d is %v, want %v", i, v, want)
				}
			}
		}
	}
}

// TestGGUFRefuses checks that errors name the settings that llama.cpp's Mamba cannot represent.
func TestGGUFRefuses(t *testing.T) {
	to := filepath.Join(t.TempDir(), "x.gguf")
	for dir, wants := range map[string][]string{
		"testdata/golden/variant/model":       {"intermediate_size", "use_bias"},
		"testdata/golden/nobias/model":        {"hidden_act"},
		"testdata/golden/mamba2_groups/model": {"use_bias", "time_step_limit: llama.cpp does not limit Δ, got 0.01 to 0.2"},
		"testdata/golden/none":                {"config"},
	} {
		_, err := ExportGGUF(context.Background(), dir, to, GGUFOptions{})
		for _, want := range wants {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v, want one with %q", dir, err, want)
			}
		}
	}
	if _, err := ExportGGUF(context.Background(), "testdata/golden/base/model", to, GGUFOptions{Type: "Q2_K"}); err == nil {
		t.Error("an unknown type was accepted")
	}
	dir := rewrite(t, unchanged, same)
	for content, want := range map[string]string{
		`{"model":{"type":"Unigram"}}`: "Unigram", `{`: tokenizerFile,
		`{"model":{"type":"BPE","vocab":{"a":300}},"pre_tokenizer":{"type":"ByteLevel"}}`:     "id 300",
		`{"model":{"type":"BPE","merges":[["a"]]},"pre_tokenizer":{"type":"ByteLevel"}}`:      "merge 0",
		`{"model":{"type":"BPE"},"pre_tokenizer":{"type":"ByteLevel","use_regex":false}}`:     "splits like GPT-2",
		`{"model":{"type":"BPE"},"pre_tokenizer":{"type":"Sequence","pretokenizers":[null]}}`: "Sequence",
	} {
		if err := os.WriteFile(filepath.Join(dir, tokenizerFile), []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := ExportGGUF(context.Background(), dir, to, GGUFOptions{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", content, err, want)
		}
	}
	if _, err := os.Stat(to); err == nil {
		t.Error("something was written")
	}
}

// TestGGUF_converter compares the exported keys and tensors with those written by llama.cpp's own converter.
func TestGGUF_converter(t *testing.T) {
	for _, name := range []string{"mamba", "falcon_mamba", "mamba2"} {
		golden := filepath.Join("testdata", "gguf", "converter", name)
		c, err := LoadConfig(golden)
		if err != nil {
			t.Fatal(err)
		}
		m, err := New(c, InitMambaSSM, rand.New(rand.NewPCG(1, 1)), LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := m.Save(dir, SaveOptions{}); err != nil {
			t.Fatal(err)
		}
		copyFile(t, filepath.Join(golden, tokenizerFile), filepath.Join(dir, tokenizerFile))
		file := filepath.Join(dir, "x.gguf")
		if _, err := ExportGGUF(context.Background(), dir, file, GGUFOptions{Type: GGUFQ8, Name: "golden"}); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(golden, "llama_cpp.json"))
		if err != nil {
			t.Fatal(err)
		}
		var want ggufConverted
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatal(err)
		}
		want.compare(t, name, readGGUF(t, file))
	}
}

// TestGGUF_sampling checks that the file contains the sampling settings of generation_config.json that llama.cpp's
// converter stores, even if they are llama.cpp's or transformers' defaults.
func TestGGUF_sampling(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{ConfigFile, "model.safetensors"} {
		copyFile(t, "testdata/golden/base/model/"+name, filepath.Join(dir, name))
	}
	text := `{"top_k":50,"temperature":0.7,"top_p":null,"do_sample":false,"repetition_penalty":1.2}`
	if err := os.WriteFile(filepath.Join(dir, GenerationConfigFile), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "model.gguf")
	var notes []string
	o := GGUFOptions{Type: GGUFQ8, Note: func(note string) { notes = append(notes, note) }}
	if _, err := ExportGGUF(context.Background(), dir, file, o); err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	r := readGGUF(t, file)
	for i, key := range r.keys {
		if name, ok := strings.CutPrefix(key, "general.sampling."); ok {
			got[name] = r.values[i]
		}
	}
	if want := map[string]any{"top_k": 50.0, "temp": float64(float32(0.7))}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], ": repetition_penalty; ") {
		t.Errorf("notes %q", notes)
	}
}

// ggufConverted is a record of the Q8_0 file that llama-cpp-python 0.3.36 wrote for a model with the same
// configuration.
type ggufConverted struct {
	Keys []struct {
		Key    string
		Value  any
		First  []any // of a list
		Length int
	}
	Tensors []struct {
		Name, Type string
		Dims       []int
	}
}

func (c *ggufConverted) compare(t *testing.T, name string, r *ggufContents) {
	t.Helper()
	// The converter's size label, the chat template, and a flag that is false by default.
	without := []string{"general.size_label", "tokenizer.chat_template", "tokenizer.ggml.add_eos_token"}
	for _, k := range c.Keys {
		i := slices.Index(r.keys, k.Key)
		switch {
		case slices.Contains(without, k.Key):
		case i < 0:
			t.Errorf("%s: %s is missing", name, k.Key)
		case k.First != nil:
			if list, ok := r.values[i].([]any); !ok || len(list) != k.Length || !reflect.DeepEqual(list[:len(k.First)], k.First) {
				t.Errorf("%s: %s has not %d elements from %v", name, k.Key, k.Length, k.First)
			}
		case !reflect.DeepEqual(r.values[i], k.Value):
			t.Errorf("%s: %s is %v, want %v", name, k.Key, r.values[i], k.Value)
		}
	}
	got := map[string]string{}
	for _, x := range r.tensors {
		got[x.name] = fmt.Sprint(x.kind, " ", x.dims)
	}
	for _, x := range c.Tensors {
		if want := fmt.Sprint(x.Type, " ", x.Dims); got[x.Name] != want {
			t.Errorf("%s: %s is %s, want %s", name, x.Name, got[x.Name], want)
		}
		delete(got, x.Name)
	}
	if len(got) > 0 {
		t.Errorf("%s: %v are not in llama.cpp's file", name, got)
	}
}

// ggufContents is a file as read by the test.
type ggufContents struct {
	b       []byte
	keys    []string
	values  []any // in JSON's types
	tensors []ggufFound
	data    int
}

type ggufFound struct {
	name, kind string
	dims       []int
	offset     int
}

type ggufReader struct{ *bytes.Reader }

func (r ggufReader) u32() (x uint32) { binary.Read(r, binary.LittleEndian, &x); return x }
func (r ggufReader) u64() (x uint64) { binary.Read(r, binary.LittleEndian, &x); return x }

func (r ggufReader) text() string {
	b := make([]byte, r.u64())
	r.Read(b)
	return string(b)
}

func (r ggufReader) value(kind uint32) any {
	switch kind {
	case 4:
		return float64(r.u32())
	case 5:
		return float64(int32(r.u32()))
	case 6:
		return float64(math.Float32frombits(r.u32()))
	case 7:
		b, _ := r.ReadByte()
		return b == 1
	case 8:
		return r.text()
	case 9:
		of := r.u32()
		items := make([]any, r.u64())
		for i := range items {
			items[i] = r.value(of)
		}
		return items
	}
	panic(fmt.Sprintf("type %d", kind))
}

func readGGUF(t *testing.T, path string) *ggufContents {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := ggufReader{bytes.NewReader(b)}
	if magic := r.u32(); magic != binary.LittleEndian.Uint32([]byte("GGUF")) {
		t.Fatalf("magic %x", magic)
	}
	if version := r.u32(); version != 3 {
		t.Fatalf("version %d", version)
	}
	c := &ggufContents{b: b}
	tensors, keys := int(r.u64()), int(r.u64())
	for range keys {
		c.keys = append(c.keys, r.text())
		c.values = append(c.values, r.value(r.u32()))
	}
	for range tensors {
		x := ggufFound{name: r.text()}
		for range r.u32() {
			x.dims = append(x.dims, int(r.u64()))
		}
		x.kind = map[uint32]string{0: "F32", 1: "F16", 8: "Q8_0", 30: "BF16"}[r.u32()]
		x.offset = int(r.u64())
		c.tensors = append(c.tensors, x)
	}
	c.data = (len(b) - r.Len() + 31) / 32 * 32
	return c
}

func (c *ggufContents) decode(x ggufFound) []float32 {
	n := 1
	for _, dim := range x.dims {
		n *= dim
	}
	v, b := make([]float32, n), c.b[c.data+x.offset:]
	for i := range v {
		switch x.kind {
		case "F32":
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		case "F16":
			v[i] = float16.FromFP16(binary.LittleEndian.Uint16(b[2*i:]))
		case "BF16":
			v[i] = float16.FromBF16(binary.LittleEndian.Uint16(b[2*i:]))
		case "Q8_0":
			block := b[i/32*34:]
			v[i] = float16.FromFP16(binary.LittleEndian.Uint16(block)) * float32(int8(block[2+i%32]))
		}
	}
	return v
}
