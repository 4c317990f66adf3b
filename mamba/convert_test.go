package mamba

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mambatrain/mamba/torchfile"
	"mambatrain/nn/weights"
)

const original = "testdata/original"

// originalValue returns element j of tensor i of the original checkpoint; see make.py.
func originalValue(i, j int) float64 { return float64((7919*i+104729*j)%2003-1001) / 1000 }

// originalOrder is the order of tensors in make.py.
var originalOrder = []string{"mixer.A_log", "mixer.D", "mixer.in_proj.weight", "mixer.conv1d.weight", "mixer.conv1d.bias",
	"mixer.x_proj.weight", "mixer.dt_proj.weight", "mixer.dt_proj.bias", "mixer.out_proj.weight", "norm.weight"}

// TestConvert converts an original checkpoint to a Hugging Face directory with the same values: ssm_cfg is applied, a
// transposed tensor with an offset is read in order, half precision is widened, and the repeated head is recognized
// as tied.
func TestConvert(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hf")
	c, err := Convert(context.Background(), original, dir, SaveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if c.StateSize != 4 || c.VocabSize != 24 || !c.TieWordEmbeddings {
		t.Errorf("%+v", c)
	}
	m, err := Load(dir, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Params() {
		i := tensorNumber(t, p.Name)
		for j, got := range p.Float32s() {
			tolerance := 1e-7 // decimal fraction rounded to float32
			if p.Name == "backbone.layers.1.mixer.in_proj.weight" {
				tolerance = 1.0 / 2048 // stored in half precision
			}
			if want := originalValue(i, j); math.Abs(float64(got)-want) > tolerance {
				t.Fatalf("%s: element %d is %v, want %v", p.Name, j, got, want)
			}
		}
	}
	if !m.Tied() {
		t.Error("the head is not tied")
	}
	if _, err := m.Generate(ctx, [][]int{{1, 2}}, m.DefaultGenerate()); err != nil {
		t.Error(err)
	}
}

func tensorNumber(t *testing.T, name string) int {
	switch name {
	case tableName:
		return 0
	case "backbone.norm_f.weight":
		return 21
	}
	rest := strings.TrimPrefix(name, "backbone.layers.")
	return 1 + 10*int(rest[0]-'0') + slices.Index(originalOrder, rest[2:])
}

// TestConvertShards checks that a checkpoint written by torch in two files has the same values, and that the error
// names a shard that is missing or does not match the index.
func TestConvertShards(t *testing.T) {
	const sharded = "testdata/sharded"
	dir := filepath.Join(t.TempDir(), "hf")
	c, err := Convert(context.Background(), sharded, dir, SaveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !c.TieWordEmbeddings {
		t.Error("a head that repeats the table of another shard is not tied")
	}
	m, err := Load(dir, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Params() {
		i := tensorNumber(t, p.Name)
		for j, got := range p.Float32s() {
			if got != float32(originalValue(i, j)) {
				t.Fatalf("%s: element %d is %v, want %v", p.Name, j, got, originalValue(i, j))
			}
		}
	}
	const first, second = "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"
	for what, c := range map[string]struct{ as, want string }{
		"missing":          {"", "no such file"},
		"the first again":  {first, "is also in another shard"},
		"something else":   {ConfigFile, "not a zip archive"},
		"a wrong index":    {second, "tensors are not in the files given by the index:\n  backbone.layers.1.mixer.E in " + second},
		"a path elsewhere": {second, `"../` + second + `" is not a plain file name`},
	} {
		from := t.TempDir()
		for _, name := range []string{ConfigFile, torchfile.IndexFile, first} {
			copyFile(t, filepath.Join(sharded, name), filepath.Join(from, name))
		}
		if c.as != "" {
			copyFile(t, filepath.Join(sharded, c.as), filepath.Join(from, second))
		}
		switch what {
		case "a wrong index":
			replaceIn(t, filepath.Join(from, torchfile.IndexFile), "backbone.layers.1.mixer.D", "backbone.layers.1.mixer.E")
		case "a path elsewhere":
			replaceIn(t, filepath.Join(from, torchfile.IndexFile), `"`+second, `"../`+second)
		}
		if _, err := Convert(context.Background(), from, filepath.Join(from, "to"), SaveOptions{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", what, err, c.want)
		}
	}
}

func replaceIn(t *testing.T, path, old, new string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, bytes.ReplaceAll(b, []byte(old), []byte(new)), 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestConvertFormats rewrites a Hugging Face directory in a different type and in shards.
func TestConvertFormats(t *testing.T) {
	dir := t.TempDir()
	if _, err := Convert(context.Background(), "testdata/golden/base/model", dir, SaveOptions{DType: weights.BF16, ShardBytes: 100_000}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, weights.IndexFile)); err != nil {
		t.Error(err)
	}
	got, err := Load(dir, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range loadGolden(t, "base/model").Params() {
		within(t, p.Name, got.Params()[i].Float32s(), p.Float32s(), 0, 1.0/256) // half a unit in the last of 8 bits
	}
}

// TestConvertFaults checks that missing files and other models are errors and that no output remains.
func TestConvertFaults(t *testing.T) {
	for what, c := range map[string]struct{ config, want string }{
		"mamba3":       {`{"d_model":8,"n_layer":2,"ssm_cfg":{"layer":"Mamba3"}}`, `"Mamba3" is not supported`},
		"hybrid":       {`{"d_model":8,"n_layer":2,"attn_layer_idx":[1]}`, "hybrid"},
		"wrong size":   {`{"d_model":9,"n_layer":2,"vocab_size":23,"ssm_cfg":{"d_state":4}}`, "shape: backbone.embedding.weight is [24 8] in the file, but [24 9] according to config.json"},
		"more layers":  {`{"d_model":8,"n_layer":3,"vocab_size":23,"ssm_cfg":{"d_state":4}}`, "missing: backbone.layers.2.mixer.A_log [16 4]"},
		"fewer layers": {`{"d_model":8,"n_layer":1,"vocab_size":23,"ssm_cfg":{"d_state":4}}`, "unexpected: backbone.layers.1.mixer.A_log [16 4]"},
	} {
		from, to := t.TempDir(), filepath.Join(t.TempDir(), "to")
		copyFile(t, filepath.Join(original, torchfile.ModelFile), filepath.Join(from, torchfile.ModelFile))
		if err := os.WriteFile(filepath.Join(from, ConfigFile), []byte(c.config), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := Convert(context.Background(), from, to, SaveOptions{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v\nwant one with %q", what, err, c.want)
		}
		if _, err := os.Stat(to); err == nil {
			t.Errorf("%s: something was written", what)
		}
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestOriginalLoads loads original names and configuration from safetensors without conversion.
func TestOriginalLoads(t *testing.T) {
	hf, dir := filepath.Join(t.TempDir(), "hf"), t.TempDir()
	if _, err := Convert(context.Background(), original, hf, SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	f, err := weights.Open(hf)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var sources []weights.Entry
	for _, name := range f.Names() {
		x, _ := f.Tensor(name)
		sources = append(sources, weights.FromTensor(strings.Replace(name, "embeddings", "embedding", 1), x, x.DType))
	}
	if err := weights.Save(filepath.Join(dir, weights.ModelFile), sources, nil); err != nil {
		t.Fatal(err)
	}
	copyFile(t, filepath.Join(original, ConfigFile), filepath.Join(dir, ConfigFile))
	m, err := Load(dir, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(m.Config)
	if err != nil || !strings.Contains(string(b), `"hidden_size":8`) {
		t.Errorf("%s, %v", b, err)
	}
	if err := m.Save(t.TempDir(), SaveOptions{}); err != nil {
		t.Error(err)
	}
}

// ending is a context that is done the n-th time it is asked.
type ending struct {
	context.Context
	n *int
}

func (e ending) Err() error {
	if *e.n--; *e.n < 0 {
		return context.Canceled
	}
	return nil
}

// TestConvertAndExportStopWhenCanceled checks that an interrupt takes effect between two tensors and leaves no
// output.
func TestConvertAndExportStopWhenCanceled(t *testing.T) {
	const model = "testdata/golden/base/model"
	for name, write := range map[string]func(ctx context.Context, to string) error{
		"convert": func(ctx context.Context, to string) error {
			_, err := Convert(ctx, model, to, SaveOptions{ShardBytes: 100_000})
			return err
		},
		"export": func(ctx context.Context, to string) error {
			_, err := ExportGGUF(ctx, model, to, GGUFOptions{})
			return err
		},
	} {
		for _, n := range []int{0, 1, 9} {
			dir := t.TempDir()
			if err := write(ending{context.Background(), &n}, filepath.Join(dir, "out")); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: got %v", name, err)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("%s: %v is left", name, left)
			}
		}
	}
}
