package tokenizer

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"mambatrain/internal/gguf"
)

// ggufPieces is the tokenizer.ggml.model of SentencePiece's BPE.
const ggufPieces = "llama"

func isPieces(f *gguf.File) bool { return f.Key("tokenizer.ggml.model") == ggufPieces }

// specialID returns the id of a special token. llama.cpp has defaults for SentencePiece vocabularies.
func specialID(f *gguf.File, role string) (int, bool) {
	if id, ok := f.Int("tokenizer.ggml." + role + "_token_id"); ok || !isPieces(f) {
		return id, ok
	}
	id, ok := map[string]int{"unknown": 0, "bos": 1, "eos": 2}[role]
	return id, ok
}

// maxPiece limits the bytes of a token, because every way to cut it in two is looked up.
const maxPiece = 1 << 10

// readPieces reads the keys of a SentencePiece vocabulary. llama.cpp ignores remove_extra_whitespaces for it.
func (v *ggufVocabulary) readPieces(f *gguf.File) error {
	switch scores := f.Key("tokenizer.ggml.scores").(type) {
	case []float64:
		v.scores = scores
	case nil:
		v.scores = make([]float64, len(v.tokens)) // all equal
	default:
		return errors.New("tokenizer.ggml.scores: want an array of float32")
	}
	if len(v.scores) != len(v.tokens) {
		return fmt.Errorf("tokenizer.ggml.scores: has %d scores for %d tokens", len(v.scores), len(v.tokens))
	}
	if slices.ContainsFunc(v.scores, math.IsNaN) {
		return errors.New("tokenizer.ggml.scores: has a score that is not a number")
	}
	for id, token := range v.tokens {
		switch {
		case !utf8.ValidString(token):
			return fmt.Errorf("tokenizer.ggml.tokens: token %d is not UTF-8", id)
		case len(token) > maxPiece:
			return fmt.Errorf("tokenizer.ggml.tokens: token %d has %d bytes, want at most %d", id, len(token), maxPiece)
		}
	}
	if id, ok := specialID(f, "unknown"); ok && id < len(v.tokens) && !v.isHole(id) {
		v.unknown = v.tokens[id]
	}
	v.prefix = true
	if prefix, ok := f.Key("tokenizer.ggml.add_space_prefix").(bool); ok {
		v.prefix = prefix
	}
	return nil
}

// pieceSpace replaces spaces in SentencePiece vocabularies.
const pieceSpace = "▁"

// piecesJSON returns the tokenizer.json of a SentencePiece vocabulary. llama.cpp starts with the characters of a text
// and merges the two neighbors that form the token with the highest score, until no two neighbors form one. A character
// without a token becomes its bytes. llama.cpp puts a space before every piece of text between added tokens, which it
// matches in the raw text.
func (v ggufVocabulary) piecesJSON(vocabulary map[string]int, list []ggufAdded) ([]byte, error) {
	merges, err := v.pieceMerges(vocabulary)
	if err != nil {
		return nil, err
	}
	var unknown any
	if v.unknown != "" {
		unknown = v.unknown
	}
	literal := map[string]any{"String": " "}
	mark := map[string]any{"String": pieceSpace}
	normalizers := []any{map[string]any{"type": "Replace", "pattern": literal, "content": pieceSpace}}
	decoders := []any{
		map[string]any{"type": "Replace", "pattern": mark, "content": " "},
		map[string]any{"type": "ByteFallback"},
		map[string]any{"type": "Fuse"},
	}
	if v.prefix {
		normalizers = append([]any{map[string]any{"type": "Prepend", "prepend": pieceSpace}}, normalizers...)
		decoders = append(decoders, map[string]any{"type": "Strip", "content": " ", "start": 1, "stop": 0})
	}
	return json.Marshal(map[string]any{
		"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": list, "pre_tokenizer": nil, "post_processor": nil,
		"normalizer": map[string]any{"type": "Sequence", "normalizers": normalizers},
		"decoder":    map[string]any{"type": "Sequence", "decoders": decoders},
		"model": map[string]any{
			"type": "BPE", "dropout": nil, "unk_token": unknown, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
			"fuse_unk": true, "byte_fallback": true, "ignore_merges": false, "vocab": vocabulary, "merges": merges,
		},
	})
}

// pieceMerge is a merge with its sort keys: the score of the token that it forms, and the number of characters in its
// parts.
type pieceMerge struct {
	parts       [2]string
	score       float64
	left, right int
}

// pieceMerges lists every way to form a token from two others, in the order of transformers' converter: by score, then
// by the length of the parts, longest first.
func (v ggufVocabulary) pieceMerges(vocabulary map[string]int) ([][2]string, error) {
	var all []pieceMerge
	for id, token := range v.tokens {
		if v.isHole(id) {
			continue
		}
		first := len(all)
		n, chars := 0, utf8.RuneCountInString(token)
		for at := range token {
			left, right := token[:at], token[at:]
			_, l := vocabulary[left]
			_, r := vocabulary[right]
			switch {
			case at == 0:
			case l && r:
				all = append(all, pieceMerge{[2]string{left, right}, v.scores[id], n, chars - n})
			case (l || n == 1) && (r || chars-n == 1) && v.occurs(id):
				return nil, fmt.Errorf("tokenizer.ggml.tokens: llama.cpp forms %q from %q and %q, one of which is not a token, and a tokenizer.json cannot express that: %s",
					token, left, right, nameTokenizer)
			}
			n++
		}
		slices.SortFunc(all[first:], func(a, b pieceMerge) int {
			return cmp.Or(cmp.Compare(vocabulary[a.parts[0]], vocabulary[b.parts[0]]), cmp.Compare(vocabulary[a.parts[1]], vocabulary[b.parts[1]]))
		})
	}
	slices.SortStableFunc(all, func(a, b pieceMerge) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(b.left, a.left), cmp.Compare(b.right, a.right))
	})
	merges := make([][2]string, len(all))
	for i, m := range all {
		merges[i] = m.parts
	}
	return merges, nil
}

// occurs reports whether a text can contain a token after the added tokens have been cut out of it.
func (v ggufVocabulary) occurs(id int) bool {
	return !v.isAdded(id) || strings.Contains(v.tokens[id], pieceSpace)
}
