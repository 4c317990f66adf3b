package mamba

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"mambatrain/internal/gguf"
	"mambatrain/internal/inputfile"
	"mambatrain/internal/pyjson"
)

// tokenizerFile is the name of the tokenizer file in a model directory.
const tokenizerFile = "tokenizer.json"

// tokenizerJSON is the part of tokenizer.json that is copied to a GGUF file.
type tokenizerJSON struct {
	Model struct {
		Type   string            `json:"type"`
		Vocab  map[string]int    `json:"vocab"`
		Merges []json.RawMessage `json:"merges"` // "a b" or ["a", "b"]
		Unk    *string           `json:"unk_token"`

		ByteFallback bool `json:"byte_fallback"`
		IgnoreMerges bool `json:"ignore_merges"`
	} `json:"model"`
	Added        []AddedToken `json:"added_tokens"`
	Normalizer   normalizer   `json:"normalizer"`
	PreTokenizer preTokenizer `json:"pre_tokenizer"`
}

type preTokenizer struct {
	Type       string         `json:"type"`
	Prefix     bool           `json:"add_prefix_space"`
	UseRegex   *bool          `json:"use_regex"` // absent: true
	Steps      []preTokenizer `json:"pretokenizers"`
	Behavior   string         `json:"behavior"`
	Individual bool           `json:"individual_digits"`
	Invert     bool           `json:"invert"`

	Replacement string `json:"replacement"` // of Metaspace
	Scheme      string `json:"prepend_scheme"`
	Split       *bool  `json:"split"` // absent: true
	Pattern     struct{ Regex string }
}

// name returns llama.cpp's name for the way p splits texts, or "" if it does not support it. GPT-NeoX splits like
// GPT-2.
func (p preTokenizer) name() string {
	if p.Type == "ByteLevel" && (p.UseRegex == nil || *p.UseRegex) {
		return "gpt-2"
	}
	if p.Type != "Sequence" || len(p.Steps) != 4 {
		return ""
	}
	punctuation, bytes, digits, split := p.Steps[0], p.Steps[1], p.Steps[2], p.Steps[3]
	if punctuation.Type == "Punctuation" && punctuation.Behavior == "Contiguous" && bytes.name() == "gpt-2" && !bytes.Prefix &&
		digits.Type == "Digits" && !digits.Individual &&
		split.Type == "Split" && split.Pattern.Regex == "[0-9][0-9][0-9]" && split.Behavior == "Isolated" && !split.Invert {
		return "falcon"
	}
	return ""
}

// llama.cpp's token types.
const (
	tokenNormal, tokenUnknown, tokenControl, tokenUserDefined, tokenUnused, tokenByte int32 = 1, 2, 3, 4, 5, 6
)

// tokenizer sets the keys of the vocabulary in dir, or notes that there is none.
func (g *ggufModel) tokenizer(dir string, c Config, o GGUFOptions) error {
	path := filepath.Join(dir, tokenizerFile)
	var t tokenizerJSON
	err := pyjson.ReadFile(path, inputfile.MaxTokenizer, &t)
	if errors.Is(err, os.ErrNotExist) {
		g.Set("tokenizer.ggml.model", "no_vocab")
		return nil
	}
	if err != nil {
		return fmt.Errorf("mamba: gguf: %w", err)
	}
	if o.Added != nil {
		t.Added = o.Added
	}
	if err := t.check(); err != nil {
		return fmt.Errorf("mamba: gguf: %s: %w", path, err)
	}
	tokens, kinds, err := t.tokens(c.VocabSize)
	if err != nil {
		return fmt.Errorf("mamba: gguf: %s: %w", path, err)
	}
	merges, err := t.merges()
	if err != nil {
		return fmt.Errorf("mamba: gguf: %s: %w", path, err)
	}
	if err := g.whole(path, t, o.Note); err != nil {
		return fmt.Errorf("mamba: gguf: %w", err)
	}
	if prefix, ok := t.pieces(); ok {
		if err := g.setPieces(t, tokens, kinds, merges, prefix); err != nil {
			return fmt.Errorf("mamba: gguf: %s: %w", path, err)
		}
	} else {
		g.Set("tokenizer.ggml.model", "gpt2")
		g.Set("tokenizer.ggml.pre", t.PreTokenizer.name())
		g.Set("tokenizer.ggml.tokens", tokens)
		g.Set("tokenizer.ggml.token_type", kinds)
		g.Set("tokenizer.ggml.merges", merges)
		if t.Normalizer.isNFC() {
			g.Set(gguf.NFC, true)
		}
	}
	g.specials(t, c, o)
	g.chatTemplates(o.ChatTemplates)
	return nil
}

