package mamba

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	ag "mambatrain/autograd"
)

// hubConfig is the published config.json of state-spaces/mamba-130m-hf, which contains the keys of transformers and
// of the original checkpoint.
const hubConfig = `{"architectures":["MambaForCausalLM"],"bos_token_id":0,"conv_kernel":4,"d_inner":1536,"d_model":768,
"eos_token_id":0,"expand":2,"fused_add_norm":true,"hidden_act":"silu","hidden_size":768,"initializer_range":0.1,
"intermediate_size":1536,"layer_norm_epsilon":1e-05,"model_type":"mamba","n_layer":24,"num_hidden_layers":24,
"pad_token_id":0,"pad_vocab_size_multiple":8,"rescale_prenorm_residual":false,"residual_in_fp32":true,"rms_norm":true,
"ssm_cfg":{},"state_size":16,"time_step_floor":0.0001,"time_step_init_scheme":"random","time_step_max":0.1,
"time_step_min":0.001,"time_step_rank":48,"time_step_scale":1.0,"torch_dtype":"float32",
"transformers_version":"4.39.0.dev0","use_bias":false,"use_cache":true,"use_conv_bias":true,"vocab_size":50280}`

func parse(t testing.TB, s string) Config {
	t.Helper()
	c, err := parseConfig([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestHubConfig checks that the legacy keys survive load and save, and that the model has the published size.
func TestHubConfig(t *testing.T) {
	c := parse(t, hubConfig)
	n := 0
	build(c, func(_ string, shape ...int) *ag.Param {
		size := 1
		for _, dim := range shape {
			size *= dim
		}
		n += size
		return nil
	})
	if n != 129_135_360 {
		t.Errorf("%d parameters, want 129135360", n)
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var written, read map[string]any
	json.Unmarshal(b, &written)
	json.Unmarshal([]byte(hubConfig), &read)
	for k, v := range read {
		if k == "torch_dtype" || k == "transformers_version" {
			continue
		}
		if !reflect.DeepEqual(written[k], v) {
			t.Errorf("%s: written %v, read %v", k, written[k], v)
		}
	}
	if written["dtype"] != "float32" || written["tie_word_embeddings"] != true {
		t.Errorf("dtype %v, tie %v", written["dtype"], written["tie_word_embeddings"])
	}
	if again := parse(t, string(b)); !reflect.DeepEqual(again.Extra["ssm_cfg"], c.Extra["ssm_cfg"]) || again.HiddenSize != 768 {
		t.Errorf("read again: %+v", again)
	}
}

// TestReferenceConfigs checks that configurations written by transformers 5.23 are written back with the same keys
// and values.
func TestReferenceConfigs(t *testing.T) {
	for _, model := range []string{"base", "variant", "nobias"} {
		path := filepath.Join("testdata", "golden", model, "model", ConfigFile)
		c, err := LoadConfig(path)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := c.Save(dir); err != nil {
			t.Fatal(err)
		}
		want, _ := os.ReadFile(path)
		got, _ := os.ReadFile(filepath.Join(dir, ConfigFile))
		var a, b map[string]any
		json.Unmarshal(want, &a)
		json.Unmarshal(got, &b)
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s: written\n%s\nread\n%s", model, got, want)
		}
	}
}

// TestDerivedSizes checks transformers' rules for omitted sizes.
func TestDerivedSizes(t *testing.T) {
	for in, want := range map[string][2]int{
		`{"model_type":"mamba","hidden_size":33}`:                                                       {66, 3},
		`{"model_type":"mamba","hidden_size":33,"time_step_rank":"auto","expand":1.5}`:                  {49, 3},
		`{"model_type":"mamba","hidden_size":64,"intermediate_size":100,"expand":2,"time_step_rank":7}`: {100, 7},
	} {
		if c := parse(t, in); c.IntermediateSize != want[0] || c.TimeStepRank != want[1] {
			t.Errorf("%s: %d and %d, want %v", in, c.IntermediateSize, c.TimeStepRank, want)
		}
	}
	c := parse(t, `{"model_type":"mamba","eos_token_id":[0,5],"bos_token_id":null,"dtype":"bfloat16"}`)
	if !slices.Equal(c.EOSTokenID, []int{0, 5}) || c.BOSTokenID != NoToken || c.DType != "bfloat16" {
		t.Errorf("eos %v, bos %v, dtype %v", c.EOSTokenID, c.BOSTokenID, c.DType)
	}
}

// TestConfigFaults checks that all faults are reported at once, each with its key and value, and that other models
// are named.
func TestConfigFaults(t *testing.T) {
	for in, wants := range map[string][]string{
		`{"model_type":"jamba"}`: {`model_type: "jamba" is not supported; want falcon_mamba`},
		`{"model_type":7}`:       {"model_type: want a string, got 7"},
		`{"model_type":"mamba","quantization_config":{"quant_method":"bitsandbytes"}}`: {"quantized with bitsandbytes"},
		`{"hidden_size":1.5,"num_hidden_layers":"4","use_bias":1,"eos_token_id":"x"}`: {
			"hidden_size: want a whole number, got 1.5", `num_hidden_layers: want a whole number, got "4"`,
			"use_bias: want true or false, got 1", "eos_token_id: want"},
		`{"hidden_size":-3,"hidden_act":"magic","time_step_min":0,"layer_norm_epsilon":0}`: {
			"hidden_size: must be between", `got "magic"`, "time_step_min", "layer_norm_epsilon"},
		`{"hidden_size":null}`:             {"hidden_size: want a whole number, got null"},
		`{"num_hidden_layers":1000000000}`: {"num_hidden_layers: must be between"},
		`{"hidden_size":Infinity}`:         {"hidden_size: want a whole number, got Infinity"},
		`{"time_step_max":NaN}`:            {"time_step_max: want a number, got NaN"},
		`{"x":Infinit}`:                    {"line 1: not JSON"},
		`[]`:                               {"want an object, got list"},
		`null`:                             {"null"},
		`{} {}`:                            {"after top-level value"},
		`{"d_model":64,"n_layer":2,"ssm_cfg":{"layer":"Mamba3"}}`: {`"Mamba3" is not supported`},
		`{"d_model":64,"n_layer":2,"attn_layer_idx":[1],"rms_norm":false,"d_intermediate":7,"ssm_cfg":{"headdim":64}}`: {
			"attn_layer_idx", "rms_norm", "d_intermediate", "ssm_cfg.headdim"},
	} {
		_, err := parseConfig([]byte(in))
		for _, want := range wants {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s:\nerror %v\nwant one with %q", in, err, want)
			}
		}
	}
}

// TestConfigKeepsInfinity checks that Python's nonstandard numbers are accepted in unknown keys and written back
// unchanged.
func TestConfigKeepsInfinity(t *testing.T) {
	c := parse(t, `{"model_type":"mamba","time_step_limit":[0.0,Infinity],"x":{"y":NaN,"z":-Infinity},"text":"NaN"}`)
	dir := t.TempDir()
	if err := c.Save(dir); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, ConfigFile))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(b)), "")
	for _, want := range []string{`"time_step_limit":[0.0,Infinity]`, `"x":{"y":NaN,"z":-Infinity}`, `"text":"NaN"`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in %s", want, text)
		}
	}
	if again, err := LoadConfig(dir); err != nil || len(again.Extra) != len(c.Extra) {
		t.Errorf("read again: %v, %v", again.Extra, err)
	}
}

