package mamba

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"mambatrain/internal/atomicfile"
	"mambatrain/internal/inputfile"
	"mambatrain/internal/pyjson"
)

// GenerationConfigFile is the name of the optional file with a model's generation settings.
const GenerationConfigFile = "generation_config.json"

// eosKey is the key of the ids that end a text.
const eosKey = "eos_token_id"

// GenerationConfig contains the settings of a model's generation_config.json.
type GenerationConfig struct {
	GenerateOptions          // transformers' defaults for keys that the file omits
	StopStrings     []string // a text ends at the first of these to appear
	Limited         bool     // the file sets max_new_tokens or max_length

	ignored  map[string]string // settings that would change the output but are not supported
	given    []string          // names of all settings in the file that are not null
	followed []string          // names of supported settings that differ from their defaults
}

// GenerationConfig returns the model's generation settings. Without a file they are those of [Model.DefaultGenerate].
func (m *Model) GenerationConfig() GenerationConfig {
	if m.generation == nil {
		c := defaultGeneration()
		c.EOS = slices.Clone(m.Config.EOSTokenID)
		return c
	}
	c := *m.generation
	if c.EOS == nil {
		c.EOS = m.Config.EOSTokenID
	}
	c.EOS, c.Suppress, c.StopStrings = slices.Clone(c.EOS), slices.Clone(c.Suppress), slices.Clone(c.StopStrings)
	return c
}

// DefaultGenerate returns the options in the model's generation_config.json (see [Model.GenerationConfig]) or,
// without that file, greedy decoding of 50 tokens. The EOS ids come from that file or else from config.json.
func (m *Model) DefaultGenerate() GenerateOptions { return m.GenerationConfig().GenerateOptions }

// EndTextsWith adds an id to those that end a text, as transformers' Trainer does with the end-of-text id of the
// tokenizer: it replaces a single id in the configuration, but precedes those in a list or in generation_config.json.
func (m *Model) EndTextsWith(id int) {
	if ids := m.Config.EOSTokenID; len(ids) > 1 {
		m.Config.EOSTokenID = ids.with(id)
	} else {
		m.Config.EOSTokenID = TokenIDs{id}
	}
	if g := m.generation; g != nil && g.EOS != nil {
		g.EOS = TokenIDs(g.EOS).with(id)
	}
}

// EndTextsIn is [Model.EndTextsWith] for the generation_config.json in a directory, if there is one that can be read.
func EndTextsIn(dir string, id int) error {
	path := filepath.Join(dir, GenerationConfigFile)
	var raw map[string]json.RawMessage
	var ids TokenIDs
	if pyjson.ReadFile(path, inputfile.MaxConfig, &raw) != nil || raw == nil || given(raw[eosKey]) && ids.parse(raw[eosKey]) != nil {
		return nil
	}
	if slices.Contains(ids, id) {
		return nil
	}
	var err error
	if raw[eosKey], err = json.Marshal(ids.with(id)); err != nil {
		return err
	}
	b, err := json.MarshalIndent(raw, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(path, append(pyjson.Restore(b), '\n'))
}

// with returns the ids with id, which precedes the others unless it is one of them.
func (t TokenIDs) with(id int) TokenIDs {
	if slices.Contains(t, id) {
		return t
	}
	return append(TokenIDs{id}, t...)
}

func defaultGeneration() GenerationConfig {
	return GenerationConfig{GenerateOptions: GenerateOptions{
		MaxNewTokens: 50, Temperature: 1, TopK: 50, TopP: 1, TypicalP: 1, RepetitionPenalty: 1, NumBeams: 1, LengthPenalty: 1,
	}}
}

// Ignored lists settings of the file, such as "guidance_scale 1.5", that transformers would apply with these options
// and that are not supported here.
func (c GenerationConfig) Ignored(o GenerateOptions) (list []string) {
	for _, key := range slices.Sorted(maps.Keys(c.ignored)) {
		switch {
		case onlySampling[key] && !o.DoSample, key == "renormalize_logits" && o.NumBeams == 1:
		default:
			list = append(list, key+" "+c.ignored[key])
		}
	}
	return list
}

// Unsupported settings that matter for sampling only, or never.
var (
	onlySampling = map[string]bool{"epsilon_cutoff": true, "eta_cutoff": true, "top_h": true}
	harmless     = map[string]bool{
		"_commit_hash": true, "_from_model_config": true, "transformers_version": true, "trust_remote_code": true,
		"bos_token_id": true, "pad_token_id": true, "decoder_start_token_id": true, "remove_invalid_values": true,
		"use_cache": true, "cache_implementation": true, "cache_config": true, "max_cache_len": true, "return_legacy_cache": true,
		"output_attentions": true, "output_hidden_states": true, "output_scores": true, "output_logits": true, "return_dict_in_generate": true,
		"is_assistant": true, "num_assistant_tokens": true, "num_assistant_tokens_schedule": true, "assistant_confidence_threshold": true,
		"assistant_early_exit": true, "assistant_lookbehind": true, "target_lookbehind": true, "prompt_lookup_num_tokens": true,
		"max_matching_ngram_size": true, "speculation_type": true, "use_mtp": true,
		"compile_config": true, "disable_compile": true, "low_memory": true, "prefill_chunk_size": true, "continuous_batching_config": true,
	}
	// neutral lists the values that turn a setting off, in addition to null, false, empty values, and 0 for settings
	// that are not a token id.
	neutral = map[string]string{"num_return_sequences": "1", "num_beam_groups": "1", "guidance_scale": "1", "encoder_repetition_penalty": "1"}
)

// loadGeneration reads the file in a model directory, or returns nil if there is none.
func loadGeneration(dir string) (*GenerationConfig, error) {
	path := filepath.Join(dir, GenerationConfigFile)
	var raw map[string]json.RawMessage
	err := pyjson.ReadFile(path, inputfile.MaxConfig, &raw)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("mamba: %w", err)
	}
	c := defaultGeneration()
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		if given(raw[key]) {
			c.given = append(c.given, key)
		}
		before, stops := c.GenerateOptions, len(c.StopStrings)
		if err := c.read(key, raw[key]); err != nil {
			return nil, fmt.Errorf("mamba: %s: %s: %w, got %s", path, key, err, shorten(raw[key]))
		}
		if !reflect.DeepEqual(before, c.GenerateOptions) || len(c.StopStrings) > stops {
			c.followed = append(c.followed, key)
		}
	}
	c.Limited = given(raw["max_new_tokens"]) || c.MaxLength != 0
	if given(raw["max_new_tokens"]) {
		c.MaxLength = 0
	}
	if given(raw["min_new_tokens"]) {
		c.MinLength = 0
	}
	return &c, nil
}

