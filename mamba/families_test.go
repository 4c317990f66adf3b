package mamba

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	ag "mambatrain/autograd"
	"mambatrain/internal/pyjson"
	"mambatrain/nn/weights"
)

// TestFamilyConfigs checks the interpretation of configuration files and that faulty ones are rejected by key.
// Written configurations have the same meaning.
func TestFamilyConfigs(t *testing.T) {
	for _, dir := range []string{"falcon_configs", "mamba2_configs"} {
		dir := filepath.Join("testdata", "golden", dir)
		var expected map[string]map[string]any
		if err := pyjson.ReadFile(filepath.Join(dir, "expected.json"), 1<<20, &expected); err != nil {
			t.Fatal(err)
		}
		for name, want := range expected {
			t.Run(name, func(t *testing.T) {
				c, err := LoadConfig(filepath.Join(dir, name+".json"))
				if key, refused := want["refuse"]; refused {
					if err == nil || !strings.Contains(err.Error(), key.(string)) {
						t.Errorf("error %v, want one with %s", err, key)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				delete(want, "transformers")
				sameConfig(t, c, want)
				b, err := json.Marshal(c)
				if err != nil {
					t.Fatal(err)
				}
				sameConfig(t, parse(t, string(b)), want)
			})
		}
	}
}

// sameConfig compares the keys of want with c.
func sameConfig(t *testing.T, c Config, want map[string]any) {
	t.Helper()
	got := map[string]any{"model_type": c.ModelType}
	for _, f := range c.fields() {
		got[f.name] = f.place
	}
	if l := c.TimeStepLimit; math.IsInf(l.Max, 1) || l.Max == math.MaxFloat32 {
		got["time_step_limit"] = []any{l.Min, "Infinity"}
		if list, ok := want["time_step_limit"].([]any); ok && list[1] == math.MaxFloat32 {
			list[1] = "Infinity"
		}
	}
	b, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if err := pyjson.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	for key, w := range want {
		if !reflect.DeepEqual(got[key], w) {
			t.Errorf("%s is %v, want %v", key, got[key], w)
		}
	}
}

// TestTimeStepLimit_written checks that the form in a file is kept if transformers accepts it, and otherwise replaced
// by JSON that every reader accepts.
func TestTimeStepLimit_written(t *testing.T) {
	written := func(c Config) string {
		dir := t.TempDir()
		if err := c.Save(dir); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(dir, ConfigFile))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(strings.Fields(string(b)), "")
	}
	const largest = `[0.0,3.4028234663852886e+38]`
	for read, want := range map[string]string{
		``:                                 largest,
		`[0.0, Infinity]`:                  `[0.0,Infinity]`,
		`[0.0, "Infinity"]`:                largest,
		`[0, 1]`:                           `[0.0,1.0]`,
		`[0.01,1e2]`:                       `[0.01,1e2]`,
		`[0.0, 3.4028234663852886e+38]`:    largest,
		`[0.0, {"__float__": "Infinity"}]`: `[0.0,{"__float__":"Infinity"}]`,
	} {
		key := ""
		if read != "" {
			key = `, "time_step_limit": ` + read
		}
		c := parse(t, `{"model_type": "mamba2"`+key+`}`)
		if got := written(c); !strings.Contains(got, `"time_step_limit":`+want) {
			t.Errorf("read %q, wrote %s", read, got)
		}
		c.TimeStepLimit.Min, c.TimeStepLimit.Max = 0, 2
		if got := written(c); !strings.Contains(got, `"time_step_limit":[0.0,2.0]`) {
			t.Errorf("changed: wrote %s", got)
		}
	}
	for _, wrong := range []string{`null`, `5`, `"x"`, `[1]`, `[0,1,2]`, `[0,null]`, `["0",1]`, `[NaN,1]`, `[0,NaN]`, `[1,0]`, `[-1,2]`, `[0,-Infinity]`} {
		if _, err := parseConfig([]byte(`{"model_type":"mamba2","time_step_limit":` + wrong + `}`)); err == nil || !strings.Contains(err.Error(), "time_step_limit: want") {
			t.Errorf("%s: error %v", wrong, err)
		}
	}
}

// TestPackedGolden checks that concatenated documents have the same logits, loss, and gradients as each on its own.
func TestPackedGolden(t *testing.T) {
	for _, model := range []string{"falcon", "falcon_variant", "mamba2", "mamba2_groups"} {
		t.Run(model, func(t *testing.T) {
			f := golden(t, model, "packed.safetensors")
			m := loadGolden(t, model+"/model")
			x, _ := f.Tensor("starts")
			starts, err := x.Ints()
			if err != nil {
				t.Fatal(err)
			}
			tokens, labels := sequences(t, f, "input_ids")[0], sequences(t, f, "labels")[0]
			var in Input
			for i, from := range starts {
				to := len(tokens)
				if i+1 < len(starts) {
					to = starts[i+1]
				}
				in.IDs, in.Labels = append(in.IDs, tokens[from:to]), append(in.Labels, labels[from:to])
			}
			out, err := m.Run(ctx, in, Want{Logits: AllPositions})
			if err != nil {
				t.Fatal(err)
			}
			near(t, "logits", out.Logits.Data, floats(t, f, "logits"))
			checkBatchGradients(t, m, f, ag.Batch{Tokens: tokens, Labels: labels, Starts: starts})
		})
	}
}

// TestConvertOriginalMamba2 converts original checkpoints, as torch files and as safetensors.
func TestConvertOriginalMamba2(t *testing.T) {
	for from, to := range map[string]string{"bin": "mamba2/model", "safetensors": "mamba2/model", "defaults_bin": "mamba2_original/defaults_hf"} {
		t.Run(from, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := Convert(ctx, filepath.Join("testdata/golden/mamba2_original", from), dir, SaveOptions{}); err != nil {
				t.Fatal(err)
			}
			got, err := Load(dir, LoadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			want := loadGolden(t, to)
			sameModel(t, got, want)
			a, b := got.Config, want.Config
			if a.VocabSize != b.VocabSize || a.NumHeads != b.NumHeads || a.DType != b.DType && b.DType != "" || !a.TieWordEmbeddings {
				t.Errorf("configuration %+v, want %+v", a, b)
			}
		})
	}
	f := golden(t, "mamba2_original", "forward_defaults.safetensors")
	checkDirect(t, loadGolden(t, "mamba2_original/defaults_hf"), f, input(t, f))
}

func sameModel(t *testing.T, got, want *Model) {
	t.Helper()
	if len(got.Params()) != len(want.Params()) {
		t.Fatalf("%d parameters, want %d", len(got.Params()), len(want.Params()))
	}
	for i, p := range want.Params() {
		if q := got.Params()[i]; q.Name != p.Name || !slices.Equal(q.Float32s(), p.Float32s()) {
			t.Errorf("%s differs from %s", q.Name, p.Name)
		}
	}
}

// TestOriginalMamba2_tied checks that the head is tied unless the original configuration says otherwise.
func TestOriginalMamba2_tied(t *testing.T) {
	for key, want := range map[string]bool{``: true, `, "tie_embeddings": true`: true, `, "tie_embeddings": false`: false} {
		c := parse(t, `{"d_model": 64, "n_layer": 2, "vocab_size": 32, "ssm_cfg": {"layer": "Mamba2", "headdim": 16}`+key+`}`)
		if c.TieWordEmbeddings != want {
			t.Errorf("%q: tied %v, want %v", key, c.TieWordEmbeddings, want)
		}
	}
}

// TestConvertCodestral converts Mistral's variant, consolidated.safetensors with params.json.
func TestConvertCodestral(t *testing.T) {
	c := mamba2Defaults()
	c.VocabSize, c.HiddenSize, c.NumHiddenLayers, c.NumHeads, c.NGroups = 32, 64, 2, 2, 2
	c.derive()
	want, err := New(c, InitMambaSSM, rand.New(rand.NewPCG(1, 2)), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var entries []weights.Entry
	for _, p := range want.Params() {
		e := weights.FromParam(p, weights.F32)
		e.Name = "model." + strings.Replace(p.Name, "embeddings", "embedding", 1)
		entries = append(entries, e)
	}
	from, to := t.TempDir(), t.TempDir()
	if err := weights.Save(filepath.Join(from, "consolidated.safetensors"), entries, nil); err != nil {
		t.Fatal(err)
	}
	params := `{"dim": 64, "n_layers": 2, "vocab_size": 32, "n_groups": 2, "rms_norm": true, "residual_in_fp32": true,
		"fused_add_norm": true, "pad_vocab_size_multiple": 1, "tie_embeddings": false, "model_type": "mamba"}`
	if err := os.WriteFile(filepath.Join(from, "params.json"), []byte(params), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Convert(ctx, from, to, SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := Load(to, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sameModel(t, got, want)
	// The ids are those of transformers' conversion script, not those of the tokenizer of state-spaces.
	if g := got.Config; g.BOSTokenID != 0 || !slices.Equal(g.EOSTokenID, TokenIDs{2}) || g.PadTokenID != 1 {
		t.Errorf("bos %d, eos %v, padding %d; want 0, [2], 1", g.BOSTokenID, g.EOSTokenID, g.PadTokenID)
	}
}

// TestInitGolden checks that every tensor is initialized by the rules of transformers or of the authors.
func TestInitGolden(t *testing.T) {
	for _, model := range []string{"falcon", "mamba2"} {
		var file struct {
			Config  json.RawMessage
			Schemes map[string]map[string]initRule
		}
		if err := pyjson.ReadFile(filepath.Join("testdata", "golden", model, "init.json"), 1<<20, &file); err != nil {
			t.Fatal(err)
		}
		for scheme, rules := range file.Schemes {
			c := parse(t, string(file.Config))
			c.RescalePrenormResidual = scheme == "hf_rescaled"
			m, err := New(c, Init(strings.TrimSuffix(scheme, "_rescaled")), rand.New(rand.NewPCG(1, 7)), LoadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			drawn := map[string][]float64{} // values of a tensor in all layers
			for _, p := range m.Params() {
				name := layerNumber.ReplaceAllString(p.Name, ".layers.{i}.")
				for _, x := range p.Float32s() {
					drawn[name] = append(drawn[name], float64(x))
				}
			}
			for tensor, rule := range rules {
				rule.check(t, model+"/"+scheme+": "+tensor, drawn[tensor], c)
			}
			if len(drawn) != len(rules) {
				t.Errorf("%s/%s: %d tensors, want %d", model, scheme, len(drawn), len(rules))
			}
		}
	}
}

var layerNumber = regexp.MustCompile(`\.layers\.\d+\.`)

// initRule describes how a tensor is initialized, with bounds for statistics of its elements.
type initRule struct {
	Rule struct {
		Distribution string
		Value        float64
	}
	Check struct {
		Of                  string
		Exact               bool
		Mean, Std, Min, Max []float64
		AbsMax              []float64 `json:"abs_max"`
	}
}

func (r initRule) check(t *testing.T, what string, x []float64, c Config) {
	t.Helper()
	if r.Check.Exact {
		for i, v := range x {
			want := r.Rule.Value
			switch r.Rule.Distribution {
			case "log_of_1_to_states":
				want = math.Log(float64(i%c.StateSize + 1))
			case "log_of_1_to_heads":
				want = math.Log(float64(i%c.NumHeads + 1))
			}
			if math.Abs(v-want) > 1e-6 {
				t.Fatalf("%s: element %d is %v, want %v", what, i, v, want)
			}
		}
		return
	}
	mean, square, low, high := 0.0, 0.0, math.Inf(1), math.Inf(-1)
	for _, v := range x {
		switch r.Check.Of {
		case "exp(x)":
			v = math.Exp(v)
		case "ln softplus(x)":
			v = math.Log(math.Log1p(math.Exp(v)))
		}
		mean, square = mean+v/float64(len(x)), square+v*v/float64(len(x))
		low, high = min(low, v), max(high, v)
	}
	for name, s := range map[string]struct {
		got  float64
		want []float64
	}{
		"mean": {mean, r.Check.Mean}, "deviation": {math.Sqrt(square - mean*mean), r.Check.Std},
		"smallest": {low, r.Check.Min}, "largest": {high, r.Check.Max}, "largest magnitude": {max(-low, high), r.Check.AbsMax},
	} {
		if s.want != nil && !(s.got >= s.want[0] && s.got <= s.want[1]) {
			t.Errorf("%s: %s is %v, want %v", what, name, s.got, s.want)
		}
	}
}
