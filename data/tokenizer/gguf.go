package tokenizer

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"mambatrain/internal/fault"
	"mambatrain/internal/gguf"
	"mambatrain/internal/inputfile"
)

// GGUFFiles returns the files of the tokenizer in a GGUF model, keyed by their names in a Hugging Face directory. The
// keys of a GGUF file contain the vocabulary, the merges and which tokens are added. They name the pre-tokenizer but
// omit the normalizer; GGUFFiles uses that of the published models with that pre-tokenizer. The error for a file
// without a tokenizer matches [fault.ErrNotFound].
func GGUFFiles(path string) (map[string][]byte, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	defer f.Close()
	if whole, ok := f.Key("tokenizer.huggingface.json").(string); ok {
		config, err := ggufConfig(f)
		return map[string][]byte{tokenizerFile: []byte(whole), configFile: config}, err
	}
	switch kind, _ := f.Key("tokenizer.ggml.model").(string); kind {
	case "gpt2":
	case "", "no_vocab":
		return nil, fault.NotFound("tokenizer: %s: has none; put a tokenizer.json next to it, or name one (tokenizer in a configuration, --tokenizer)", path)
	case "llama":
		return nil, fmt.Errorf("tokenizer: %s: has a SentencePiece vocabulary, which lacks the merges, normalizer and decoder of the model's tokenizer.json: %s", path, nameTokenizer)
	default:
		return nil, fmt.Errorf("tokenizer: %s: tokenizer.ggml.model %q is not that of a tokenizer.json that can be rebuilt exactly: %s", path, kind, nameTokenizer)
	}
	v, err := readGGUFVocabulary(f)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %s: %w", path, err)
	}
	tokenizer, err := v.json()
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %s: %w", path, err)
	}
	config, err := ggufConfig(f)
	return map[string][]byte{tokenizerFile: tokenizer, configFile: config}, err
}

// nameTokenizer is the advice for a tokenizer that cannot be rebuilt.
const nameTokenizer = "put that next to the file, or name it (tokenizer in a configuration, --tokenizer)"

// tokenizerFile is the name of the tokenizer file in a directory.
const tokenizerFile = "tokenizer.json"

// ggufVocabulary is the tokenizer as described by the GGUF keys.
type ggufVocabulary struct {
	tokens, merges []string
	kinds          []int64
	pre            string
}

// llama.cpp's token types.
const (
	ggufControl     = 3
	ggufUserDefined = 4
	ggufUnused      = 5
)

func readGGUFVocabulary(f *gguf.File) (v ggufVocabulary, err error) {
	v.tokens, _ = f.Key("tokenizer.ggml.tokens").([]string)
	v.merges, _ = f.Key("tokenizer.ggml.merges").([]string)
	v.kinds, _ = f.Key("tokenizer.ggml.token_type").([]int64)
	v.pre, _ = f.Key("tokenizer.ggml.pre").(string)
	if len(v.tokens) == 0 {
		return v, fmt.Errorf("tokenizer.ggml.tokens: has no tokens")
	}
	if len(v.merges) == 0 {
		return v, fmt.Errorf("tokenizer.ggml.merges: has no merges")
	}
	if len(v.kinds) == 0 {
		v.kinds = make([]int64, len(v.tokens)) // all normal
	}
	if len(v.kinds) != len(v.tokens) {
		return v, fmt.Errorf("tokenizer.ggml.token_type: has %d kinds for %d tokens", len(v.kinds), len(v.tokens))
	}
	return v, nil
}

// isHole reports whether id has no token.
func (v ggufVocabulary) isHole(id int) bool {
	return v.kinds[id] == ggufUnused || v.tokens[id] == "[PAD"+strconv.Itoa(id)+"]"
}