// TestOriginalConfig checks that ssm_cfg is applied and the vocabulary padded as in the original code.
func TestOriginalConfig(t *testing.T) {
	c := parse(t, `{"d_model":1024,"n_layer":48,"vocab_size":50277,"ssm_cfg":{"d_state":32,"d_conv":3,"expand":3,"dt_rank":9,"conv_bias":false},
		"rms_norm":true,"residual_in_fp32":true,"fused_add_norm":true,"pad_vocab_size_multiple":8}`)
	if c.HiddenSize != 1024 || c.NumHiddenLayers != 48 || c.VocabSize != 50280 || c.StateSize != 32 || c.ConvKernel != 3 ||
		c.IntermediateSize != 3072 || c.TimeStepRank != 9 || c.UseConvBias || !c.TieWordEmbeddings {
		t.Errorf("%+v", c)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(hubConfig))
	f.Add([]byte(`{"d_model":64,"n_layer":2,"ssm_cfg":{"dt_rank":"auto","expand":1e300}}`))
	f.Add([]byte(`{"expand":1e308,"hidden_size":9,"eos_token_id":[],"pad_token_id":null}`))
	f.Add([]byte(`{"model_type":"mamba2","num_heads":4,"head_dim":8,"n_groups":2,"hidden_size":16,"time_step_limit":[0.0,{"__float__":"Infinity"}]}`))
	f.Add([]byte(`{"model_type":"falcon_mamba","use_falcon_mambapy":true,"expand":16,"intermediate_size":9}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseConfig(b)
		if err != nil {
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("parsed, but invalid: %v", err)
		}
		out, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseConfig(out)
		if err != nil {
			t.Fatalf("the written configuration cannot be read: %v\n%s", err, out)
		}
		for _, c := range []*Config{&c, &again} {
			c.Extra, c.TimeStepLimit.text = nil, nil
			c.TimeStepLimit.Max = min(c.TimeStepLimit.Max, math.MaxFloat32) // as written
		}
		if !reflect.DeepEqual(c, again) {
			t.Fatalf("read %+v, then %+v", c, again)
		}
	})
}

// TestIntegralFloatsKeepDecimalPoint checks the types of numbers, which transformers verifies: integral floats need a
// decimal point, and counts must not have one.
func TestIntegralFloatsKeepDecimalPoint(t *testing.T) {
	b, err := json.Marshal(Default())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"time_step_scale":1.0`, `"expand":2`, `"layer_norm_epsilon":0.00001`, `"hidden_size":768`} {
		if !strings.Contains(string(b), want+",") {
			t.Errorf("%s is missing in %s", want, b)
		}
	}
}
