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
// keys of a GGUF file contain the vocabulary, which tokens are added, and the merges or, for SentencePiece, the scores
// that order them. For byte-level BPE, they name the pre-tokenizer, but older files omit the normalizer; for these,
// GGUFFiles uses that of the published models with that vocabulary. The error for a file without a tokenizer matches [fault.ErrNotFound].
func GGUFFiles(path string) (map[string][]byte, error) {
	g, err := readGGUF(path)
	return g.files, err
}

// ggufTokenizer is the tokenizer in a GGUF file.
type ggufTokenizer struct {
	files  map[string][]byte
	scores []float64 // by id, for a SentencePiece vocabulary; see pairTable.rankByScore
}

func readGGUF(path string) (g ggufTokenizer, err error) {
	f, err := gguf.Open(path)
	if err != nil {
		return g, fmt.Errorf("tokenizer: %w", err)
	}
	defer f.Close()
	if whole, ok := f.Key("tokenizer.huggingface.json").(string); ok {
		config, err := ggufConfig(f)
		return ggufTokenizer{files: map[string][]byte{tokenizerFile: []byte(whole), configFile: config}}, err
	}
	switch kind, _ := f.Key("tokenizer.ggml.model").(string); kind {
	case "gpt2", ggufPieces:
	case "", "no_vocab":
		return g, fault.NotFound("tokenizer: %s: the file has no tokenizer; put a tokenizer.json next to it, or name one (tokenizer in a configuration, --tokenizer)", path)
	default:
		return g, fmt.Errorf("tokenizer: %s: for tokenizer.ggml.model %q, tokenizer.json cannot be rebuilt exactly: %s", path, kind, nameTokenizer)
	}
	v, err := readGGUFVocabulary(f)
	if err != nil {
		return g, fmt.Errorf("tokenizer: %s: %w", path, err)
	}
	tokenizer, err := v.json()
	if err != nil {
		return g, fmt.Errorf("tokenizer: %s: %w", path, err)
	}
	config, err := ggufConfig(f)
	return ggufTokenizer{map[string][]byte{tokenizerFile: tokenizer, configFile: config}, v.scores}, err
}

// nameTokenizer is the advice for a tokenizer that cannot be rebuilt.
const nameTokenizer = "put it next to the file, or name it (tokenizer in a configuration, --tokenizer)"

// tokenizerFile is the name of the tokenizer file in a directory.
const tokenizerFile = "tokenizer.json"

// ggufVocabulary is the tokenizer as described by the GGUF keys.
type ggufVocabulary struct {
	tokens, merges []string
	kinds          []int64
	pre            string
	nfc            bool      // texts are normalized to NFC; not for SentencePiece
	scores         []float64 // of a SentencePiece vocabulary, otherwise nil
	prefix         bool      // a space is put before a text; for SentencePiece
	unknown        string    // the unknown token, or ""; for SentencePiece
}

// llama.cpp's token types.
const (
	ggufUnknown     = 2
	ggufControl     = 3
	ggufUserDefined = 4
	ggufUnused      = 5
)

func readGGUFVocabulary(f *gguf.File) (v ggufVocabulary, err error) {
	v.tokens, _ = f.Key("tokenizer.ggml.tokens").([]string)
	if len(v.tokens) == 0 {
		return v, fmt.Errorf("tokenizer.ggml.tokens: is missing or empty")
	}
	switch kinds := f.Key("tokenizer.ggml.token_type").(type) {
	case []int64:
		v.kinds = kinds
	case []uint64:
		for _, kind := range kinds {
			v.kinds = append(v.kinds, int64(kind))
		}
	default:
		v.kinds = make([]int64, len(v.tokens)) // all normal
	}
	if len(v.kinds) != len(v.tokens) {
		return v, fmt.Errorf("tokenizer.ggml.token_type: has %d types for %d tokens", len(v.kinds), len(v.tokens))
	}
	if isPieces(f) {
		return v, v.readPieces(f)
	}
	v.merges, _ = f.Key("tokenizer.ggml.merges").([]string)
	v.pre, _ = f.Key("tokenizer.ggml.pre").(string)
	nfc, recorded := f.Key(gguf.NFC).(bool)
	v.nfc = nfc || !recorded && v.isGPTNeoX()
	if v.merges == nil { // a vocabulary of single characters has an empty list
		return v, fmt.Errorf("tokenizer.ggml.merges: is missing")
	}
	return v, nil
}

// isHole reports whether id has no token. llama.cpp uses SentencePiece tokens of type unused like others.
func (v ggufVocabulary) isHole(id int) bool {
	if v.tokens[id] == "[PAD"+strconv.Itoa(id)+"]" {
		return true
	}
	return v.kinds[id] == ggufUnused && v.scores == nil || v.tokens[id] == "" && v.scores != nil
}

