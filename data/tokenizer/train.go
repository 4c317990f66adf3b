package tokenizer

import (
	"bytes"
	"container/heap"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"mambatrain/internal/atomicfile"
)

// TrainConfig describes the tokenizer that a [Trainer] makes.
type TrainConfig struct {
	VocabSize     int      // total number of ids: special tokens, 256 bytes, merges
	MinFrequency  int      // pairs that occur less often are not merged
	SpecialTokens []string // ids from 0; the first is the end of text. Empty = <|endoftext|>, <|padding|>
}

// Trainer trains a byte-level BPE like GPT-NeoX's, with NFC and GPT-2's split pattern. It merges the most frequent pair
// first, and among equals the pair with the smallest ids, so that the same text produces the same file (Sennrich et al.
// 2016; the tie-breaking rule is that of the tokenizers library).
type Trainer struct {
	config     TrainConfig
	vocabulary *trainedVocabulary
	splitter   *Tokenizer     // without merges
	counts     map[string]int // occurrences of each word so far
}

// NewTrainer returns a trainer without text.
func NewTrainer(c TrainConfig) (*Trainer, error) {
	if len(c.SpecialTokens) == 0 {
		c.SpecialTokens = []string{"<|endoftext|>", "<|padding|>"}
	}
	for i, token := range c.SpecialTokens {
		if token == "" || slices.Contains(c.SpecialTokens[:i], token) {
			return nil, fmt.Errorf("tokenizer: special token %q is empty or appears twice", token)
		}
	}
	least := len(c.SpecialTokens) + 256
	if c.VocabSize < least || c.VocabSize > maxTokenID {
		return nil, fmt.Errorf("tokenizer: vocabulary size must be between %[2]d (special tokens and bytes) and %[3]d, got %[1]d", c.VocabSize, least, maxTokenID)
	}
	t := &Trainer{config: c, vocabulary: &trainedVocabulary{special: c.SpecialTokens}, counts: map[string]int{}}
	t.vocabulary.init()
	raw, err := t.vocabulary.tokenizerJSON()
	if err != nil {
		return nil, err
	}
	t.splitter, err = parse(raw)
	return t, err
}

// Add counts the words of a text, split as the tokenizer will split it. It does not count special tokens.
func (t *Trainer) Add(text string) {
	text = validUTF8([]byte(text))
	t.splitter.added.raw.split(text, func(lo, hi int, id int32) {
		if id >= 0 {
			return
		}
		n := t.splitter.normalize(text[lo:hi], false)
		t.splitter.splits[0].cut(n.text, func(lo, hi int) {
			w := n.text[lo:hi]
			if _, ok := t.counts[w]; !ok {
				w = strings.Clone(w)
			}
			t.counts[w]++
		})
	})
}

// ErrNoText is returned when there is no text to train on.
var ErrNoText = errors.New("no text to train a tokenizer on")

// TrainedFiles are the names of the files that [Trainer.Train] writes. The first one makes a directory a tokenizer.
var TrainedFiles = []string{"tokenizer.json", "tokenizer_config.json"}

// Train learns the merges from the texts added so far, writes tokenizer.json and tokenizer_config.json into dir, and
// loads them.
func (t *Trainer) Train(ctx context.Context, dir string) (*Tokenizer, error) {
	if len(t.counts) == 0 {
		return nil, ErrNoText
	}
	v := t.vocabulary
	if err := learnMerges(ctx, v, t.counts, t.config); err != nil {
		return nil, err
	}
	raw, err := v.tokenizerJSON()
	if err != nil {
		return nil, err
	}
	if err := writeFiles(dir, raw, v.configJSON()); err != nil {
		return nil, err
	}
	return Load(dir)
}

func writeFiles(dir string, tokenizer, config []byte) error {
	if err := atomicfile.MkdirAll(dir); err != nil {
		return fmt.Errorf("tokenizer: %w", err)
	}
	tmp, err := atomicfile.CreateDir(dir)
	if err != nil {
		return fmt.Errorf("tokenizer: %w", err)
	}
	defer tmp.Remove()
	for name, raw := range map[string][]byte{TrainedFiles[0]: tokenizer, TrainedFiles[1]: config} {
		if err := atomicfile.WriteFile(filepath.Join(tmp.Path, name), raw); err != nil {
			return fmt.Errorf("tokenizer: %w", tmp.Name(dir, err))
		}
	}
	if err := tmp.MoveInto(dir, TrainedFiles[:1], nil); err != nil {
		return fmt.Errorf("tokenizer: %w", err)
	}
	return nil
}

// trainedVocabulary is a vocabulary under construction.
type trainedVocabulary struct {
	special []string
	tokens  []string // by id, in the byte alphabet
	ids     map[string]int32
	byteID  [256]int32
	merges  [][2]int32
}

// init assigns ids to the special tokens and then to the bytes, in the order of their characters.
func (v *trainedVocabulary) init() {
	v.ids = map[string]int32{}
	for _, s := range v.special {
		v.id(s)
	}
	alphabet := slices.Clone(byteRune[:])
	slices.Sort(alphabet)
	for _, r := range alphabet {
		v.byteID[runeByte[r]] = v.id(string(r))
	}
}

// id returns the id of a token, assigning a new one if necessary.
func (v *trainedVocabulary) id(token string) int32 {
	id, ok := v.ids[token]
	if !ok {
		id = int32(len(v.tokens))
		v.ids[token] = id
		v.tokens = append(v.tokens, token)
	}
	return id
}

// trainedWord is a distinct word: its symbols as merged so far, and its number of occurrences in the text.
type trainedWord struct {
	symbols []int32
	count   int
}

type pair [2]int32