// json returns the tokenizer.json. Added tokens are also in the vocabulary, which changes no id.
func (v ggufVocabulary) json() ([]byte, error) {
	pre, normalizer, err := v.steps()
	if err != nil {
		return nil, err
	}
	type added struct {
		ID         int    `json:"id"`
		Content    string `json:"content"`
		SingleWord bool   `json:"single_word"`
		LStrip     bool   `json:"lstrip"`
		RStrip     bool   `json:"rstrip"`
		Normalized bool   `json:"normalized"`
		Special    bool   `json:"special"`
	}
	var list []added
	vocabulary := map[string]int{}
	for id, token := range v.tokens {
		if v.isHole(id) {
			continue
		}
		if _, twice := vocabulary[token]; twice {
			return nil, fmt.Errorf("tokenizer.ggml.tokens: %q is there twice", token)
		}
		vocabulary[token] = id
		if kind := v.kinds[id]; kind == ggufControl || kind == ggufUserDefined {
			list = append(list, added{ID: id, Content: token, Normalized: kind != ggufControl, Special: kind == ggufControl})
		}
	}
	merges := make([][2]string, len(v.merges))
	for i, m := range v.merges {
		left, right, ok := strings.Cut(m, " ")
		if !ok {
			return nil, fmt.Errorf("tokenizer.ggml.merges: %q has no space", m)
		}
		merges[i] = [2]string{left, right}
	}
	return json.Marshal(map[string]any{
		"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": list, "normalizer": normalizer, "pre_tokenizer": pre,
		"post_processor": nil, "decoder": byteLevel(),
		"model": map[string]any{
			"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
			"fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocabulary, "merges": merges,
		},
	})
}

func byteLevel() map[string]any {
	return map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
}

// steps returns the pre-tokenizer that the file names, and the normalizer of the models that use it: NFC for GPT-NeoX's
// vocabulary, none for Falcon's.
func (v ggufVocabulary) steps() (pre, normalizer any, err error) {
	switch v.pre {
	case "gpt-2", "olmo", "mpt", "jais", "phi-2", "default", "":
		if v.isGPTNeoX() {
			normalizer = map[string]any{"type": "NFC"}
		}
		return byteLevel(), normalizer, nil
	case "falcon":
		return map[string]any{"type": "Sequence", "pretokenizers": []any{
			map[string]any{"type": "Punctuation", "behavior": "Contiguous"},
			byteLevel(),
			map[string]any{"type": "Digits", "individual_digits": false},
			map[string]any{"type": "Split", "pattern": map[string]any{"Regex": "[0-9][0-9][0-9]"}, "behavior": "Isolated", "invert": false},
		}}, nil, nil
	}
	return nil, nil, fmt.Errorf("tokenizer.ggml.pre %q is not that of a tokenizer.json that is known: %s", v.pre, nameTokenizer)
}

// isGPTNeoX recognizes the vocabulary of GPT-NeoX-20B, which the Mamba authors' models use, by its first tokens.
func (v ggufVocabulary) isGPTNeoX() bool {
	return len(v.tokens) > 1 && v.tokens[0] == "<|endoftext|>" && v.tokens[1] == "<|padding|>"
}

// ggufConfig returns the tokenizer_config.json: the special tokens and the chat template.
func ggufConfig(f *gguf.File) ([]byte, error) {
	config := map[string]any{}
	tokens, _ := f.Key("tokenizer.ggml.tokens").([]string)
	for key, name := range map[string]string{"bos": "bos_token", "eos": "eos_token", "padding": "pad_token", "unknown": "unk_token"} {
		if id, ok := f.Int("tokenizer.ggml." + key + "_token_id"); ok && id < len(tokens) {
			config[name] = tokens[id]
		}
	}
	for _, key := range []string{"add_bos_token", "add_eos_token"} {
		if yes, ok := f.Key("tokenizer.ggml." + key).(bool); ok {
			config[key] = yes
		}
	}
	if template, ok := f.Key("tokenizer.chat_template").(string); ok {
		config["chat_template"] = template
	}
	return json.MarshalIndent(config, "", "  ")
}

// reader returns the contents of a tokenizer's file by its name in the directory. If the file does not exist, the error
// is [fs.ErrNotExist].
type reader func(name string, limit int64) ([]byte, error)

// inDirectory returns a reader for the files in a directory.
func inDirectory(dir string) reader {
	return func(name string, limit int64) ([]byte, error) { return inputfile.Read(filepath.Join(dir, name), limit) }
}

// inMemory returns a reader for files in memory.
func inMemory(files map[string][]byte) reader {
	return func(name string, _ int64) ([]byte, error) {
		if b, ok := files[name]; ok {
			return b, nil
		}
		return nil, fs.ErrNotExist
	}
}