// ggufAdded is an entry of added_tokens in tokenizer.json.
type ggufAdded struct {
	ID         int    `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// entries returns the ids by token, and the added tokens, which are also among the ids. That does not affect the ids of
// any text.
func (v ggufVocabulary) entries() (vocabulary map[string]int, list []ggufAdded, err error) {
	vocabulary = map[string]int{}
	for id, token := range v.tokens {
		if v.isHole(id) {
			continue
		}
		if _, twice := vocabulary[token]; twice {
			return nil, nil, fmt.Errorf("tokenizer.ggml.tokens: %q appears twice", token)
		}
		vocabulary[token] = id
		if v.isAdded(id) {
			userDefined := v.kinds[id] == ggufUserDefined
			list = append(list, ggufAdded{ID: id, Content: token, Normalized: userDefined && v.scores == nil, Special: !userDefined})
		}
	}
	return vocabulary, list, nil
}

// isAdded reports whether a token is matched in a text before the text is split.
func (v ggufVocabulary) isAdded(id int) bool {
	kind := v.kinds[id]
	return kind == ggufControl || kind == ggufUserDefined || kind == ggufUnknown && v.scores != nil
}

// json returns the tokenizer.json.
func (v ggufVocabulary) json() ([]byte, error) {
	vocabulary, list, err := v.entries()
	if err != nil {
		return nil, err
	}
	if v.scores != nil {
		return v.piecesJSON(vocabulary, list)
	}
	pre, err := v.preTokenizer()
	if err != nil {
		return nil, err
	}
	var normalizer any
	if v.nfc {
		normalizer = map[string]any{"type": "NFC"}
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

// preTokenizer returns the pre-tokenizer that the file names.
func (v ggufVocabulary) preTokenizer() (any, error) {
	switch v.pre {
	case "gpt-2", "olmo", "mpt", "jais", "phi-2", "default", "":
		return byteLevel(), nil
	case "falcon":
		return map[string]any{"type": "Sequence", "pretokenizers": []any{
			map[string]any{"type": "Punctuation", "behavior": "Contiguous"},
			byteLevel(),
			map[string]any{"type": "Digits", "individual_digits": false},
			map[string]any{"type": "Split", "pattern": map[string]any{"Regex": "[0-9][0-9][0-9]"}, "behavior": "Isolated", "invert": false},
		}}, nil
	}
	return nil, fmt.Errorf("tokenizer.ggml.pre %q does not correspond to a known tokenizer.json: %s", v.pre, nameTokenizer)
}

// isGPTNeoX recognizes the vocabulary of GPT-NeoX-20B, which the Mamba authors' models use, by its first tokens. That
// tokenizer normalizes texts to NFC, which older files do not record.
func (v ggufVocabulary) isGPTNeoX() bool {
	return len(v.tokens) > 1 && v.tokens[0] == "<|endoftext|>" && v.tokens[1] == "<|padding|>"
}

// ggufRoles maps the keys of special tokens to their names in tokenizer_config.json.
var ggufRoles = map[string]string{"bos": "bos_token", "eos": "eos_token", "padding": "pad_token", "unknown": "unk_token"}

// ggufConfig returns the tokenizer_config.json: the special tokens and the chat template.
func ggufConfig(f *gguf.File) ([]byte, error) {
	config := map[string]any{}
	tokens, _ := f.Key("tokenizer.ggml.tokens").([]string)
	for role, name := range ggufRoles {
		if id, ok := specialID(f, role); ok && id < len(tokens) {
			config[name] = tokens[id]
		}
	}
	if isPieces(f) {
		config["add_bos_token"] = true // llama.cpp's default
	}
	for _, key := range []string{"add_bos_token", "add_eos_token"} {
		if yes, ok := f.Key("tokenizer.ggml." + key).(bool); ok {
			config[key] = yes
		}
	}
	switch list := ggufTemplates(f); {
	case len(list) == 1 && list[0].Name == DefaultTemplate:
		config["chat_template"] = list[0].Text
	case len(list) > 0:
		config["chat_template"] = list
	}
	return json.MarshalIndent(config, "", "  ")
}

// ggufTemplates returns the chat templates.
func ggufTemplates(f *gguf.File) (list []NamedTemplate) {
	if text, ok := f.Key(gguf.ChatTemplate).(string); ok {
		list = append(list, NamedTemplate{DefaultTemplate, text})
	}
	names, _ := f.Key(gguf.ChatTemplates).([]string)
	for _, name := range names {
		if text, ok := f.Key(gguf.ChatTemplate + "." + name).(string); ok {
			list = append(list, NamedTemplate{name, text})
		}
	}
	return list
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
