package tokenizer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"mambatrain/internal/contenthash"
	"mambatrain/internal/fault"
	"mambatrain/internal/gguf"
	"mambatrain/internal/inputfile"
)

// Tokenizer turns text into token ids and back, exactly as Hugging Face's tokenizers library does for BPE. It is
// read-only after loading and safe for concurrent use.
type Tokenizer struct {
	vocab       vocabulary
	merges      pairTable
	added       addedTokens
	normalizers []normalizer
	growth      growth      // due to the normalizers
	characters  *characters // nil: the symbols are bytes
	prefix      bool        // prepend a space to a text that does not start with one
	splits      []splitter
	before      []int32      // ids that the post-processor adds before a text …
	after       []int32      // … and after it
	list        []addedToken // all added tokens, each content once
	words       sync.Pool
	settings    tokenizerConfig
	digest      string
	dir         string // directory of tokenizer.json
}

// tokenizerConfig contains the settings of tokenizer_config.json.
type tokenizerConfig struct {
	bos, eos  int // −1 if not set
	templates []NamedTemplate
	tokens    map[string]string // bos_token, eos_token, and the other named special tokens, for chat templates
}

// Load reads a tokenizer from a model directory (tokenizer.json, with tokenizer_config.json, special_tokens_map.json,
// added_tokens.json, and chat_template.jinja if present), from a tokenizer.json, or from a GGUF file, for which it uses
// the tokenizer.json next to it or otherwise the keys of the file; see [GGUFFiles].
func Load(path string) (*Tokenizer, error) {
	file := path
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		file = filepath.Join(path, tokenizerFile)
	}
	if !gguf.IsModel(path) {
		return load(file, filepath.Dir(file), filepath.Base(file), inDirectory(filepath.Dir(file)))
	}
	dir := filepath.Dir(path)
	if sibling := filepath.Join(dir, tokenizerFile); exists(sibling) {
		return load(sibling, dir, tokenizerFile, inDirectory(dir))
	}
	g, err := readGGUF(path)
	if err != nil {
		return nil, err
	}
	t, err := load(path, dir, tokenizerFile, inMemory(g.files))
	if err == nil && g.scores != nil {
		t.merges.rankByScore(g.scores)
	}
	return t, err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// load reads a tokenizer from files named relative to dir. Errors name file.
func load(file, dir, name string, read reader) (*Tokenizer, error) {
	raw, err := read(name, inputfile.MaxTokenizer)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.NoFile("tokenizer: no file %s", file)
	}
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	t, err := parse(raw)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %s: %w", file, err)
	}
	if err := t.configure(dir, read); err != nil {
		return nil, err
	}
	t.dir = dir
	return t, nil
}

// Dir returns the directory that the tokenizer was read from, which is also where its chat template is expected.
func (t *Tokenizer) Dir() string { return t.dir }

// parse parses a tokenizer.json. An unsupported feature is an error that names it, because wrong tokens are worse than none.
func parse(raw []byte) (*Tokenizer, error) {
	t := &Tokenizer{digest: contenthash.Sum(raw)}
	t.words.New = func() any { return newWordCache() }
	t.settings = tokenizerConfig{bos: -1, eos: -1, tokens: map[string]string{}}
	if err := t.read(raw); err != nil {
		return nil, err
	}
	if id, ok := t.vocab.id("<|endoftext|>"); ok {
		t.settings.eos = int(id)
	}
	return t, nil
}

// VocabSize returns the number of ids including added tokens: the largest id plus one. A model may have more rows.
func (t *Tokenizer) VocabSize() int { return len(t.vocab.bytes) }

// EOS returns the end-of-text id, and whether there is one.
func (t *Tokenizer) EOS() (id int, ok bool) { return t.settings.eos, t.settings.eos >= 0 }

// NamedEOS returns the end-of-text id, and whether the files next to tokenizer.json name its token.
func (t *Tokenizer) NamedEOS() (id int, ok bool) {
	id, _ = t.EOS()
	name, ok := t.settings.tokens["eos_token"]
	return id, ok && id >= 0 && t.Token(id) == name
}

// BOS returns the beginning-of-text id, and whether there is one.
func (t *Tokenizer) BOS() (id int, ok bool) { return t.settings.bos, t.settings.bos >= 0 }

// Token returns a token as spelled in tokenizer.json, or "" for an id without a token.
func (t *Tokenizer) Token(id int) string {
	if id < 0 || id >= len(t.vocab.tokens) {
		return ""
	}
	return t.vocab.tokens[id]
}

// isSpecial reports whether id is a special token, such as the end of text.
func (t *Tokenizer) isSpecial(id int) bool {
	return id >= 0 && id < len(t.vocab.special) && t.vocab.special[id]
}

// Digest identifies the tokenizer by the contents of its files.
func (t *Tokenizer) Digest() string { return t.digest }
