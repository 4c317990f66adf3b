package mamba

import (
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
	"mambatrain/nn/weights"
)

// rewrite saves the base model's weights under other names or shapes, with a changed configuration.
func rewrite(t testing.TB, change func(*Config), source func(weights.Tensor) []weights.Entry) string {
	t.Helper()
	dir := t.TempDir()
	c, err := LoadConfig("testdata/golden/base/model")
	if err != nil {
		t.Fatal(err)
	}
	change(&c)
	if err := c.Save(dir); err != nil {
		t.Fatal(err)
	}
	f := golden(t, "base", "model")
	var all []weights.Entry
	for _, n := range f.Names() {
		x, _ := f.Tensor(n)
		all = append(all, source(x)...)
	}
	if err := weights.Save(filepath.Join(dir, weights.ModelFile), all, nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

func same(x weights.Tensor) []weights.Entry {
	return []weights.Entry{weights.FromTensor(x.Name, x, x.DType)}
}
func unchanged(*Config) {}

// TestNames checks that bare and original names load as the same model.
func TestNames(t *testing.T) {
	want := loadGolden(t, "base/model")
	for what, rename := range map[string]func(string) string{
		"bare":     func(n string) string { return strings.TrimPrefix(n, "backbone.") },
		"original": func(n string) string { return strings.Replace(n, "embeddings", "embedding", 1) },
	} {
		dir := rewrite(t, unchanged, func(x weights.Tensor) []weights.Entry {
			return []weights.Entry{weights.FromTensor(rename(x.Name), x, x.DType)}
		})
		m, err := Load(dir, LoadOptions{})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for i, p := range m.Params() {
			q := want.Params()[i]
			if p.Name != q.Name || !slices.Equal(p.Float32s(), q.Float32s()) {
				t.Errorf("%s: %s differs from %s", what, p.Name, q.Name)
			}
		}
	}
}

// TestHeads checks a head and a table that are present or not, tied or not.
func TestHeads(t *testing.T) {
	untied := func(c *Config) { c.TieWordEmbeddings = false }
	withHead := func(scale float32) func(weights.Tensor) []weights.Entry {
		return func(x weights.Tensor) []weights.Entry {
			if x.Name != tableName {
				return same(x)
			}
			v, _ := x.Float32s()
			for i := range v {
				v[i] *= scale
			}
			return append(same(x), weights.FromFloat32s(headName, x.Shape, v, weights.F32))
		}
	}
	asHead := func(x weights.Tensor) []weights.Entry {
		name := x.Name
		if name == tableName {
			name = headName
		}
		return []weights.Entry{weights.FromTensor(name, x, x.DType)}
	}
	for _, c := range []struct {
		what   string
		dir    string
		tied   bool
		faulty bool
	}{
		{"absent, tied", rewrite(t, unchanged, same), true, false},
		{"absent, untied", rewrite(t, untied, same), false, true},
		{"equal, tied", rewrite(t, unchanged, withHead(1)), true, false},
		{"different, tied", rewrite(t, unchanged, withHead(2)), false, false},
		{"present, untied", rewrite(t, untied, withHead(1)), false, false},
		{"instead of the table, tied", rewrite(t, unchanged, asHead), true, false},
	} {
		m, err := Load(c.dir, LoadOptions{})
		if c.faulty {
			if err == nil || !strings.Contains(err.Error(), "missing: lm_head.weight [300 64]") {
				t.Errorf("%s: error %v", c.what, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if m.Tied() != c.tied || m.Config.TieWordEmbeddings != c.tied {
			t.Errorf("%s: tied %v", c.what, m.Tied())
		}
		dir := t.TempDir()
		if err := m.Save(dir, SaveOptions{}); err != nil {
			t.Fatal(err)
		}
		if saved, err := LoadConfig(dir); err != nil || saved.TieWordEmbeddings != c.tied {
			t.Errorf("%s: saved with tie %v, %v", c.what, saved.TieWordEmbeddings, err)
		}
	}
}

// TestLoadFaults checks that all mismatches are in one error, with both shapes.
func TestLoadFaults(t *testing.T) {
	dir := rewrite(t, unchanged, func(x weights.Tensor) []weights.Entry {
		switch x.Name {
		case tableName:
			ints := func() (any, error) { return make([]int, x.Size()), nil }
			return append(same(x), weights.Entry{Name: headName, Shape: x.Shape, DType: weights.I64, Values: ints})
		case "backbone.layers.0.mixer.D":
			return nil
		case "backbone.layers.1.mixer.A_log":
			return []weights.Entry{weights.FromFloat32s(x.Name, []int{3}, make([]float32, 3), weights.F32)}
		case "backbone.norm_f.weight":
			return []weights.Entry{weights.FromInts(x.Name, make([]int, 64)), weights.FromInts("surplus", []int{1})}
		}
		return same(x)
	})
	_, err := Load(dir, LoadOptions{})
	for _, want := range []string{
		"5 tensors do not match config.json:", "type: lm_head.weight is I64, want F32, BF16, or F16", "missing: backbone.layers.0.mixer.D [128]",
		"shape: backbone.layers.1.mixer.A_log is [3] in the file, but [128 16] according to config.json",
		"type: backbone.norm_f.weight is I64", "unexpected: surplus [1]",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v\nwant one with %q", err, want)
		}
	}
	if _, err := Load(rewrite(t, func(c *Config) { c.NumHiddenLayers = 16000 }, same), LoadOptions{}); err == nil || len(err.Error()) > 10_000 {
		t.Errorf("a configuration with many layers causes an error of %d bytes", len(err.Error()))
	}
}

// TestSave checks that a model is unchanged by saving and loading, in one file and in shards, and that 16-bit files
// store sensitive weights in float32.
func TestSave(t *testing.T) {
	m := small(t)
	m.Config.Extra = nil
	for _, o := range []SaveOptions{{}, {ShardBytes: 5000}} {
		dir := filepath.Join(t.TempDir(), "new", "model")
		if err := m.Save(dir, o); err != nil {
			t.Fatal(err)
		}
		back, err := Load(dir, LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range m.Params() {
			if q := back.Params()[i]; p.Name != q.Name || !slices.Equal(p.Float32s(), q.Float32s()) {
				t.Errorf("%s differs", p.Name)
			}
		}
	}
	dir := t.TempDir()
	if err := m.Save(dir, SaveOptions{DType: weights.BF16}); err != nil {
		t.Fatal(err)
	}
	f, err := weights.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, want := range map[string]weights.DType{
		"backbone.layers.0.mixer.A_log": weights.F32, "backbone.layers.0.mixer.D": weights.F32, "backbone.norm_f.weight": weights.F32,
		"backbone.layers.0.mixer.in_proj.weight": weights.BF16, tableName: weights.BF16, headName: weights.BF16,
	} {
		if x, _ := f.Tensor(name); x.DType != want {
			t.Errorf("%s is %s, want %s", name, x.DType, want)
		}
	}
	if c, _ := LoadConfig(dir); c.DType != "bfloat16" {
		t.Errorf("dtype %q", c.DType)
	}
}

// TestSaveFails checks that nothing remains of a directory that could not be filled.
func TestSaveFails(t *testing.T) {
	m := small(t)
	m.Config.DType = "int3"
	dir := filepath.Join(t.TempDir(), "new")
	if err := m.Save(dir, SaveOptions{}); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the directory exists")
	}
	blocked := t.TempDir()
	if err := os.Mkdir(filepath.Join(blocked, weights.ModelFile), 0o777); err != nil {
		t.Fatal(err)
	}
	m.Config.DType = "float32"
	if err := m.Save(blocked, SaveOptions{}); err == nil {
		t.Error("no error")
	}
	filepath.WalkDir(blocked, func(path string, d fs.DirEntry, _ error) error {
		if !d.IsDir() {
			t.Errorf("left over: %s", path)
		}
		return nil
	})
}

// TestUntie checks that an untied head starts as a copy of the table and can change independently.
func TestUntie(t *testing.T) {
	m := loadGolden(t, "base/model")
	n := len(m.Params())
	m.Untie()
	if m.Tied() || len(m.Params()) != n+1 || !slices.Equal(m.Head.Weight.Float32s(), m.Embeddings.Weight.Float32s()) {
		t.Fatal("the head is not a copy of the table")
	}
	m.Head.Weight.Float32s()[0]++
	if m.Head.Weight.Float32s()[0] == m.Embeddings.Weight.Float32s()[0] {
		t.Error("head and table share memory")
	}
}

// TestInit checks the ranges and values of both initializations for the configuration's settings.
func TestInit(t *testing.T) {
	c := Default()
	c.VocabSize, c.HiddenSize, c.NumHiddenLayers, c.IntermediateSize, c.TimeStepRank = 400, 64, 4, 128, 4
	c.TimeStepMin, c.TimeStepMax, c.TimeStepScale, c.TieWordEmbeddings = 0.002, 0.05, 3, false
	limit := func(p *ag.Param) (l float64) {
		for _, x := range p.Float32s() {
			l = max(l, math.Abs(float64(x)))
		}
		return l
	}
	for scheme, wants := range map[Init]map[string]float64{
		InitMambaSSM: {"in": 1 / math.Sqrt(64), "x": 1 / math.Sqrt(128), "out": 1 / math.Sqrt(128) / 2, "conv": 0.5, "bias": 0.5, "dt": 1.5},
		InitHF:       {"out": 1 / math.Sqrt(128), "conv": 0.5, "bias": 0, "dt": 1.5},
	} {
		m, err := New(c, scheme, rand.New(rand.NewPCG(1, 1)), LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		x := m.Layers[1].Mixer.(*Mamba1)
		for what, p := range map[string]*ag.Param{"in": x.InProj.Weight, "x": x.XProj.Weight, "out": x.OutProj.Weight, "conv": x.Conv1d.Weight, "bias": x.Conv1d.Bias, "dt": x.DTProj.Weight} {
			want, bounded := wants[what]
			if got := limit(p); bounded && (got > want || got < 0.9*want) {
				t.Errorf("%s: %s reaches %v, want a uniform draw within %v", scheme, what, got, want)
			}
		}
		for i, b := range x.DTProj.Bias.Float32s() {
			if dt := math.Log1p(math.Exp(float64(b))); dt < 0.002*(1-1e-3) || dt > 0.05*(1+1e-3) {
				t.Errorf("%s: Δ of channel %d starts at %v, want 0.002 to 0.05", scheme, i, dt)
			}
		}
		if a := x.ALog.Float32s(); a[0] != 0 || math.Abs(float64(a[15])-math.Log(16)) > 1e-6 || a[16] != 0 {
			t.Errorf("A_log %v", a[:17])
		}
		if got := rms(m.Embeddings.Weight.Float32s()); math.Abs(got-map[Init]float64{InitMambaSSM: 0.02, InitHF: 0.1}[scheme]) > 0.002 {
			t.Errorf("%s: embeddings have deviation %v", scheme, got)
		}
	}
	if _, err := New(c, "xavier", rand.New(rand.NewPCG(1, 1)), LoadOptions{}); err == nil {
		t.Error("an unknown scheme was accepted")
	}
}

func rms(x []float32) float64 {
	sum := 0.0
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum / float64(len(x)))
}

// checkMeanRows checks that each new row of a table is the mean of the old ones.
func checkMeanRows(t *testing.T, before, after []float32, width int) {
	t.Helper()
	mean := make([]float64, width)
	for i, x := range before {
		mean[i%width] += float64(x) / float64(len(before)/width)
	}
	for i, x := range after[len(before):] {
		if math.Abs(float64(x)-mean[i%width]) > 1e-7 {
			t.Fatalf("column %d of a new row is %v, the mean is %v", i%width, x, mean[i%width])
		}
	}
}

// TestLoad_resized checks that loading a model with another vocabulary equals resizing it, for every form of weights.
func TestLoad_resized(t *testing.T) {
	for _, dir := range []string{"testdata/golden/base/model", "testdata/golden/variant/model"} {
		for _, more := range []int{3, -7} {
			m, err := Load(dir, LoadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			v := m.Config.VocabSize + more
			if err := m.Resize(v); err != nil {
				t.Fatal(err)
			}
			other, err := Load(dir, LoadOptions{VocabSize: v})
			if err != nil {
				t.Fatal(err)
			}
			for i, p := range m.Params() {
				if q := other.Params()[i]; !slices.Equal(p.Float32s(), q.Float32s()) {
					t.Errorf("%s: %s differs", dir, p.Name)
				}
			}
			if other.Tied() != m.Tied() || other.Config.VocabSize != v || other.Head.Out() != v {
				t.Errorf("%s: vocabulary %d, head %d", dir, other.Config.VocabSize, other.Head.Out())
			}
			for _, o := range []LoadOptions{{VocabSize: v, Precision: BF16, Packed: true}, {VocabSize: v, Packed: true}} {
				packed, err := Load(dir, o)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := packed.Generate(ctx, [][]int{{v - 1}}, packed.DefaultGenerate()); err != nil {
					t.Error(err)
				}
			}
		}
	}
	if _, err := Load("testdata/golden/base/model", LoadOptions{VocabSize: maxSize + 1}); err == nil || !strings.Contains(err.Error(), "larger than any model") {
		t.Errorf("error %v", err)
	}
}

// TestResize checks that old rows are kept, new ones are their mean, a tied head follows, and the model still runs.
func TestResize(t *testing.T) {
	for _, tied := range []bool{true, false} {
		m := loadGolden(t, map[bool]string{true: "base/model", false: "variant/model"}[tied])
		old, before := m.Config.VocabSize, slices.Clone(m.Embeddings.Weight.Float32s())
		if err := m.Resize(old + 40); err != nil {
			t.Fatal(err)
		}
		after := m.Embeddings.Weight.Float32s()
		if !slices.Equal(after[:len(before)], before) || m.Tied() != tied || m.Head.Out() != old+40 {
			t.Errorf("tied %v: old rows changed or the head did not follow", tied)
		}
		checkMeanRows(t, before, after, m.Config.HiddenSize)
		if _, err := m.Generate(ctx, [][]int{{old + 39}}, m.DefaultGenerate()); err != nil {
			t.Error(err)
		}
		if err := m.Resize(10); err != nil || m.Head.Out() != 10 || m.Embeddings.Weight.Shape()[0] != 10 {
			t.Errorf("shrinking: %v", err)
		}
		dir := t.TempDir()
		if err := m.Save(dir, SaveOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(dir, LoadOptions{}); err != nil {
			t.Error(err)
		}
	}
}

// TestPacked checks that a model whose weights are only in the kernels' layout runs, saves, and unties like any other.
func TestPacked(t *testing.T) {
	for _, o := range []LoadOptions{{Packed: true}, {Packed: true, Precision: BF16}} {
		dir := "testdata/golden/formats/bf16"
		m, err := Load(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := Load(dir, LoadOptions{Precision: o.Precision})
		if err != nil {
			t.Fatal(err)
		}
		if m.Embeddings.Weight.Value != nil {
			t.Error("the table has a plain copy")
		}
		saved := t.TempDir()
		if err := m.Save(saved, SaveOptions{}); err != nil {
			t.Fatal(err)
		}
		back, err := Load(saved, LoadOptions{Precision: o.Precision})
		if err != nil {
			t.Fatal(err)
		}
		m.Untie()
		want := generate(t, plain, plain.DefaultGenerate()).IDs
		for what, other := range map[string]*Model{"packed and untied": m, "saved from packed": back} {
			if got := generate(t, other, other.DefaultGenerate()).IDs; !slices.Equal(got, want) {
				t.Errorf("%+v: %s gives %v, want %v", o, what, got, want)
			}
		}
	}
}

// TestNewForms checks that a model created in a form other than float32 has the same values, rounded.
func TestNewForms(t *testing.T) {
	c := loadGolden(t, "base/model").Config
	c.TieWordEmbeddings = false
	fresh := func(o LoadOptions) *Model {
		m, err := New(c, InitMambaSSM, rand.New(rand.NewPCG(1, 1)), o)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	plain := fresh(LoadOptions{})
	for _, o := range []LoadOptions{{Precision: BF16}, {Packed: true}, {Precision: BF16, Packed: true}} {
		for i, p := range fresh(o).Params() {
			want := plain.Params()[i].Float32Copy()
			if matrix := isMatrix(p.Name, p.Shape()); matrix != (p.IsBF16() || p.Value == nil) || o.Precision == BF16 && matrix != p.IsBF16() {
				t.Errorf("%+v: %s has a different form", o, p.Name)
			}
			if p.IsBF16() {
				bits := make([]uint16, len(want))
				kernel.ToBF16(bits, want)
				kernel.WidenBF16(want, bits)
			}
			if !slices.Equal(p.Float32Copy(), want) {
				t.Errorf("%+v: %s differs", o, p.Name)
			}
		}
	}
}

// TestFootprint checks the predicted size of a model against that of its parameters.
func TestFootprint(t *testing.T) {
	c := loadGolden(t, "base/model").Config
	for _, o := range []LoadOptions{{}, {Precision: BF16}, {Packed: true}, {Precision: BF16, Packed: true}, {Precision: Q8}, {Precision: Q4, Packed: true}} {
		m, err := New(c, InitMambaSSM, rand.New(rand.NewPCG(1, 1)), o)
		if err != nil {
			t.Fatal(err)
		}
		all := int64(0)
		for _, p := range m.Params() {
			all += p.Bytes()
		}
		// Packed weights are padded slightly.
		if got, one, err := Footprint(c, o); err != nil || got > all || got < all*8/10 || one > 2*all {
			t.Errorf("%+v: %d bytes, the largest %d, %v, want about %d", o, got, one, err, all)
		}
	}
}

// TestOutline checks that the outline of the largest published model has its parameters and slots and takes hardly
// any memory.
func TestOutline(t *testing.T) {
	c, err := Preset("2.8b")
	if err != nil {
		t.Fatal(err)
	}
	for _, precision := range Precisions() {
		m, err := Outline(c, LoadOptions{Precision: Precision(precision)})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, p := range m.Params() {
			n += p.Size()
		}
		if n != 2_768_345_600 || len(m.Slots()) != 2+4*64 || m.Layers[0].Mixer.(*Mamba1).InProj.Weight.IsBF16() != (precision == "bf16") {
			t.Errorf("%s: %d parameters, %d slots", precision, n, len(m.Slots()))
		}
	}
	c.VocabSize, c.HiddenSize = maxSize, maxSize
	if _, err := Outline(c, LoadOptions{}); err == nil || !strings.Contains(err.Error(), "larger than any model") {
		t.Errorf("error %v", err)
	}
}
