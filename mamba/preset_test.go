package mamba_test

import (
	"reflect"
	"slices"
	"testing"

	. "mambatrain/mamba"
)

// TestPresets checks that every preset has as many parameters as the published checkpoint.
func TestPresets(t *testing.T) {
	want := map[string]int{
		"130m": 129135360, "370m": 371516416, "790m": 793204224, "1.4b": 1372178432, "2.8b": 2768345600,
		"falcon-7b":   7272665088,
		"mamba2-130m": 128989632, "mamba2-370m": 368346624, "mamba2-780m": 780161280, "mamba2-1.3b": 1343757312,
		"mamba2-2.7b": 2702599680, "codestral-7b": 7285403648,
	}
	names := Presets()
	if len(names) != len(want) || names[0] != "130m" {
		t.Errorf("presets are %v", names)
	}
	for _, name := range names {
		c, err := Preset(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		m, err := Outline(c, LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, p := range m.Params() {
			n += p.Size()
		}
		if n != want[name] {
			t.Errorf("%s has %d parameters, want %d", name, n, want[name])
		}
	}
	if c, err := Preset("mamba-130m"); err != nil || c.HiddenSize != 768 {
		t.Errorf("mamba-130m: %v", err)
	}
	if _, err := Preset("130"); err == nil {
		t.Error("130 is a preset")
	}
}

// TestPresetOf checks that the name of a checkpoint selects its sizes, and that Mamba-2 is not mistaken for Mamba-1.
func TestPresetOf(t *testing.T) {
	for model, name := range map[string]string{
		"state-spaces/mamba-130m-hf": "130m", "state-spaces/mamba-2.8b-slimpj": "2.8b", "models/Mamba-1.4B": "1.4b",
		"state-spaces/mamba2-130m": "mamba2-130m", "AntonV/mamba2-1.3b-hf": "mamba2-1.3b", "state-spaces/mamba2-780m": "mamba2-780m",
		"tiiuae/falcon-mamba-7b-instruct": "falcon-7b", "tiiuae/Falcon3-Mamba-7B-Base": "falcon-7b",
		"mistralai/Mamba-Codestral-7B-v0.1": "codestral-7b", "models/falcon-7b": "falcon-7b",
	} {
		c, ok := PresetOf(model)
		if want, _ := Preset(name); !ok || !reflect.DeepEqual(c, want) {
			t.Errorf("%s is not %s", model, name)
		}
	}
	if i := slices.IndexFunc([]string{"models/base", "mamba-13b", "x130m"}, func(s string) bool { _, ok := PresetOf(s); return ok }); i >= 0 {
		t.Errorf("name %d contains a published size", i)
	}
}

// TestPresets_published compares presets with the published configurations, except Codestral's token ids, which the
// preset takes from its tokenizer.
func TestPresets_published(t *testing.T) {
	for name, file := range map[string]string{
		"falcon-7b":    "testdata/golden/falcon_configs/published_7b.json",
		"codestral-7b": "testdata/golden/mamba2_configs/codestral_7b.json",
		"mamba2-130m":  "testdata/golden/mamba2_configs/hf_130m.json",
	} {
		want, err := LoadConfig(file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Preset(name)
		if err != nil {
			t.Fatal(err)
		}
		got.DType, got.Extra, got.Architectures, got.UseAssociativeScan = want.DType, want.Extra, want.Architectures, want.UseAssociativeScan
		if got.TimeStepLimit.Max != want.TimeStepLimit.Max {
			t.Errorf("%s: limit %v, want %v", name, got.TimeStepLimit, want.TimeStepLimit)
		}
		got.TimeStepLimit = want.TimeStepLimit
		if name == "codestral-7b" {
			got.EOSTokenID, got.PadTokenID = want.EOSTokenID, want.PadTokenID
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s is\n%+v\npublished\n%+v", name, got, want)
		}
	}
}
