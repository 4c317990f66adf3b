package recipe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"mambatrain/data/hub"
	"mambatrain/data/tokenizer"
	"mambatrain/internal/fault"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn/weights"
)

// Model is a model that is ready to run, with its tokenizer and adapter, if any.
type Model struct {
	*mamba.Model
	Dir       string
	Adapter   *lora.Adapter        // nil: none
	Tokenizer *tokenizer.Tokenizer // nil: the directory has none

	adapterDir    string // "": no adapter
	tokenizerPath string // of the named tokenizer; "": the tokenizer of the adapter or the model is used
	initialState  string // file of the named initial state; "": none
	onWarning     func(error)
}

// Inputs returns the files that the model was loaded from; see [InputFiles].
func (m *Model) Inputs() []string {
	return append(InputFiles(m.Dir, m.adapterDir, m.tokenizerPath), m.initialState)
}

// warn reports err to the caller that loaded the model, if it asked for warnings.
func (m *Model) warn(err error) {
	if m.onWarning != nil {
		m.onWarning(err)
	}
}

// LoadOptions are options for loading a model.
type LoadOptions struct {
	Precision mamba.Precision // of the weights
	Tokenizer string          // tokenizer.json, its directory, a GGUF file, or a Hugging Face id; "": that of the adapter or model
	Resize    bool            // give embedding and head a row for each id of the tokenizer
	// InitialState is the file of the state that documents start from, instead of the adapter's; "" means none.
	InitialState string
	// Warn is called if an adapter was trained on different weights than those of the named model. It may be nil.
	Warn func(error)
	Hub  *hub.Client // looks up names; nil: configured by the environment
}

// LoadModel loads a model with its tokenizer and puts an adapter into it. Either name may be empty: without an adapter,
// the model is loaded as is; without a model, the adapter's base is loaded.
func LoadModel(ctx context.Context, name, adapter string, o LoadOptions) (*Model, error) {
	var d *lora.Directory
	if adapter != "" {
		var err error
		if d, err = OpenAdapter(ctx, o.Hub, adapter); err != nil {
			return nil, err
		}
		defer d.Close()
	}
	dir, err := modelOrBase(ctx, o.Hub, name, d)
	if err != nil {
		return nil, err
	}
	how := mamba.LoadOptions{Precision: o.Precision, Packed: true}
	if d != nil {
		how.Packed = leavesBaseAlone(d.Config)
		adapter = d.Path
	}
	named, err := findNamedTokenizer(ctx, o.Hub, o.Tokenizer)
	if err != nil {
		return nil, err
	}
	t, err := openTokenizer(named, adapter, dir)
	if err != nil {
		return nil, err
	}
	sizes, err := mamba.LoadConfig(dir)
	if err != nil {
		return nil, err
	}
	how.VocabSize = rowsFor(sizes.VocabSize, d, t)
	if o.Resize && t != nil {
		how.VocabSize = max(how.VocabSize, t.VocabSize())
	}
	m, err := load(dir, how, adapterBytes(d))
	if err != nil {
		return nil, err
	}
	l := &Model{Model: m, Dir: dir, Tokenizer: t, tokenizerPath: named, initialState: o.InitialState, onWarning: o.Warn}
	if d != nil {
		if l.Adapter, err = d.Load(m); err != nil {
			return nil, err
		}
		l.adapterDir = d.Path
		if err := l.Adapter.Enable(); err != nil {
			return nil, err
		}
	}
	if d != nil && name != "" && o.Warn != nil {
		if err := warnOfOtherBase(d, dir, o.Warn); err != nil {
			return nil, err
		}
	}
	if blocks := m.Config.Blocks(o.Precision); d != nil && d.Blocks != "" && d.Blocks != blocks && o.Warn != nil {
		o.Warn(fmt.Errorf("adapter %s was trained on quantized weights (%s), but these are in %s: use --precision to choose another form", d.Path, d.Blocks, cmp.Or(blocks, "floating-point numbers")))
	}
	if o.InitialState == "" {
		return l, nil
	}
	start, err := m.LoadState(o.InitialState)
	if err != nil {
		return nil, err
	}
	return l, m.SetStart(start)
}

// warnOfOtherBase compares the weights in dir with those that the adapter was trained on, if it records them. Different
// weights may be intended, such as those of a quantized copy.
func warnOfOtherBase(d *lora.Directory, dir string, warn func(error)) error {
	if d.Base == "" {
		return nil
	}
	files, err := weights.Open(dir)
	if err != nil {
		return err
	}
	defer files.Close()
	fingerprint, err := lora.Fingerprint(files)
	if err != nil {
		return err
	}
	if err := d.CheckBase(fingerprint); err != nil {
		warn(err)
	}
	return nil
}

// FindModel returns the directory of a model, or of the adapter's base if name is empty. client may be nil.
func FindModel(ctx context.Context, client *hub.Client, name, adapter string) (string, error) {
	if adapter == "" {
		return modelDirectory(ctx, client, name)
	}
	d, err := OpenAdapter(ctx, client, adapter)
	if err != nil {
		return "", err
	}
	defer d.Close()
	return modelOrBase(ctx, client, name, d)
}

// modelOrBase returns the directory of a model, or of an adapter's base if name is empty.
func modelOrBase(ctx context.Context, client *hub.Client, name string, d *lora.Directory) (_ string, err error) {
	if name == "" && d != nil {
		return findBase(ctx, client, d)
	}
	return modelDirectory(ctx, client, name)
}