// learner is the state of training: the number of occurrences of each pair, and the words that contain it.
type learner struct {
	words  []trainedWord
	counts map[pair]int
	where  map[pair]map[int32]struct{}
	queue  pairQueue
}

func learnMerges(ctx context.Context, v *trainedVocabulary, counts map[string]int, c TrainConfig) error {
	l := newLearner(v, counts)
	for len(v.tokens) < c.VocabSize && len(l.queue) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		best := heap.Pop(&l.queue).(countedPair)
		if now := l.counts[best.pair]; now != best.count { // it has lost occurrences since it was queued
			if now > 0 {
				heap.Push(&l.queue, countedPair{best.pair, now})
			}
			continue
		}
		if best.count < max(1, c.MinFrequency) {
			break
		}
		id := v.id(v.tokens[best.pair[0]] + v.tokens[best.pair[1]])
		v.merges = append(v.merges, best.pair)
		l.merge(best.pair, id)
	}
	return nil
}

func newLearner(v *trainedVocabulary, counts map[string]int) *learner {
	l := &learner{counts: map[pair]int{}, where: map[pair]map[int32]struct{}{}}
	texts := make([]string, 0, len(counts))
	for w := range counts {
		texts = append(texts, w)
	}
	slices.Sort(texts)
	for _, w := range texts {
		word := trainedWord{make([]int32, len(w)), counts[w]}
		for i := range len(w) {
			word.symbols[i] = v.byteID[w[i]]
		}
		for i := range len(w) - 1 {
			l.count(pair{word.symbols[i], word.symbols[i+1]}, word.count, int32(len(l.words)))
		}
		l.words = append(l.words, word)
	}
	for p, n := range l.counts {
		l.queue = append(l.queue, countedPair{p, n})
	}
	heap.Init(&l.queue)
	return l
}

// count adds n occurrences of p in a word.
func (l *learner) count(p pair, n int, word int32) {
	l.counts[p] += n
	if n < 0 {
		return
	}
	words := l.where[p]
	if words == nil {
		words = map[int32]struct{}{}
		l.where[p] = words
	}
	words[word] = struct{}{}
}

// merge replaces a pair with its id in all words that contain it, from left to right, and queues the new pairs.
func (l *learner) merge(p pair, id int32) {
	words := l.where[p]
	delete(l.where, p)
	made := map[pair]struct{}{}
	for w := range words {
		word := &l.words[w]
		s, kept := word.symbols, 0
		for i := 0; i < len(s); i++ {
			if i+1 >= len(s) || s[i] != p[0] || s[i+1] != p[1] {
				s[kept] = s[i]
				kept++
				continue
			}
			if kept > 0 {
				l.count(pair{s[kept-1], p[0]}, -word.count, w)
				l.count(pair{s[kept-1], id}, word.count, w)
				made[pair{s[kept-1], id}] = struct{}{}
			}
			if i+2 < len(s) {
				l.count(pair{p[1], s[i+2]}, -word.count, w)
				l.count(pair{id, s[i+2]}, word.count, w)
				made[pair{id, s[i+2]}] = struct{}{}
			}
			s[kept] = id
			kept++
			i++
		}
		word.symbols = s[:kept]
	}
	delete(l.counts, p)
	for q := range made {
		if n := l.counts[q]; n > 0 {
			heap.Push(&l.queue, countedPair{q, n})
		}
	}
}

type countedPair struct {
	pair
	count int
}

// pairQueue is a heap with the most frequent pair first and, among equals, the one with the smallest ids.
type pairQueue []countedPair

func (q pairQueue) Len() int { return len(q) }
func (q pairQueue) Less(i, j int) bool {
	if q[i].count != q[j].count {
		return q[i].count > q[j].count
	}
	return slices.Compare(q[i].pair[:], q[j].pair[:]) < 0
}
func (q pairQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *pairQueue) Push(x any)   { *q = append(*q, x.(countedPair)) }
func (q *pairQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// tokenizerJSON writes the vocabulary in the order of its ids. encoding/json would sort it by token.
func (v *trainedVocabulary) tokenizerJSON() ([]byte, error) {
	var vocab bytes.Buffer
	vocab.WriteByte('{')
	for id, token := range v.tokens {
		raw, err := json.Marshal(token)
		if err != nil {
			return nil, err
		}
		if id > 0 {
			vocab.WriteByte(',')
		}
		fmt.Fprintf(&vocab, "%s:%d", raw, id)
	}
	vocab.WriteByte('}')
	merges := make([][2]string, len(v.merges))
	for i, m := range v.merges {
		merges[i] = [2]string{v.tokens[m[0]], v.tokens[m[1]]}
	}
	added := make([]addedToken, len(v.special))
	for id, s := range v.special {
		added[id] = addedToken{ID: int32(id), Content: s, Special: true}
	}
	byteLevel := map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
	return json.MarshalIndent(map[string]any{
		"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": added,
		"normalizer": map[string]any{"type": "NFC"}, "pre_tokenizer": byteLevel, "post_processor": byteLevel, "decoder": byteLevel,
		"model": map[string]any{
			"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
			"fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": json.RawMessage(vocab.Bytes()), "merges": merges,
		},
	}, "", " ")
}

// configJSON returns tokenizer_config.json, with the other settings that transformers needs.
func (v *trainedVocabulary) configJSON() []byte {
	config := map[string]any{
		"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 1 << 30, "clean_up_tokenization_spaces": false,
		"bos_token": v.special[0], "eos_token": v.special[0], "unk_token": v.special[0], "pad_token": v.special[len(v.special)-1],
	}
	raw, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		panic(err) // only strings and numbers
	}
	return append(raw, '\n')
}
