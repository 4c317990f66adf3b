package recipe

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"mambatrain/data/source"
	"mambatrain/data/tokenizer"
	"mambatrain/internal/fault"
	"mambatrain/internal/label"
	"mambatrain/mamba"
)

// Question is a multiple-choice row with the columns context, choices, and answer.
type Question struct {
	Context string
	Choices []string
	Answer  int // index of the right choice
}

// Answer is a model's answer to a Question. Log-likelihoods are those of the choices given the context.
type Answer struct {
	Choice         int // by log-likelihood
	ChoiceNorm     int // by log-likelihood per character
	LogLikelihoods []float64
	Tokens         int // in all choices
}

// ReadQuestions reads multiple-choice rows from a file, glob, directory, or dataset.
func ReadQuestions(ctx context.Context, in Sources, c source.Config) (list []Question, err error) {
	for row, err := range source.Rows(ctx, in, c) {
		if err != nil {
			return nil, err
		}
		q, err := readQuestion(row)
		if err != nil {
			return nil, fmt.Errorf("data %s: row %d: %w", in[0].Path, len(list), err)
		}
		list = append(list, q)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("data %s: no rows", in[0].Path)
	}
	return list, nil
}

func readQuestion(row map[string]any) (q Question, err error) {
	for _, name := range []string{"context", "choices", "answer"} {
		if _, ok := row[name]; !ok {
			have := strings.Join(slices.Sorted(maps.Keys(row)), ", ")
			return q, fault.NotFound("no column %q: want context, choices, and answer, got %s", name, have)
		}
	}
	var ok bool
	if q.Context, ok = row["context"].(string); !ok {
		return q, fmt.Errorf("context: want text, got %s", fault.Value(row["context"]))
	}
	list, _ := row["choices"].([]any)
	for _, c := range list {
		text, ok := c.(string)
		if !ok || text == "" {
			return q, fmt.Errorf("choices: want non-empty strings, got %s", fault.Value(c))
		}
		q.Choices = append(q.Choices, text)
	}
	if len(q.Choices) < 2 {
		return q, fmt.Errorf("choices: want a list of at least two strings, got %s", fault.Value(row["choices"]))
	}
	q.Answer, err = findAnswer(row["answer"], q.Choices)
	return q, err
}

// findAnswer parses an answer: the index of a choice from 0, its letter from A, or its text.
func findAnswer(v any, choices []string) (int, error) {
	i := -1
	switch v := v.(type) {
	case int64:
		i = int(v)
	case float64:
		if i = int(v); float64(i) != v {
			i = -1
		}
	case string:
		if i = slices.Index(choices, v); i < 0 {
			i = placeOf(strings.TrimSpace(v))
		}
	}
	if i < 0 || i >= len(choices) {
		return 0, fmt.Errorf("answer: want the index of a choice (from 0), its letter, or its text, got %s", fault.Value(v))
	}
	return i, nil
}

// placeOf parses a number from 0 or a letter from A and returns the index, or -1 if text is neither.
func placeOf(text string) int {
	if n, err := strconv.Atoi(text); err == nil {
		return n
	}
	if len(text) != 1 {
		return -1
	}
	return strings.Index("ABCDEFGHIJKLMNOPQRSTUVWXYZ", strings.ToUpper(text))
}

// Answer answers each question as lm-eval does: by the log-likelihood of each choice after the context and a space,
// both unnormalized and divided by the number of characters in the choice.
func (m *Model) Answer(ctx context.Context, questions []Question) ([]Answer, error) {
	if err := m.NeedTokenizer("multiple choice"); err != nil {
		return nil, err
	}
	next, stop := iter.Pull2(m.Score(ctx, m.choices(questions), mamba.ScoreOptions{}))
	defer stop()
	answers := make([]Answer, len(questions))
	for i, q := range questions {
		a := &answers[i]
		norms := make([]float64, len(q.Choices))
		for k, choice := range q.Choices {
			s, err, ok := next()
			if err != nil {
				return nil, err
			}
			if !ok {
				return nil, fmt.Errorf("row %d was not scored", i)
			}
			if math.IsNaN(s.NLL) {
				return nil, fmt.Errorf("row %d: the log-likelihood of choice %d is not a number", i, k)
			}
			a.Tokens += s.Tokens
			a.LogLikelihoods = append(a.LogLikelihoods, -s.NLL)
			norms[k] = -s.NLL / float64(utf8.RuneCountInString(choice))
		}
		a.Choice, a.ChoiceNorm = largest(a.LogLikelihoods), largest(norms)
	}
	return answers, nil
}

func largest(v []float64) int { return slices.Index(v, slices.Max(v)) }

// choices returns every choice after its context. Only the tokens of the choice are scored.
func (m *Model) choices(questions []Question) iter.Seq[mamba.Document] {
	return func(yield func(mamba.Document) bool) {
		for _, q := range questions {
			for _, choice := range q.Choices {
				if !yield(choiceAfter(m.Tokenizer, q.Context, choice)) {
					return
				}
			}
		}
	}
}

// choiceAfter tokenizes context, a space, and choice as one text. Trailing spaces of the context are moved to the choice,
// where byte-level tokens include them. As in lm-eval, a text without a context begins with the BOS token, or else with
// the EOS token.
func choiceAfter(t *tokenizer.Tokenizer, context, choice string) mamba.Document {
	before, _ := t.Around()
	tokens := append(before, widen(t.AppendText(nil, context+" "+choice))...)
	prefix := len(before) + len(t.AppendText(nil, strings.TrimRight(context, " \t\n")))
	if prefix == 0 {
		id, ok := t.BOS()
		if !ok {
			id, ok = t.EOS()
		}
		if ok {
			tokens, prefix = append([]int{id}, tokens...), 1
		}
	}
	d := mamba.Document{Tokens: tokens, Labels: slices.Clone(tokens)}
	for i := range min(prefix, len(tokens)) {
		d.Labels[i] = label.Ignored
	}
	return d
}
