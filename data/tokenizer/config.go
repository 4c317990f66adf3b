package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"mambatrain/internal/contenthash"
	"mambatrain/internal/inputfile"
	"mambatrain/internal/pyjson"
)

const (
	configFile   = "tokenizer_config.json"
	specialsFile = "special_tokens_map.json"
	addedFile    = "added_tokens.json"
)

// namedTokens are the keys of the special tokens that every tokenizer may have, in the order in which transformers adds them.
var namedTokens = []string{"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}

// configure reads the files next to tokenizer.json, all of which are optional, as transformers 5 does.
func (t *Tokenizer) configure(dir string, read reader) error {
	var files [3]settings
	for i, name := range []string{specialsFile, configFile, addedFile} {
		path := filepath.Join(dir, name)
		raw, err := read(name, inputfile.MaxTokenizer)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("tokenizer: %w", err)
		}
		if files[i], err = parseSettings(raw); err != nil {
			return fmt.Errorf("tokenizer: %s: %w", path, err)
		}
		t.digest = contenthash.Sum([]byte(t.digest), raw)
	}
	c := tokenConfig{settings: files[1], specials: files[0], added: files[2]}
	if err := c.read(t); err != nil {
		return fmt.Errorf("tokenizer: %s: %w", dir, err)
	}
	if err := t.addConfigured(c.tokens); err != nil {
		return fmt.Errorf("tokenizer: %s: %w", dir, err)
	}
	for key, token := range c.named {
		t.settings.tokens[key] = token.Content
	}
	for key, at := range map[string]*int{"bos_token": &t.settings.bos, "eos_token": &t.settings.eos} {
		if id, ok := t.vocab.id(t.settings.tokens[key]); ok {
			*at = int(id)
		}
	}
	if c.isTrue("add_bos_token") && t.settings.bos >= 0 && len(t.before) == 0 {
		t.before = []int32{int32(t.settings.bos)}
	}
	if c.isTrue("add_eos_token") && t.settings.eos >= 0 && len(t.after) == 0 {
		t.after = []int32{int32(t.settings.eos)}
	}
	return t.loadChatTemplates(dir, read, c.values["chat_template"])
}

// settings is a JSON object that preserves the order of its keys, because tokens are added in that order.
type settings struct {
	keys   []string
	values map[string]json.RawMessage
}

