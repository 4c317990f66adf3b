package mamba

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// normalizer is a step that changes a text before it is split.
type normalizer struct {
	Type    string       `json:"type"`
	Prepend string       `json:"prepend"`
	Content string       `json:"content"`
	Steps   []normalizer `json:"normalizers"`
	Pattern struct{ String string }
}

// names lists the types of n's steps; it is empty if n changes nothing.
func (n normalizer) names() (list []string) {
	if n.Type != "" && n.Type != "Sequence" {
		list = append(list, n.Type)
	}
	for _, step := range n.Steps {
		list = append(list, step.names()...)
	}
	return list
}

// pieceSpace replaces spaces in SentencePiece vocabularies.
const pieceSpace = "▁"

// pieces reports whether the tokenizer is a SentencePiece BPE, which splits a text into characters without splitting
// it into words first, and whether it puts a space before the text.
func (t tokenizerJSON) pieces() (prefix, ok bool) {
	p, n := t.PreTokenizer, t.Normalizer
	if t.Model.Type != "BPE" || !t.Model.ByteFallback || t.Model.IgnoreMerges {
		return false, false
	}
	if p.Type == "Metaspace" {
		whole := p.Split != nil && !*p.Split && p.Replacement == pieceSpace
		return p.Scheme != "never", whole && n.Type == ""
	}
	prefix = len(n.Steps) == 2 && n.Steps[0].Type == "Prepend" && n.Steps[0].Prepend == pieceSpace
	if prefix {
		n.Steps = n.Steps[1:]
	}
	replaces := n.Type == "Sequence" && len(n.Steps) == 1 && n.Steps[0].Type == "Replace" &&
		n.Steps[0].Pattern.String == " " && n.Steps[0].Content == pieceSpace
	return prefix, replaces && p.Type == ""
}

// scores returns the scores by which llama.cpp orders merges: earlier merges have higher scores. llama.cpp ignores the
// list of merges and joins any two pieces that form a token, so every way to form a token must be in the list, and all
// merges that form the same token must be adjacent.
func (t tokenizerJSON) scores(tokens []string, merges []string) ([]float32, error) {
	rank := map[string]int{}
	made := ""
	ways := make(map[string]bool, len(merges))
	for i, m := range merges {
		token := strings.Replace(m, " ", "", 1)
		if _, before := rank[token]; before && made != token {
			return nil, fmt.Errorf("merge %q comes after merges of other tokens, which llama.cpp's SentencePiece has no place for", m)
		} else if !before {
			rank[token] = i
		}
		made, ways[m] = token, true
	}
	scores := make([]float32, len(tokens))
	for id, token := range tokens {
		scores[id] = -float32(len(merges))
		if r, ok := rank[token]; ok {
			scores[id] = -float32(r)
		}
	}
	added := map[string]bool{} // matched in the text before any merge
	for _, a := range t.Added {
		added[a.Content] = true
	}
	for token := range t.Model.Vocab {
		if added[token] {
			continue
		}
		for i := range token {
			left, right := token[:i], token[i:]
			_, l := t.Model.Vocab[left]
			_, r := t.Model.Vocab[right]
			if l && r && !ways[left+" "+right] {
				return nil, fmt.Errorf("token %q: %q and %q make it in llama.cpp's SentencePiece, and are no merge here", token, left, right)
			}
		}
	}
	return scores, nil
}

var byteToken = regexp.MustCompile(`^<0x[0-9A-F]{2}>$`)

// setPieces sets the keys of a SentencePiece vocabulary.
func (g *ggufModel) setPieces(t tokenizerJSON, tokens []string, kinds []int32, merges []string, prefix bool) error {
	scores, err := t.scores(tokens, merges)
	if err != nil {
		return err
	}
	for id, token := range tokens {
		switch {
		case t.Model.Unk != nil && token == *t.Model.Unk:
			kinds[id] = tokenUnknown
		case byteToken.MatchString(token):
			kinds[id] = tokenByte
		case !utf8.ValidString(token):
			return fmt.Errorf("token %d is not UTF-8", id)
		}
	}
	g.Set("tokenizer.ggml.model", "llama")
	g.Set("tokenizer.ggml.pre", "default")
	g.Set("tokenizer.ggml.tokens", tokens)
	g.Set("tokenizer.ggml.scores", scores)
	g.Set("tokenizer.ggml.token_type", kinds)
	g.Set("tokenizer.ggml.add_space_prefix", prefix)
	return nil
}
