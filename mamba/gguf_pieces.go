package mamba

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
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

// isNFC reports whether n only composes characters, which llama.cpp can do.
func (n normalizer) isNFC() bool { return slices.Equal(n.names(), []string{"NFC"}) }

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
// merges that form the same token must be adjacent, unless they come from equal scores.
func (t tokenizerJSON) scores(tokens []string, merges []string) ([]float32, error) {
	rank, err := mergeRanks(merges)
	if err != nil {
		return nil, err
	}
	ways := make(map[string]bool, len(merges))
	for _, m := range merges {
		ways[m] = true
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
				return nil, fmt.Errorf("token %q: llama.cpp's SentencePiece would merge %q and %q into it, but the tokenizer would not", token, left, right)
			}
		}
	}
	return scores, nil
}

// mergeRanks returns the index of the first merge that forms each token. Tokens whose merges are mixed get the same rank
// if the merges with the longest parts come first, which is how transformers lists the merges of tokens with equal
// scores, such as runs of spaces.
func mergeRanks(merges []string) (map[string]int, error) {
	last := map[string]int{}
	for i, m := range merges {
		last[joined(m)] = i
	}
	rank := map[string]int{}
	for start := 0; start < len(merges); {
		end, mixed := start, -1 // the last merge of the group, and the first that is out of order
		for i := start; i <= end; i++ {
			token := joined(merges[i])
			if i > start && mixed < 0 && longer(merges[i], merges[i-1]) {
				mixed = i
			}
			end, rank[token] = max(end, last[token]), start
		}
		if alone := joined(merges[start]); mixed >= 0 && slices.ContainsFunc(merges[start:end+1], func(m string) bool { return joined(m) != alone }) {
			return nil, fmt.Errorf("merge %q comes between merges of other tokens, an order that llama.cpp's SentencePiece cannot represent", merges[mixed])
		}
		start = end + 1
	}
	return rank, nil
}

// joined returns the token that a merge forms.
func joined(merge string) string { return strings.Replace(merge, " ", "", 1) }

// longer reports whether a merge has a longer first part than another, or an equally long one and a longer second part.
func longer(merge, other string) bool {
	left, right, _ := strings.Cut(merge, " ")
	otherLeft, otherRight, _ := strings.Cut(other, " ")
	count := utf8.RuneCountInString
	return cmp.Or(cmp.Compare(count(left), count(otherLeft)), cmp.Compare(count(right), count(otherRight))) > 0
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