func given(b json.RawMessage) bool { return len(b) > 0 && string(b) != "null" }

// read reads one setting.
func (c *GenerationConfig) read(key string, b json.RawMessage) error {
	if !given(b) {
		return nil
	}
	whole := map[string]*int{
		"max_new_tokens": &c.MaxNewTokens, "max_length": &c.MaxLength, "min_new_tokens": &c.MinNewTokens, "min_length": &c.MinLength,
		"top_k": &c.TopK, "no_repeat_ngram_size": &c.NoRepeatNGramSize, "num_beams": &c.NumBeams,
	}
	numbers := map[string]*float64{
		"temperature": &c.Temperature, "top_p": &c.TopP, "min_p": &c.MinP, "typical_p": &c.TypicalP,
		"repetition_penalty": &c.RepetitionPenalty, "length_penalty": &c.LengthPenalty,
	}
	switch {
	case whole[key] != nil:
		x := 0.0
		if json.Unmarshal(b, &x) != nil || x != math.Trunc(x) || math.Abs(x) > math.MaxInt32 {
			return errors.New("want a whole number")
		}
		*whole[key] = int(x)
	case numbers[key] != nil:
		if json.Unmarshal(b, numbers[key]) != nil {
			return errors.New("want a number")
		}
	case key == "do_sample":
		if json.Unmarshal(b, &c.DoSample) != nil {
			return errors.New("want true or false")
		}
	case key == "early_stopping":
		stopping, ok := map[string]EarlyStopping{"false": StopUnlikely, "true": StopFirst, `"never"`: StopNever}[string(b)]
		if !ok {
			return errors.New(`want true, false, or "never"`)
		}
		c.EarlyStopping = stopping
	case key == eosKey, key == "suppress_tokens":
		var ids TokenIDs
		if ids.parse(b) != nil {
			return errors.New("want a whole number, a list of whole numbers, or null")
		}
		if key == eosKey {
			c.EOS = ids
		} else {
			c.Suppress = ids
		}
	case key == "stop_strings":
		var one string
		if json.Unmarshal(b, &one) == nil {
			c.StopStrings = []string{one}
		} else if json.Unmarshal(b, &c.StopStrings) != nil {
			return errors.New("want a string or a list of strings")
		}
	case !harmless[key] && !isNeutral(key, b):
		if c.ignored == nil {
			c.ignored = map[string]string{}
		}
		c.ignored[key] = shorten(b)
	}
	return nil
}

// isNeutral reports whether a value turns its setting off.
func isNeutral(key string, b json.RawMessage) bool {
	var x float64
	if json.Unmarshal(b, &x) == nil {
		return x == 0 && !strings.HasSuffix(key, "_token_id") || fmt.Sprint(x) == neutral[key]
	}
	return slices.Contains([]string{"false", `""`, "[]", "{}"}, string(b))
}
