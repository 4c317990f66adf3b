package mamba

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mambatrain/nn"
)

const original = "testdata/original"

// originalValue is element j of tensor i of the original checkpoint; see make.py beside it.
func originalValue(i, j int) float64 { return float64((7919*i+104729*j)%2003-1001) / 1000 }

// originalOrder is the order of tensors in make.py.
var originalOrder = []string{"mixer.A_log", "mixer.D", "mixer.in_proj.weight", "mixer.conv1d.weight", "mixer.conv1d.bias",
	"mixer.x_proj.weight", "mixer.dt_proj.weight", "mixer.dt_proj.bias", "mixer.out_proj.weight", "norm.weight"}

// TestConvert: an original checkpoint becomes a Hugging Face directory with the same numbers: ssm_cfg honoured, a
// transposed and shifted tensor read in order, half precision widened, the repeated head recognised as tied.
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
			tolerance := 1e-7 // float32 of a decimal fraction
			if p.Name == "backbone.layers.1.mixer.in_proj.weight" {
				tolerance = 1.0 / 2048 // kept in half precision
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

// TestConvertShards: a checkpoint that torch itself wrote in two files has the same numbers; a shard that is missing, or
// does not hold what the index says, is named.
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
		"the first again":  {first, "is in another shard too"},
		"something else":   {ConfigFile, "not a zip archive"},
		"a wrong index":    {second, "tensors that are not where the index says:\n  backbone.layers.1.mixer.E in " + second},
		"a path elsewhere": {second, `"../` + second + `" is not a plain file name`},
	} {
		from := t.TempDir()
		for _, name := range []string{ConfigFile, TorchIndexFile, first} {
			copyFile(t, filepath.Join(sharded, name), filepath.Join(from, name))
		}
		if c.as != "" {
			copyFile(t, filepath.Join(sharded, c.as), filepath.Join(from, second))
		}
		switch what {
		case "a wrong index":
			replaceIn(t, filepath.Join(from, TorchIndexFile), "backbone.layers.1.mixer.D", "backbone.layers.1.mixer.E")
		case "a path elsewhere":
			replaceIn(t, filepath.Join(from, TorchIndexFile), `"`+second, `"../`+second)
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

// TestConvertFormats: a Hugging Face directory is written anew in another type and in shards.
func TestConvertFormats(t *testing.T) {
	dir := t.TempDir()
	if _, err := Convert(context.Background(), "testdata/golden/base/model", dir, SaveOptions{DType: nn.BF16, ShardBytes: 100_000}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, nn.IndexFile)); err != nil {
		t.Error(err)
	}
	got, err := Load(dir, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range loadGolden(t, "base/model").Params() {
		within(t, p.Name, got.Params()[i].Float32s(), p.Float32s(), 0, 1.0/256) // half the last of 8 bits
	}
}

// TestConvertFaults: what is not there or is not Mamba-1 is refused and leaves nothing.
func TestConvertFaults(t *testing.T) {
	for what, c := range map[string]struct{ config, want string }{
		"mamba2":       {`{"d_model":8,"n_layer":2,"ssm_cfg":{"layer":"Mamba2"}}`, `"Mamba2" is another model`},
		"hybrid":       {`{"d_model":8,"n_layer":2,"attn_layer_idx":[1]}`, "hybrid"},
		"wrong size":   {`{"d_model":9,"n_layer":2,"vocab_size":23,"ssm_cfg":{"d_state":4}}`, "shape: backbone.embedding.weight is [24 8] in the file, [24 9] by config.json"},
		"more layers":  {`{"d_model":8,"n_layer":3,"vocab_size":23,"ssm_cfg":{"d_state":4}}`, "missing: backbone.layers.2.mixer.A_log [16 4]"},
		"fewer layers": {`{"d_model":8,"n_layer":1,"vocab_size":23,"ssm_cfg":{"d_state":4}}`, "unexpected: backbone.layers.1.mixer.A_log [16 4]"},
	} {
		from, to := t.TempDir(), filepath.Join(t.TempDir(), "to")
		copyFile(t, filepath.Join(original, TorchFile), filepath.Join(from, TorchFile))
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

// repack writes the original checkpoint's archive with some entries changed; change returns nil to leave one out.
func repack(t testing.TB, change func(name string, b []byte) []byte) string {
	t.Helper()
	z, err := zip.OpenReader(filepath.Join(original, TorchFile))
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
		e, err := w.CreateHeader(&zip.FileHeader{Name: f.Name, Method: zip.Store})
		if err == nil {
			_, err = e.Write(b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	path := filepath.Join(t.TempDir(), TorchFile)
	if err := os.WriteFile(path, out.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestHostilePickles: no global but those of tensors is looked up, and no description makes the reader leave its bytes.
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
		"a call of the system":            {pickled("cos\nsystem\n(X\x02\x00\x00\x00lstR."), `"os.system"`},
		"by stack":                        {pickled("\x80\x04\x8c\x02os\x8c\x06system\x93."), `"os.system"`},
		"eval":                            {pickled("c__builtin__\neval\n."), `"__builtin__.eval"`},
		"an old opcode":                   {pickled("(ios\nsystem\n."), "opcode 0x69"},
		"a huge text":                     {pickled("X\xff\xff\xff\x7f"), "a text of"},
		"cut off":                         {pickled("\x80\x02}("), "in the middle"},
		"an empty stack":                  {pickled("R"), "stack empty"},
		"a list":                          {pickled("\x80\x02]."), "want a dictionary"},
		"nothing in it":                   {pickled("\x80\x02}."), "holds no tensors"},
		"a storage that is not there":     {pickled(tensor("99", "K\x04", "K\x00", "K\x04\x85", "K\x01\x85")), `storage "99" is missing`},
		"a storage larger than its bytes": {pickled(tensor("0", "J\xff\xff\xff\x7f", "K\x00", "K\x04\x85", "K\x01\x85")), "elements of FloatStorage"},
		"a shape beyond it":               {pickled(tensor("0", "K\xc0", "K\x00", "M\xff\xff\x85", "K\x01\x85")), "exceeds its storage"},
		"a stride beyond it":              {pickled(tensor("0", "K\xc0", "K\x00", "K\x02\x85", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85")), "exceeds its storage"},
		"an offset beyond it":             {pickled(tensor("0", "K\xc0", "K\xc0", "K\x01\x85", "K\x01\x85")), "exceeds its storage"},
		"one element many times":          {pickled(tensor("0", "K\xc0", "K\x00", "J\xff\xff\xff\x7f\x85", "K\x00\x85")), "exceeds its storage"},
		"a negative shape":                {pickled(tensor("0", "K\xc0", "K\x00", "J\xff\xff\xff\xff\x85", "K\x01\x85")), "not described as torch does"},
		"no archive":                      {filepath.Join(original, ConfigFile), "not a zip archive"},
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
		f, err := openTorch(c.path)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", what, err, c.want)
		}
		if err == nil {
			f.Close()
		}
	}
}

func FuzzUnpickle(f *testing.F) {
	z, err := zip.OpenReader(filepath.Join(original, TorchFile))
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
		file := &torchFile{size: 1 << 10, tensors: map[string]torchTensor{}, data: map[string]*zip.File{
			"0": {FileHeader: zip.FileHeader{UncompressedSize64: 768, CompressedSize64: 768}}}}
		if file.take(d) != nil {
			return
		}
		for _, name := range file.names {
			s := file.describe(name)
			n := 1
			for _, dim := range s.shape {
				n *= dim
			}
			if s.dtype == nn.F32 && (n < 0 || n > 192) {
				t.Fatalf("%s %v passed the check against 192 elements", name, s.shape)
			}
		}
	})
}

// TestOriginalLoads: original names in safetensors load without conversion, with the original configuration.
func TestOriginalLoads(t *testing.T) {
	hf, dir := filepath.Join(t.TempDir(), "hf"), t.TempDir()
	if _, err := Convert(context.Background(), original, hf, SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	f, err := nn.OpenTensors(hf)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var sources []nn.Source
	for _, name := range f.Names() {
		x, _ := f.Tensor(name)
		sources = append(sources, nn.FromTensor(strings.Replace(name, "embeddings", "embedding", 1), x, x.DType))
	}
	if err := nn.SaveTensors(filepath.Join(dir, nn.WeightsFile), sources, nil); err != nil {
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

// ending is a context that ends at the n-th question whether it has ended.
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

// An interrupt is heeded between two tensors, and leaves nothing.
func TestConvertAndExportEndWithTheirContext(t *testing.T) {
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
