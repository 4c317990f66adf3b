package tokenizer

import (
	"slices"
	"strings"
	"testing"

	"mambatrain/internal/atomicfile"
	"mambatrain/internal/testfile"
)

// TestLoad_addedTokens adds tokens that appear only in the files next to tokenizer.json. Ids, decodings, and roles are
// those of transformers 5.24.
func TestLoad_addedTokens(t *testing.T) {
	for i, c := range testfile.Lines[struct {
		Files    map[string]string
		Texts    []string
		IDs      [][]int
		Decoded  []string
		Size     int
		EOS, BOS *int
	}](t, "testdata/config_golden.jsonl") {
		dir := t.TempDir()
		c.Files["tokenizer.json"] = string(testfile.Read(t, "testdata/tiny_bpe_1k_tokenizer.json"))
		for name, text := range c.Files {
			if err := atomicfile.WriteFile(dir+"/"+name, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		delete(c.Files, "tokenizer.json")
		tok := loadTokenizer(t, dir)
		for k, s := range c.Texts {
			if got := tok.Encode(s); !slices.Equal(got, c.IDs[k]) {
				t.Errorf("case %d: %v: %q: ids %v, want %v", i, c.Files, s, got, c.IDs[k])
			}
			if got := tok.DecodeText(c.IDs[k]); got != c.Decoded[k] {
				t.Errorf("case %d: %v: %v: decoded %q, want %q", i, c.Files, c.IDs[k], got, c.Decoded[k])
			}
		}
		if got := tok.VocabSize(); got != c.Size {
			t.Errorf("case %d: %v: %d ids, want %d", i, c.Files, got, c.Size)
		}
		if id, ok := tok.EOS(); c.EOS != nil && (!ok || id != *c.EOS) {
			t.Errorf("case %d: %v: the text ends with %d, want %d", i, c.Files, id, *c.EOS)
		}
		if id, ok := tok.BOS(); ok != (c.BOS != nil) || ok && id != *c.BOS {
			t.Errorf("case %d: %v: a text begins with %d", i, c.Files, id)
		}
	}
}

// TestLoad_conflictingAddedTokens rejects files that would silently give a token another row of the model.
func TestLoad_conflictingAddedTokens(t *testing.T) {
	for _, c := range []struct{ file, text, want string }{
		{configFile, `{"added_tokens_decoder":{"1030":{"content":"<|x|>"}}}`, `added token "<|x|>" has id 1030, but the next free id in tokenizer.json is 1023`},
		{addedFile, `{"<|x|>":1024}`, `added token "<|x|>" has id 1024`},
		{configFile, `{"added_tokens_decoder":{"x":{"content":"<|x|>"}}}`, `added_tokens_decoder: "x" is not an id`},
		{configFile, `{"added_tokens_decoder":{"1023":"<|x|>"}}`, `added_tokens_decoder: 1023: want a token with its content`},
		{configFile, `{"added_tokens_decoder":[1]}`, `added_tokens_decoder: want an object`},
		{configFile, `{"additional_special_tokens":"<|x|>"}`, `extra_special_tokens: want a list of tokens`},
		{configFile, `{"extra_special_tokens":[1]}`, `extra_special_tokens: want a string`},
		{configFile, `{"pad_token":{"content":1}}`, `pad_token: want a string`},
		{addedFile, `{"<|x|>":"1023"}`, `added_tokens.json: "<|x|>": want an id`},
		{configFile, `[]`, `tokenizer_config.json`},
	} {
		dir := t.TempDir()
		for name, text := range map[string]string{c.file: c.text, "tokenizer.json": string(testfile.Read(t, "testdata/tiny_bpe_1k_tokenizer.json"))} {
			if err := atomicfile.WriteFile(dir+"/"+name, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %s: error %v, want one with %q", c.file, c.text, err, c.want)
		}
	}
}
