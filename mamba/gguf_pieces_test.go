package mamba

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestGGUFPieces converts a SentencePiece tokenizer, such as Codestral's, to llama.cpp's form, whose scores order the
// merges. A tokenizer whose merges llama.cpp would not reproduce is an error.
func TestGGUFPieces(t *testing.T) {
	const metaspace = `{"model": {"type": "BPE", "byte_fallback": true, "unk_token": "<unk>",
		"vocab": {"<unk>": 0, "<s>": 1, "<0x41>": 2, "▁": 3, "a": 4, "b": 5, "ab": 6, "▁ab": 7, "▁a": 8},
		"merges": ["a b", "▁ a", "▁ ab", "▁a b"]},
		"added_tokens": [{"id": 0, "content": "<unk>", "special": true}, {"id": 1, "content": "<s>", "special": true}],
		"normalizer": null, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false}}`
	legacy := strings.Replace(metaspace, `"normalizer": null, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false}`,
		`"pre_tokenizer": null, "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}`, 1)
	for text, prefix := range map[string]bool{metaspace: true, legacy: true, strings.Replace(metaspace, `"first"`, `"never"`, 1): false} {
		r := exportPieces(t, text, GGUFOptions{})
		for key, want := range map[string]any{
			"tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default", "tokenizer.ggml.add_space_prefix": prefix,
			"tokenizer.ggml.unknown_token_id": 0.0,
		} {
			if got := r.value(key); got != want {
				t.Errorf("%s is %v, want %v", key, got, want)
			}
		}
		if got := r.value("tokenizer.ggml.scores").([]any)[:9]; !reflect.DeepEqual(got, []any{-4., -4., -4., -4., -4., -4., -0., -2., -1.}) {
			t.Errorf("scores are %v", got)
		}
		if got := r.value("tokenizer.ggml.token_type").([]any)[:10]; !reflect.DeepEqual(got, []any{2., 3., 6., 1., 1., 1., 1., 1., 1., 5.}) {
			t.Errorf("kinds are %v", got)
		}
	}
	for text, want := range map[string]string{
		strings.Replace(metaspace, `, "▁a b"`, "", 1):                                    `would merge "▁a" and "b" into it`,
		strings.Replace(metaspace, `"a b", "▁ a", "▁ ab"`, `"▁ ab", "a b", "▁ a"`, 1):    `merge "▁a b" comes between`,
		strings.Replace(metaspace, `"split": false`, `"split": true`, 1):                 "SentencePiece BPE without splitting",
		strings.Replace(metaspace, `"byte_fallback": true`, `"byte_fallback": false`, 1): "SentencePiece BPE without splitting",
	} {
		dir := rewrite(t, unchanged, same)
		if err := os.WriteFile(filepath.Join(dir, tokenizerFile), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := ExportGGUF(t.Context(), dir, filepath.Join(dir, "x.gguf"), GGUFOptions{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %s", err, want)
		}
	}
}

// Merges of tokens with equal scores are mixed in a tokenizer that transformers converted, such as those of runs of
// spaces in Codestral's. Such tokens get equal scores.
func TestMergeRanks_equalScores(t *testing.T) {
	merges := []string{"a b", "▁▁▁ ▁", "▁▁ ▁▁", "▁▁ ▁", "▁ ▁▁▁", "▁ ▁▁", "▁ ▁", "▁ a"}
	got, err := mergeRanks(merges)
	if want := map[string]int{"ab": 0, "▁▁▁▁": 1, "▁▁▁": 1, "▁▁": 6, "▁a": 7}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("ranks %v, %v, want %v", got, err, want)
	}
	merges[2], merges[3] = merges[3], merges[2]
	if _, err := mergeRanks(merges); err == nil || !strings.Contains(err.Error(), `merge "▁▁ ▁▁" comes between`) {
		t.Errorf("merges in another order: got %v", err)
	}
}

// TestGGUFLost checks that an export describes the texts that llama.cpp tokenizes differently: those that a
// normalizer changes, those that begin with a space or follow a special token, and those with tokens that are not the
// result of merges or that take the text around them into account.
func TestGGUFLost(t *testing.T) {
	const byteLevel = `{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "pre_tokenizer": {"type": "ByteLevel"}, "normalizer": `
	const prefixed = `{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": true}}`
	const pieces = `{"model": {"type": "BPE", "byte_fallback": true, "vocab": {"▁": 0}, "merges": []}, `
	for text, want := range map[string]string{
		byteLevel + `null}`: "",
		prefixed:            "does not put a space before each text",
		strings.Replace(prefixed, `"merges"`, `"ignore_merges": true, "merges"`, 1):                        "differently; llama.cpp applies merges to words that the tokenizer takes as whole tokens (ignore_merges)",
		byteLevel + `null, "added_tokens": [{"id": 1, "content": "b", "rstrip": true, "special": true}]}`:  "the flags lstrip, rstrip, and single_word",
		byteLevel + `null, "added_tokens": [{"id": 1, "content": "b", "rstrip": false, "special": true}]}`: "",
		byteLevel + `{"type": "NFC"}}`: "(NFC)",
		byteLevel + `{"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]}}`:                                                                         "(NFKC, Lowercase)",
		pieces + `"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false}}`:                                                     "prepend_scheme first",
		pieces + `"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": false}}`:                                                     "",
		pieces + `"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}}`: "",
	} {
		notes := ""
		r := exportPieces(t, text, GGUFOptions{Note: func(note string) { notes += note + "; " }})
		if nfc := r.value("tokenizer.ggml.normalizer.nfc"); (nfc == true) != (want == "(NFC)") {
			t.Errorf("%s: normalizer.nfc is %v", text, nfc)
		}
		if whole := r.value("tokenizer.huggingface.json"); (whole == nil) != (want == "") {
			t.Errorf("%s: whole tokenizer %v", text, whole)
		}
		if (notes == "") != (want == "") || !strings.Contains(notes, want) {
			t.Errorf("%s: notes %q, want %q in them", text, notes, want)
		}
	}
}

// TestGGUFSpecials checks that the tokenizer's ids take precedence over those of config.json, and that the tokens
// that it adds to a text are passed on.
func TestGGUFSpecials(t *testing.T) {
	const text = `{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "pre_tokenizer": {"type": "ByteLevel"}}`
	bos, eos := 5, 6
	for _, c := range []struct {
		options GGUFOptions
		want    map[string]any
	}{
		{GGUFOptions{}, map[string]any{"bos_token_id": 0., "eos_token_id": 0., "add_bos_token": false, "add_eos_token": nil}},
		{GGUFOptions{BOS: &bos, EOS: &eos, AddBOS: true}, map[string]any{"bos_token_id": 5., "eos_token_id": 6., "add_bos_token": true, "add_eos_token": nil}},
		{GGUFOptions{EOS: &eos, AddEOS: true}, map[string]any{"bos_token_id": 0., "eos_token_id": 6., "add_bos_token": false, "add_eos_token": true}},
	} {
		r := exportPieces(t, text, c.options)
		for key, want := range c.want {
			if got := r.value("tokenizer.ggml." + key); got != want {
				t.Errorf("%+v: %s is %v, want %v", c.options, key, got, want)
			}
		}
	}
}

// TestExportGGUF_endOfText checks that an export notes the ids that end a text but are not in the file, whichever file
// defines them.
func TestExportGGUF_endOfText(t *testing.T) {
	six := 6
	for _, c := range []struct {
		model      TokenIDs
		generation string
		tokenizer  *int
		want       string
	}{
		{TokenIDs{0}, "", nil, ""},
		{TokenIDs{0, 5}, "", nil, "one eos_token_id, 0; llama.cpp does not end a text at the others in config.json: [5]"},
		{TokenIDs{0, 6}, `{"top_k": 50}`, &six, "one eos_token_id, 6; llama.cpp does not end a text at the others in config.json: [0]"},
		{TokenIDs{0, 5}, `{"eos_token_id": 0}`, nil, ""},
		{TokenIDs{0}, `{"eos_token_id": 5}`, nil, "generation_config.json: eos_token_id; pass"},
		{TokenIDs{0}, `{"eos_token_id": [0, 5]}`, nil, "generation_config.json: eos_token_id; pass"},
		{TokenIDs{0}, `{"eos_token_id": 6}`, &six, ""},
	} {
		dir := rewrite(t, func(m *Config) { m.EOSTokenID = c.model }, same)
		if c.generation != "" {
			if err := os.WriteFile(filepath.Join(dir, GenerationConfigFile), []byte(c.generation), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		notes := ""
		o := GGUFOptions{EOS: c.tokenizer, Note: func(note string) { notes += note }}
		if _, err := ExportGGUF(t.Context(), dir, filepath.Join(dir, "x.gguf"), o); err != nil {
			t.Fatal(err)
		}
		if (notes == "") != (c.want == "") || !strings.Contains(notes, c.want) {
			t.Errorf("%v, %s: notes %q, want %q in them", c.model, c.generation, notes, c.want)
		}
	}
}

// exportPieces exports a model with the given tokenizer.
func exportPieces(t *testing.T, tokenizer string, o GGUFOptions) *ggufContents {
	t.Helper()
	dir := rewrite(t, unchanged, same)
	if err := os.WriteFile(filepath.Join(dir, tokenizerFile), []byte(tokenizer), 0o666); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "x.gguf")
	if _, err := ExportGGUF(t.Context(), dir, file, o); err != nil {
		t.Fatal(err)
	}
	return readGGUF(t, file)
}

// value returns the value of a key, nil if there is none.
func (c *ggufContents) value(key string) any {
	for i, k := range c.keys {
		if k == key {
			return c.values[i]
		}
	}
	return nil
}

// Chat templates have the keys that llama.cpp's converter gives them.
func TestExportGGUF_chatTemplates(t *testing.T) {
	const text = `{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "pre_tokenizer": {"type": "ByteLevel"}}`
	c := exportPieces(t, text, GGUFOptions{ChatTemplates: []ChatTemplate{
		{"default", "plain"}, {"tool_use", "tools"}, {"rag-2.é", "documents"}, {"", "x"}, {"empty", ""},
	}})
	for key, want := range map[string]any{
		"tokenizer.chat_template":          "plain",
		"tokenizer.chat_template.tool_use": "tools",
		"tokenizer.chat_template.rag_2__":  "documents",
		"tokenizer.chat_templates":         []any{"tool_use", "rag_2__"},
		"tokenizer.chat_template.empty":    nil,
	} {
		if got := c.value(key); !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
}
