package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"mambatrain/internal/pyjson"
)

// maxTokenID limits the ids in a tokenizer.json, so that a damaged file cannot exhaust memory.
const maxTokenID = 1 << 22

// component is a normalizer, pre-tokenizer, post-processor, or decoder in tokenizer.json: the union of the supported fields.
type component struct {
	Type           string          `json:"type"`
	Normalizers    []component     `json:"normalizers"`
	Pretokenizers  []component     `json:"pretokenizers"`
	Processors     []component     `json:"processors"`
	Decoders       []component     `json:"decoders"`
	AddPrefixSpace *bool           `json:"add_prefix_space"`
	UseRegex       *bool           `json:"use_regex"`
	Behavior       splitBehavior   `json:"behavior"`
	Invert         bool            `json:"invert"`
	Individual     bool            `json:"individual_digits"`
	Pattern        json.RawMessage `json:"pattern"`
	Content        string          `json:"content"`
	Prepend        string          `json:"prepend"`
	Replacement    string          `json:"replacement"`
	PrependScheme  string          `json:"prepend_scheme"`
	Split          *bool           `json:"split"`
	Start          int             `json:"start"`
	Stop           int             `json:"stop"`
	Single         []templatePiece `json:"single"`
	SpecialTokens  map[string]struct {
		IDs []int32 `json:"ids"`
	} `json:"special_tokens"`
}

// searchPattern is the pattern of a step. Exactly one field is set.
type searchPattern struct{ String, Regex *string }

func (c component) pattern() (p searchPattern, err error) {
	if err := json.Unmarshal(c.Pattern, &p); err != nil || (p.String == nil) == (p.Regex == nil) {
		return p, fmt.Errorf("pattern: want {\"String\": …} or {\"Regex\": …}, got %s", c.Pattern)
	}
	return p, nil
}

// templatePiece is one element of a TemplateProcessing: the text itself or a special token.
type templatePiece struct {
	Sequence     *struct{ ID string }
	SpecialToken *struct{ ID string }
}

type bpeModel struct {
	Type         string           `json:"type"`
	Dropout      *float64         `json:"dropout"`
	Prefix       *string          `json:"continuing_subword_prefix"`
	Suffix       *string          `json:"end_of_word_suffix"`
	Unknown      *string          `json:"unk_token"`
	ByteFallback bool             `json:"byte_fallback"`
	FuseUnknown  bool             `json:"fuse_unk"`
	IgnoreMerges bool             `json:"ignore_merges"`
	Vocab        map[string]int32 `json:"vocab"`
	Merges       json.RawMessage  `json:"merges"`
}

func (t *Tokenizer) read(raw []byte) error {
	var f struct {
		Added         []addedToken `json:"added_tokens"`
		Normalizer    *component   `json:"normalizer"`
		PreTokenizer  *component   `json:"pre_tokenizer"`
		PostProcessor *component   `json:"post_processor"`
		Decoder       *component   `json:"decoder"`
		// Only the type is decoded first, because the vocabulary of other models has another form.
		Model json.RawMessage `json:"model"`
	}
	if err := pyjson.Unmarshal(raw, &f); err != nil {
		return err
	}
	m, err := parseModel(f.Model)
	if err != nil {
		return err
	}
	if err := t.setNormalizer(f.Normalizer); err != nil {
		return err
	}
	steps := f.PreTokenizer.steps()
	if !isByteLevel(steps) {
		t.characters, err = newCharacters(m)
	} else {
		err = m.checkByteLevel()
	}
	if err := errors.Join(err, t.setPreTokenizer(steps), t.setDecoder(f.Decoder)); err != nil {
		return err
	}
	if t.vocab, err = newVocabulary(m, f.Added, t.tokenBytes); err != nil {
		return err
	}
	if t.characters != nil && m.IgnoreMerges {
		t.vocab.whole = m.Vocab // words are spelled like tokens here
	}
	if m.Unknown != nil && !t.vocab.complete && t.characters == nil {
		return fmt.Errorf("model: unk_token %q with a vocabulary that lacks bytes is not supported", *m.Unknown)
	}
	if t.merges, err = parseMerges(m.Merges, t.vocab); err != nil {
		return err
	}
	if err := t.checkAdded(f.Added); err != nil {
		return err
	}
	t.addTokens(f.Added)
	return t.setPostProcessor(f.PostProcessor)
}