// chatTemplates sets the chat templates by name, in which llama.cpp's converter replaces everything but letters and
// digits.
func (g *ggufModel) chatTemplates(list []ChatTemplate) {
	var names []string
	for _, t := range list {
		name := strings.Map(func(r rune) rune {
			if r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
				return r
			}
			return '_'
		}, t.Name)
		switch {
		case t.Text == "" || name == "":
		case name == "default":
			g.Set(gguf.ChatTemplate, t.Text)
		default:
			g.Set(gguf.ChatTemplate+"."+name, t.Text)
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		g.Set(gguf.ChatTemplates, names)
	}
}

// whole notes what the keys that llama.cpp reads cannot express, and sets the key with the entire tokenizer.json if there
// is any. mamba-train reads that key instead of the others, llama.cpp ignores it. Tokens that only other files add are
// included. note may be nil.
func (g *ggufModel) whole(path string, t tokenizerJSON, note func(string)) error {
	var file map[string]json.RawMessage
	if err := pyjson.ReadFile(path, inputfile.MaxTokenizer, &file); err != nil {
		return err
	}
	var list []map[string]any
	if err := json.Unmarshal(file["added_tokens"], &list); err != nil && file["added_tokens"] != nil {
		return fmt.Errorf("%s: added_tokens: %w", path, err)
	}
	_, pieces := t.pieces()
	have := map[any]bool{}
	flags, normalized := false, false // of an added token
	for _, a := range list {
		have[a["content"]] = true
		flags = flags || a["lstrip"] == true || a["rstrip"] == true || a["single_word"] == true
		normalized = normalized || pieces && a["normalized"] == true
	}
	lost := t.lost()
	if flags {
		lost = append(lost, "llama.cpp ignores the flags lstrip, rstrip, and single_word of added tokens, so it tokenizes some texts with such tokens differently")
	}
	if len(lost) == 0 && !normalized {
		return nil
	}
	if note != nil {
		for _, text := range lost {
			note(text)
		}
	}
	for _, a := range t.Added {
		if !have[a.Content] {
			list = append(list, map[string]any{
				"id": a.ID, "content": a.Content, "special": a.Special, "normalized": !a.Special,
				"single_word": false, "lstrip": false, "rstrip": false,
			})
		}
	}
	var err error
	if file["added_tokens"], err = json.Marshal(list); err != nil {
		return err
	}
	b, err := json.Marshal(file)
	if err != nil {
		return err
	}
	g.Set("tokenizer.huggingface.json", string(b))
	return nil
}

// check returns an error if llama.cpp's tokenizers cannot represent t.
func (t tokenizerJSON) check() error {
	if _, ok := t.pieces(); ok {
		return nil
	}
	if t.Model.Type != "BPE" || t.PreTokenizer.name() == "" {
		return fmt.Errorf("model %q with pre-tokenizer %q: only byte-level BPE that splits like GPT-2 or Falcon, and SentencePiece BPE without splitting, can be exported", t.Model.Type, t.PreTokenizer.Type)
	}
	return nil
}

