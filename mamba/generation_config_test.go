package mamba

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mambatrain/internal/testfile"
)

// withGenerationConfig returns the quick start's base model with a different generation_config.json.
func withGenerationConfig(t *testing.T, text string) (*Model, error) {
	dir := t.TempDir()
	for _, name := range []string{"config.json", "model.safetensors"} {
		path, err := filepath.Abs("../configs/quickstart/base/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, GenerationConfigFile), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return Load(dir, LoadOptions{})
}

// TestGenerationConfig checks that generation_config.json has the same effect as in transformers 5.24, which
// generated the ids.
func TestGenerationConfig(t *testing.T) {
	for _, c := range testfile.Lines[struct {
		Config       json.RawMessage
		Prompts, IDs [][]int
	}](t, "testdata/generation_config.jsonl") {
		m, err := withGenerationConfig(t, string(c.Config))
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Generate(context.Background(), c.Prompts, m.DefaultGenerate())
		if err != nil {
			t.Fatalf("%s: %v", c.Config, err)
		}
		for i, want := range c.IDs {
			if !slices.Equal(got[i].IDs, want) {
				t.Errorf("%s: prompt %d: ids\n%v, want\n%v", c.Config, i, got[i].IDs, want)
			}
		}
	}
}

// TestGenerationConfig_eos checks that the file's EOS ids take precedence over those of config.json, and that invalid
// ones are errors.
func TestGenerationConfig_eos(t *testing.T) {
	dir := rewrite(t, unchanged, same)
	path := filepath.Join(dir, GenerationConfigFile)
	for content, want := range map[string][]int{`{"eos_token_id":[5,6]}`: {5, 6}, `{"eos_token_id":7}`: {7}, `{"do_sample":true}`: {0}, `{"x":NaN}`: {0}, `{"eos_token_id":"x"}`: nil, `{`: nil} {
		if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
		m, err := Load(dir, LoadOptions{})
		if want == nil {
			if err == nil || !strings.Contains(err.Error(), GenerationConfigFile) {
				t.Errorf("%s: error %v", content, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := m.DefaultGenerate().EOS; !slices.Equal(got, want) {
			t.Errorf("%s: eos %v, want %v", content, got, want)
		}
	}
}

// TestGenerationConfig_limited checks that a limit in the file is known even if it equals the default.
func TestGenerationConfig_limited(t *testing.T) {
	for text, want := range map[string]bool{
		`{"max_new_tokens":50}`: true, `{"max_length":30}`: true, `{"max_new_tokens":null}`: false, `{"max_length":0}`: false, `{"top_k":3}`: false,
	} {
		m, err := withGenerationConfig(t, text)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.GenerationConfig().Limited; got != want {
			t.Errorf("%s: limited %v, want %v", text, got, want)
		}
	}
}

// TestGenerationConfig_ignored checks that exactly the unsupported settings that would change the output are listed.
func TestGenerationConfig_ignored(t *testing.T) {
	m, err := withGenerationConfig(t, `{"guidance_scale":1.5,"epsilon_cutoff":0.1,"renormalize_logits":true,"max_time":3,"bad_words_ids":[[1]],
		"num_return_sequences":1,"diversity_penalty":0.0,"use_cache":true,"bos_token_id":0,"transformers_version":"5.24.0","top_h":null,
		"penalty_alpha":0,"force_words_ids":[],"forced_bos_token_id":0,"forced_eos_token_id":null,"invented":"x","encoder_repetition_penalty":1.0}`)
	if err != nil {
		t.Fatal(err)
	}
	c := m.GenerationConfig()
	want := []string{"bad_words_ids [[1]]", "forced_bos_token_id 0", "guidance_scale 1.5", `invented "x"`, "max_time 3"}
	if got := c.Ignored(c.GenerateOptions); !slices.Equal(got, want) {
		t.Errorf("greedy: %q, want %q", got, want)
	}
	o := c.GenerateOptions
	o.DoSample = true
	if got := c.Ignored(o); !slices.Contains(got, "epsilon_cutoff 0.1") || slices.Contains(got, "renormalize_logits true") {
		t.Errorf("sampling: %q", got)
	}
	o.DoSample, o.NumBeams = false, 2
	if got := c.Ignored(o); !slices.Contains(got, "renormalize_logits true") || slices.Contains(got, "epsilon_cutoff 0.1") {
		t.Errorf("beams: %q", got)
	}
}

// TestGenerationConfig_damaged checks that errors name the file, the setting, and the value.
func TestGenerationConfig_damaged(t *testing.T) {
	for text, want := range map[string]string{
		`{"temperature":"hot"}`:       `generation_config.json: temperature: want a number, got "hot"`,
		`{"max_new_tokens":1.5}`:      `max_new_tokens: want a whole number, got 1.5`,
		`{"do_sample":1}`:             `do_sample: want true or false, got 1`,
		`{"early_stopping":"always"}`: `early_stopping: want true, false, or "never"`,
		`{"stop_strings":[1]}`:        `stop_strings: want a string or a list of strings`,
		`{"suppress_tokens":"x"}`:     `suppress_tokens: want a whole number, a list`,
		`{"top_k":1e300}`:             `top_k: want a whole number`,
		`[]`:                          `generation_config.json`,
	} {
		if _, err := withGenerationConfig(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", text, err, want)
		}
	}
	m, err := withGenerationConfig(t, `{"max_length":3}`)
	if err != nil {
		t.Fatal(err)
	}
	o := m.DefaultGenerate()
	o.First = 4
	if _, err := m.Generate(context.Background(), [][]int{{1, 2, 3}}, o); err == nil || !strings.Contains(err.Error(), "prompt 4: its length of 3 leaves no room for new tokens within max_length 3") {
		t.Errorf("error %v", err)
	}
}

// TestOnDone checks that OnDone is called once for each text, when it ends.
func TestOnDone(t *testing.T) {
	m := small(t)
	for _, beams := range []int{1, 3} {
		o := m.DefaultGenerate()
		o.NumBeams, o.MaxNewTokens = beams, 5
		done := map[int]Generation{}
		o.OnDone = func(i int, g Generation) { done[i] = g }
		all, err := m.Generate(context.Background(), [][]int{{1}, {2, 3}}, o)
		if err != nil || len(done) != 2 {
			t.Fatalf("%d texts, %v", len(done), err)
		}
		for i, g := range all {
			if !slices.Equal(done[i].IDs, g.IDs) || done[i].FinishReason != g.FinishReason {
				t.Errorf("text %d: %v, want %v", i, done[i], g)
			}
		}
	}
}