func parseModel(raw json.RawMessage) (*bpeModel, error) {
	if len(raw) == 0 {
		return nil, errors.New("model: is missing")
	}
	var kind struct{ Type string }
	if err := json.Unmarshal(raw, &kind); err != nil {
		return nil, fmt.Errorf("model: %w", pyjson.Explain(nil, err))
	}
	if kind.Type != "BPE" && kind.Type != "" {
		return nil, fmt.Errorf("model: type %q is not supported, want BPE", kind.Type)
	}
	var m bpeModel
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("model: %w", pyjson.Explain(nil, err))
	}
	var unknown []string
	for name, set := range map[string]bool{
		"dropout":                   m.Dropout != nil && *m.Dropout != 0,
		"continuing_subword_prefix": m.Prefix != nil && *m.Prefix != "",
		"end_of_word_suffix":        m.Suffix != nil && *m.Suffix != "",
	} {
		if set {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("model: %s: not supported for BPE", strings.Join(unknown, ", "))
	}
	return &m, nil
}

// checkByteLevel rejects options that make no sense if every byte is a symbol.
func (m *bpeModel) checkByteLevel() error {
	if m.ByteFallback {
		return errors.New("model: byte_fallback: not supported for byte-level BPE")
	}
	return nil
}

func (t *Tokenizer) setNormalizer(c *component) error {
	if c == nil {
		return nil
	}
	switch c.Type {
	case "NFC":
		t.normalizers = append(t.normalizers, normalizeNFC)
		return nil
	case "Prepend":
		if err := t.growth.add("", c.Prepend); err != nil {
			return fmt.Errorf("normalizer: Prepend: %w", err)
		}
		t.normalizers = append(t.normalizers, func(s string, origins bool) normalText { return prependText(s, origins, c.Prepend) })
		return nil
	case "Replace":
		find, pattern, err := c.finder()
		if err == nil {
			err = t.growth.add(pattern, c.Content)
		}
		if err != nil {
			return fmt.Errorf("normalizer: Replace: %w", err)
		}
		t.normalizers = append(t.normalizers, func(s string, origins bool) normalText { return replaceText(s, origins, find, c.Content) })
		return nil
	case "Sequence":
		for i := range c.Normalizers {
			if err := t.setNormalizer(&c.Normalizers[i]); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("normalizer: type %q is not supported, want NFC, Prepend, or Replace", c.Type)
}

// growth is the factor by which the steps of a normalizer or decoder can lengthen a text. Without a limit, a small file
// could produce a text of any length.
type growth int

// add accounts for a step that replaces pattern with content. pattern is "" if the match may be empty.
func (g *growth) add(pattern, content string) error {
	const limit = 1 << 10
	times := 1 + len(content)
	if pattern != "" {
		times = max(1, (len(content)+len(pattern)-1)/len(pattern))
	}
	if *g = max(1, *g) * growth(times); *g > limit {
		return fmt.Errorf("can make a text more than %d times longer", limit)
	}
	return nil
}

// steps lists the steps of a pre-tokenizer.
func (c *component) steps() (list []component) {
	switch {
	case c == nil:
		return nil
	case c.Type != "Sequence":
		return []component{*c}
	}
	for i := range c.Pretokenizers {
		list = append(list, c.Pretokenizers[i].steps()...)
	}
	return list
}

func isByteLevel(steps []component) bool {
	return slices.ContainsFunc(steps, func(c component) bool { return c.Type == "ByteLevel" })
}

// setPreTokenizer accepts any sequence of splits with one ByteLevel, or one that may begin with Metaspace.
func (t *Tokenizer) setPreTokenizer(steps []component) error {
	mapped := false // by ByteLevel
	for i, step := range steps {
		switch {
		case step.Type == "ByteLevel" && mapped:
			return errors.New("pre_tokenizer: a second ByteLevel is not supported")
		case step.Type == "ByteLevel":
			mapped = true
			t.prefix = step.AddPrefixSpace != nil && *step.AddPrefixSpace
			if t.prefix && i > 0 {
				return errors.New("pre_tokenizer: add_prefix_space after another step is not supported")
			}
			if step.UseRegex == nil || *step.UseRegex {
				t.splits = append(t.splits, scanner(scanGPT2))
			}
			continue
		case step.Type == "Metaspace" && (i > 0 || t.characters == nil):
			return errors.New("pre_tokenizer: Metaspace after another step or with ByteLevel is not supported")
		case step.Type == "Metaspace":
			if err := t.setMetaspace(step); err != nil {
				return err
			}
			continue
		}
		split, err := newSplitter(step)
		if err != nil {
			return fmt.Errorf("pre_tokenizer: %w", err)
		}
		if mapped {
			split = afterByteLevel(split)
		}
		t.splits = append(t.splits, split)
	}
	return nil
}

func (t *Tokenizer) setMetaspace(c component) (err error) {
	if t.characters.space, err = newMetaspace(c); err != nil {
		return fmt.Errorf("pre_tokenizer: %w", err)
	}
	if c.Split == nil || *c.Split {
		mark, _ := utf8.DecodeRuneInString(c.Replacement)
		t.splits = append(t.splits, runeSplitter{func(r rune) bool { return r == mark }, "MergedWithNext"})
	}
	return nil
}

func (t *Tokenizer) setPostProcessor(c *component) error {
	switch {
	case c == nil:
		return nil
	case c.Type == "ByteLevel":
		return nil
	case c.Type == "Sequence":
		for i := range c.Processors {
			if err := t.setPostProcessor(&c.Processors[i]); err != nil {
				return err
			}
		}
		return nil
	case c.Type == "TemplateProcessing":
		return t.setTemplate(c)
	}
	return fmt.Errorf("post_processor: type %q is not supported", c.Type)
}

func (t *Tokenizer) setTemplate(c *component) error {
	if len(t.before)+len(t.after) > 0 {
		return errors.New("post_processor: a second TemplateProcessing is not supported")
	}
	ids := &t.before
	for _, piece := range c.Single {
		if piece.Sequence != nil {
			ids = &t.after
			continue
		}
		if piece.SpecialToken == nil {
			return errors.New("post_processor: a template piece is neither Sequence nor SpecialToken")
		}
		token, ok := c.SpecialTokens[piece.SpecialToken.ID]
		if !ok {
			return fmt.Errorf("post_processor: special token %q has no ids", piece.SpecialToken.ID)
		}
		for _, id := range token.IDs {
			if id < 0 || id > maxTokenID {
				return fmt.Errorf("post_processor: special token %q: id %d is not between 0 and %d", piece.SpecialToken.ID, id, maxTokenID)
			}
		}
		*ids = append(*ids, token.IDs...)
	}
	return nil
}

func (t *Tokenizer) setDecoder(c *component) (err error) {
	if t.characters != nil {
		t.characters.decoding, err = newDecoder(c)
		return err
	}
	switch {
	case c == nil:
		return errors.New("decoder: missing, want ByteLevel")
	case c.Type == "Sequence" && len(c.Decoders) == 1:
		return t.setDecoder(&c.Decoders[0])
	case c.Type != "ByteLevel":
		return fmt.Errorf("decoder: type %q is not supported for this model, want ByteLevel", c.Type)
	}
	return nil
}

// parseMerges parses the merge rules in rank order, each "a b" or ["a", "b"].
func parseMerges(raw json.RawMessage, v vocabulary) (pairTable, error) {
	var pairs [][2]string
	if json.Unmarshal(raw, &pairs) != nil {
		var lines []string
		if err := json.Unmarshal(raw, &lines); err != nil {
			return pairTable{}, fmt.Errorf("model: merges: want \"a b\" or [\"a\", \"b\"]: %w", pyjson.Explain(nil, err))
		}
		pairs = pairs[:0]
		for _, line := range lines {
			if strings.HasPrefix(line, "#version") {
				continue
			}
			a, b, ok := strings.Cut(line, " ")
			if !ok || strings.Contains(b, " ") {
				return pairTable{}, fmt.Errorf("model: merge %q: want two tokens separated by a single space", line)
			}
			pairs = append(pairs, [2]string{a, b})
		}
	}
	table := newPairTable(len(pairs))
	for rank, p := range pairs {
		a, okA := v.id(p[0])
		b, okB := v.id(p[1])
		ab, okAB := v.id(p[0] + p[1])
		if !okA || !okB || !okAB {
			return pairTable{}, fmt.Errorf("model: merge %d, %q and %q: one of them or the result is not in the vocabulary", rank, p[0], p[1])
		}
		table.put(a, b, mergeRule{rank: uint32(rank), id: ab})
	}
	return table, nil
}