// lost returns notes about texts that llama.cpp tokenizes differently.
func (t tokenizerJSON) lost() (notes []string) {
	prefix, pieces := t.pieces()
	if pieces {
		if prefix && t.PreTokenizer.Type == "Metaspace" {
			notes = append(notes, fmt.Sprintf("llama.cpp puts a space before every piece of text between special tokens. The tokenizer (Metaspace, prepend_scheme %s) "+
				"does so in fewer places, so llama.cpp tokenizes some texts differently", t.PreTokenizer.Scheme))
		}
		return notes
	}
	switch steps := t.Normalizer.names(); {
	case t.Normalizer.isNFC():
		notes = append(notes, "versions of llama.cpp that do not know "+gguf.NFC+" skip the tokenizer's normalization (NFC), so they tokenize texts that this would change differently")
	case len(steps) > 0:
		notes = append(notes, fmt.Sprintf("llama.cpp skips the tokenizer's normalization (%s), so it tokenizes texts that this would change differently", strings.Join(steps, ", ")))
	}
	if t.PreTokenizer.Prefix {
		notes = append(notes, "llama.cpp does not put a space before each text as the tokenizer does (ByteLevel, add_prefix_space), so it tokenizes texts differently")
	}
	if t.Model.IgnoreMerges {
		notes = append(notes, "llama.cpp applies merges to words that the tokenizer takes as whole tokens (ignore_merges), so it tokenizes some texts differently")
	}
	return notes
}

// tokens returns the texts and types of all v ids. Ids without a token are marked as unused.
func (t tokenizerJSON) tokens(v int) ([]string, []int32, error) {
	tokens, kinds := make([]string, v), make([]int32, v)
	for i := range tokens {
		tokens[i], kinds[i] = fmt.Sprintf("[PAD%d]", i), tokenUnused
	}
	put := func(id int, text string, kind int32) error {
		if id < 0 || id >= v {
			return fmt.Errorf("token %q has id %d, but the model has only %d ids", text, id, v)
		}
		tokens[id], kinds[id] = text, kind
		return nil
	}
	for text, id := range t.Model.Vocab {
		if err := put(id, text, tokenNormal); err != nil {
			return nil, nil, err
		}
	}
	for _, a := range t.Added {
		kind := tokenUserDefined
		if a.Special {
			kind = tokenControl
		}
		if err := put(a.ID, a.Content, kind); err != nil {
			return nil, nil, err
		}
	}
	return tokens, kinds, nil
}

func (t tokenizerJSON) merges() ([]string, error) {
	merges := make([]string, len(t.Model.Merges))
	for i, raw := range t.Model.Merges {
		var pair []string
		if json.Unmarshal(raw, &merges[i]) == nil {
			continue
		}
		if err := json.Unmarshal(raw, &pair); err != nil || len(pair) != 2 {
			return nil, fmt.Errorf("merge %d: want two tokens, got %s", i, shorten(raw))
		}
		merges[i] = strings.Join(pair, " ")
	}
	return merges, nil
}

// specials sets the ids of special tokens. The tokenizer's take precedence; see [GGUFOptions.endOfText].
func (g *ggufModel) specials(t tokenizerJSON, c Config, o GGUFOptions) {
	set := func(role string, id int) {
		if id >= 0 && id < c.VocabSize {
			g.Set("tokenizer.ggml."+role+"_token_id", uint32(id))
		}
	}
	if o.BOS != nil {
		set("bos", *o.BOS)
	} else {
		set("bos", c.BOSTokenID)
	}
	for _, id := range o.endOfText(c) {
		set("eos", id)
	}
	if t.Model.Unk != nil {
		if id, ok := t.Model.Vocab[*t.Model.Unk]; ok {
			set("unknown", id)
		}
	}
	set("padding", c.PadTokenID)
	g.Set("tokenizer.ggml.add_bos_token", o.AddBOS)
	if o.AddEOS {
		g.Set("tokenizer.ggml.add_eos_token", true)
	}
}