// modelDirectory returns the directory of a model by path or Hugging Face id; client may be nil. An adapter directory
// gives a specific error.
func modelDirectory(ctx context.Context, client *hub.Client, name string) (string, error) {
	dir, err := resolveModel(ctx, client, name)
	if err != nil {
		return "", err
	}
	if mamba.IsGGUF(dir) || has(dir, mamba.ConfigFile) || has(dir, mamba.ParamsFile) {
		return dir, nil
	}
	if has(dir, lora.ConfigFile) {
		return "", fault.NotFound("model %s contains an adapter and no model: use it as the adapter (--adapter, or adapter in a configuration)", dir)
	}
	return "", fault.NotFound("model %s: no %s in it", dir, mamba.ConfigFile)
}

// OpenAdapter opens an adapter for reading, by path or Hugging Face id. client may be nil.
func OpenAdapter(ctx context.Context, client *hub.Client, name string) (*lora.Directory, error) {
	dir, err := resolveAdapter(ctx, client, name)
	if err != nil {
		return nil, err
	}
	if !has(dir, lora.ConfigFile) {
		return nil, fault.NotFound("adapter %s: no %s in it", name, lora.ConfigFile)
	}
	return lora.Open(dir)
}

func has(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

// hasWeights reports whether a model directory contains weights that can be loaded.
func hasWeights(dir string) bool {
	return mamba.IsGGUF(dir) || has(dir, weights.ModelFile) || has(dir, weights.IndexFile)
}

// LoadTokenizer loads the tokenizer of a model by path or Hugging Face id. It returns nil if the model has none. client
// may be nil.
func LoadTokenizer(ctx context.Context, client *hub.Client, model string) (*tokenizer.Tokenizer, error) {
	dir, err := resolveModel(ctx, client, model)
	if err != nil {
		return nil, err
	}
	return openTokenizer(dir)
}

// FindTokenizer returns the path of a tokenizer.json given by its path, its directory, or a Hugging Face id, or of a
// GGUF file, whose metadata contains a tokenizer. client may be nil.
func FindTokenizer(ctx context.Context, client *hub.Client, name string) (string, error) {
	if isFile(name) {
		return name, nil
	}
	dir, err := resolveTokenizer(ctx, client, name)
	if err != nil {
		return "", err
	}
	if !has(dir, tokenizerFiles[0]) {
		return "", fault.NotFound("tokenizer %s: no %s in it", name, tokenizerFiles[0])
	}
	return filepath.Join(dir, tokenizerFiles[0]), nil
}

// findNamedTokenizer is FindTokenizer, but returns "" if name is empty.
func findNamedTokenizer(ctx context.Context, client *hub.Client, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	return FindTokenizer(ctx, client, name)
}

// openTokenizer loads the tokenizer of the first directory that has one, or returns nil if none does.
func openTokenizer(dirs ...string) (*tokenizer.Tokenizer, error) {
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		t, err := tokenizer.Load(dir)
		if errors.Is(err, fault.ErrNotFound) {
			continue
		}
		return t, err
	}
	return nil, nil
}

// NeedTokenizer returns an error if the model has no tokenizer. why names what needs one.
func (m *Model) NeedTokenizer(why string) error {
	if m.Tokenizer == nil {
		return fault.NotFound("model %s has no tokenizer.json, which is required for %s; name one (tokenizer in a configuration, --tokenizer)", m.Dir, why)
	}
	return nil
}

// vocabulary returns which ids have a token: those below size except holes.
func (m *Model) vocabulary() (size int, holes []int) {
	if m.Tokenizer == nil {
		return 0, nil
	}
	size = min(m.Tokenizer.VocabSize(), m.Config.VocabSize)
	for id := range size {
		if m.Tokenizer.Token(id) == "" {
			holes = append(holes, id)
		}
	}
	return size, holes
}

// checkVocabulary returns an error if the model has no row for one of the ids in a prompt.
func (m *Model) checkVocabulary(ids []int) error {
	for _, id := range ids {
		if id >= m.Config.VocabSize {
			return fmt.Errorf("prompt: token %q has id %d, but the model's vocabulary has %d ids%s", m.Tokenizer.Token(id), id, m.Config.VocabSize, vocabularyHint(m.Tokenizer, m.Config.VocabSize))
		}
	}
	return nil
}

// Encode returns the ids of a prompt. For an empty prompt, it returns the BOS token if the model has one.
func (m *Model) Encode(prompt string) ([]int, error) {
	if err := m.checkPrompt(prompt); err != nil {
		return nil, err
	}
	ids := m.Tokenizer.Encode(prompt)
	if err := m.checkVocabulary(ids); err != nil {
		return nil, err
	}
	if len(ids) > 0 {
		return ids, nil
	}
	id, ok := m.Tokenizer.BOS()
	if !ok {
		id = m.Config.BOSTokenID
	}
	if id >= 0 && id < m.Config.VocabSize {
		return []int{id}, nil
	}
	return nil, nil
}

// EncodeAfter returns the ids of a prompt that continues the sequence of s: its text alone, without what the tokenizer
// adds around a whole text. If s is nil or its sequence is empty, it returns those of [Model.Encode].
func (m *Model) EncodeAfter(s *mamba.State, prompt string) ([]int, error) {
	if s == nil || len(s.Tokens[0]) == 0 {
		return m.Encode(prompt)
	}
	if err := m.checkPrompt(prompt); err != nil {
		return nil, err
	}
	ids := widen(m.Tokenizer.AppendText(nil, prompt))
	return ids, m.checkVocabulary(ids)
}

func (m *Model) checkPrompt(prompt string) error {
	if err := m.NeedTokenizer("text prompts"); err != nil {
		return err
	}
	return fault.CheckText("prompt", prompt)
}