func parseSettings(raw []byte) (s settings, err error) {
	raw = pyjson.Clean(raw)
	if err := pyjson.Unmarshal(raw, &s.values); err != nil {
		return s, err
	}
	seen := make(map[string]bool, len(s.values))
	d := json.NewDecoder(bytes.NewReader(raw))
	d.Token()
	for d.More() {
		at, _ := d.Token()
		key := at.(string)
		if !seen[key] {
			seen[key] = true
			s.keys = append(s.keys, key)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *settings) set(key string, value json.RawMessage) {
	if s.values == nil {
		s.values = map[string]json.RawMessage{}
	}
	if _, ok := s.values[key]; !ok {
		s.keys = append(s.keys, key)
	}
	s.values[key] = value
}

func (s *settings) isTrue(key string) bool { return string(s.values[key]) == "true" }

// isEmpty reports whether the value is false in Python.
func (s *settings) isEmpty(key string) bool {
	v, ok := s.values[key]
	return !ok || slices.Contains([]string{"null", "[]", "{}", `""`, "false", "0"}, string(v))
}

// tokenConfig collects the tokens in the files next to tokenizer.json.
type tokenConfig struct {
	settings
	specials, added settings

	tokens []addedToken          // tokens to add, in order; ID is −1 if the files give none
	named  map[string]addedToken // by key, such as bos_token
	order  []string              // keys of named
}

const (
	decoderKey    = "added_tokens_decoder"
	extraKey      = "extra_special_tokens"
	additionalKey = "additional_special_tokens"     // the name of extraKey before transformers 5
	modelKey      = "model_specific_special_tokens" // an object under extraKey
)

// read collects the tokens: those in added_tokens_decoder, those with a role, and other special tokens.
// special_tokens_map.json and added_tokens.json are used only if there is no added_tokens_decoder.
func (c *tokenConfig) read(t *Tokenizer) error {
	if c.isEmpty(extraKey) && !c.isEmpty(additionalKey) {
		c.set(extraKey, c.values[additionalKey])
	}
	_, whole := c.values[decoderKey]
	if !whole {
		for _, key := range c.specials.keys {
			c.set(key, c.specials.values[key])
		}
		if _, ok := c.values[extraKey]; !ok && !c.isEmpty(additionalKey) {
			c.set(extraKey, c.values[additionalKey])
		}
	}
	if err := c.readNamed(); err != nil {
		return err
	}
	extra, err := c.readExtra()
	if err != nil {
		return err
	}
	special := map[string]bool{}
	for _, a := range c.named {
		special[a.Content] = true
	}
	if whole {
		err = c.readDecoder(t)
	} else {
		err = c.readAdded(t, special, extra)
	}
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, list := range [][]addedToken{t.list, c.tokens} {
		for _, a := range list {
			known[a.Content] = true
		}
	}
	for i, a := range c.tokens {
		c.tokens[i].Special = a.Special || special[a.Content]
	}
	var further []addedToken
	for _, key := range c.order {
		further = append(further, c.named[key])
	}
	for _, a := range append(further, extra...) {
		if !known[a.Content] {
			known[a.Content], a.Special = true, true
			c.tokens = append(c.tokens, a)
		}
	}
	return nil
}

// readNamed reads the keys that end in _token, and the objects under extra_special_tokens and
// model_specific_special_tokens, in which every key names a token.
func (c *tokenConfig) readNamed() error {
	var more [2]settings
	for i, key := range []string{extraKey, modelKey} {
		if bytes.HasPrefix(c.values[key], []byte("{")) {
			var err error
			if more[i], err = parseSettings(c.values[key]); err != nil {
				return err
			}
		}
	}
	c.named = map[string]addedToken{}
	read := func(key string, value json.RawMessage) error {
		if len(value) == 0 || value[0] != '"' && value[0] != '{' {
			return nil
		}
		a, err := parseToken(value, true)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if a.Content == "" {
			return nil
		}
		if _, again := c.named[key]; !again {
			c.order = append(c.order, key)
		}
		c.named[key] = a
		return nil
	}
	for _, key := range namedTokens {
		if err := read(key, c.values[key]); err != nil {
			return err
		}
	}
	for _, key := range c.keys {
		if _, done := c.named[key]; !done && strings.HasSuffix(key, "_token") {
			if err := read(key, c.values[key]); err != nil {
				return err
			}
		}
	}
	for _, object := range more {
		for _, key := range object.keys {
			if err := read(key, object.values[key]); err != nil {
				return err
			}
		}
	}
	return nil
}

// readExtra reads the list under extra_special_tokens.
func (c *tokenConfig) readExtra() (list []addedToken, err error) {
	if c.isEmpty(extraKey) || c.values[extraKey][0] == '{' {
		return nil, nil
	}
	var values []json.RawMessage
	if json.Unmarshal(c.values[extraKey], &values) != nil {
		return nil, fmt.Errorf("%s: want a list of tokens", extraKey)
	}
	for _, value := range values {
		a, err := parseToken(value, true)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", extraKey, err)
		}
		list = append(list, a)
	}
	return list, nil
}

// readDecoder reads added_tokens_decoder, which maps ids to tokens. It omits those that tokenizer.json describes identically.
func (c *tokenConfig) readDecoder(t *Tokenizer) error {
	var byID map[string]json.RawMessage
	if json.Unmarshal(c.values[decoderKey], &byID) != nil {
		return fmt.Errorf("%s: want an object of tokens by id", decoderKey)
	}
	have := make(map[addedToken]bool, len(t.list))
	for _, a := range t.list {
		a.ID = -1
		have[a] = true
	}
	for text, value := range byID {
		id, err := strconv.Atoi(text)
		if err != nil || id < 0 || id > maxTokenID {
			return fmt.Errorf("%s: %q is not an id", decoderKey, text)
		}
		a, err := parseToken(value, false)
		if err != nil || value[0] != '{' {
			return fmt.Errorf("%s: %s: want a token with its content", decoderKey, text)
		}
		if !have[a] {
			a.ID = int32(id)
			c.tokens = append(c.tokens, a)
		}
	}
	c.sort()
	return nil
}

// readAdded reads added_tokens.json, which maps tokens to ids. If tokenizer.json has a token with the same id, that one
// is used.
func (c *tokenConfig) readAdded(t *Tokenizer, special map[string]bool, extra []addedToken) error {
	taken := map[int32]bool{}
	for _, a := range t.list {
		taken[a.ID] = true
	}
	isSpecial := maps.Clone(special)
	for _, a := range extra {
		isSpecial[a.Content] = true
	}
	for _, content := range c.added.keys {
		var id int32
		if json.Unmarshal(c.added.values[content], &id) != nil || id < 0 || id > maxTokenID {
			return fmt.Errorf("%s: %q: want an id", addedFile, content)
		}
		if !taken[id] {
			c.tokens = append(c.tokens, addedToken{ID: id, Content: content, Special: isSpecial[content], Normalized: !isSpecial[content]})
		}
	}
	c.sort()
	return nil
}

func (c *tokenConfig) sort() {
	slices.SortFunc(c.tokens, func(a, b addedToken) int { return int(a.ID) - int(b.ID) })
}

// parseToken parses a token given as a string, which is special if special is set, or as an object.
func parseToken(raw json.RawMessage, special bool) (addedToken, error) {
	a := addedToken{ID: -1}
	if json.Unmarshal(raw, &a.Content) == nil {
		a.Special = special
		return a, nil
	}
	object := struct {
		addedToken
		Normalized *bool `json:"normalized"`
	}{addedToken: addedToken{Special: special}}
	if err := json.Unmarshal(raw, &object); err != nil {
		return a, errors.New("want a string, or an object with content")
	}
	a = object.addedToken
	a.ID, a.Normalized = -1, !a.Special
	if object.Normalized != nil {
		a.Normalized = *object.Normalized
	}
	return a, nil
}

// addConfigured adds tokens that tokenizer.json lacks, or that replace its tokens. New tokens get the next free ids. If
// the files give a different id, that is an error, because each id is a row of the model.
func (t *Tokenizer) addConfigured(tokens []addedToken) error {
	next := int32(t.vocab.own)
	for _, a := range t.list {
		next = max(next, a.ID+1)
	}
	made := map[string]int32{}
	for i := range tokens {
		a := &tokens[i]
		if a.Content == "" {
			continue
		}
		named := a.ID
		id, ok := t.vocab.id(a.Content)
		if !ok {
			id, ok = made[a.Content]
		}
		if a.ID = id; ok {
			continue
		}
		a.ID = next
		made[a.Content] = next
		next++
		if named >= 0 && named != a.ID {
			return fmt.Errorf("added token %q has id %d, but the next free id in tokenizer.json is %d: add the token to model.vocab in tokenizer.json", a.Content, named, a.ID)
		}
		if token := t.Token(int(a.ID)); token != "" {
			return fmt.Errorf("added token %q would get id %d, which belongs to %q: add the token to model.vocab in tokenizer.json", a.Content, a.ID, token)
		}
	}
	if len(tokens) > 0 {
		t.addTokens(tokens)
	}
	return nil
}
