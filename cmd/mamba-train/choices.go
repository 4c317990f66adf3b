package main

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/data"
	"mambatrain/data/source"
	"mambatrain/data/tokenizer"
	"mambatrain/internal/format"
	"mambatrain/internal/label"
	"mambatrain/mamba"
	"mambatrain/trainer/recipe"
)

// question is a multiple-choice row: columns context, choices and answer.
type question struct {
	context string
	choices []string
	answer  int
}

// chosen is a line of the per-row file of --choices.
type chosen struct {
	Row        int       `json:"row"`
	Answer     int       `json:"answer"`
	Choice     int       `json:"choice"`      // by plain log-likelihood
	ChoiceNorm int       `json:"choice_norm"` // by log-likelihood for each character
	LogLikes   []float64 `json:"log_likelihoods"`
	Set        string    `json:"data,omitempty"`
}

// choicesResult is what eval --choices prints with --json.
type choicesResult struct {
	Rows         int     `json:"rows"`
	Tokens       int     `json:"tokens"` // of all choices
	Accuracy     float64 `json:"accuracy"`
	AccuracyNorm float64 `json:"accuracy_norm"`
}

// evalChoices scores multiple-choice rows as lm-eval does: the log-likelihood of each choice after context and a space,
// plain and divided by the choice's characters.
func (a *app) evalChoices(ctx context.Context, m *recipe.Model, f evalFlags) error {
	if err := m.NeedTokenizer("--choices"); err != nil {
		return err
	}
	var r choicesResult
	var rows []chosen
	right, rightNorm := 0, 0
	for _, path := range f.data {
		questions, err := readQuestions(ctx, path, f.options)
		if err != nil {
			return err
		}
		answers, tokens, err := scoreQuestions(ctx, m, questions)
		if err != nil {
			return fmt.Errorf("data %s: %w", path, err)
		}
		r.Tokens += tokens
		for i := range answers {
			if len(f.data) > 1 {
				answers[i].Set = path
			}
			if answers[i].Choice == answers[i].Answer {
				right++
			}
			if answers[i].ChoiceNorm == answers[i].Answer {
				rightNorm++
			}
		}
		rows = append(rows, answers...)
	}
	r.Rows = len(rows)
	r.Accuracy, r.AccuracyNorm = float64(right)/float64(max(1, r.Rows)), float64(rightNorm)/float64(max(1, r.Rows))
	if f.perRow != "" {
		if err := writeRows(f.perRow, rows); err != nil {
			return err
		}
	}
	return a.Result(r, fmt.Sprintf("accuracy %s, by length %s: %s, %s", format.Percent(r.Accuracy), format.Percent(r.AccuracyNorm),
		format.Counted(r.Rows, "row"), format.Counted(r.Tokens, "token")))
}

func readQuestions(ctx context.Context, path string, o data.Config) (list []question, err error) {
	for row, err := range source.Rows(ctx, []source.Input{{Path: path, Weight: 1}}, o.Config) {
		if err != nil {
			return nil, err
		}
		q, err := readQuestion(row)
		if err != nil {
			return nil, fmt.Errorf("data %s: row %d: %w", path, len(list), err)
		}
		list = append(list, q)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("data %s: no rows", path)
	}
	return list, nil
}

func readQuestion(row map[string]any) (q question, err error) {
	for _, name := range []string{"context", "choices", "answer"} {
		if _, ok := row[name]; !ok {
			return q, cli.Misusef("no column %q; --choices wants context, choices and answer, there are %s", name, strings.Join(slices.Sorted(maps.Keys(row)), ", "))
		}
	}
	var ok bool
	if q.context, ok = row["context"].(string); !ok {
		return q, fmt.Errorf("context: want text, got %v", row["context"])
	}
	list, _ := row["choices"].([]any)
	for _, c := range list {
		text, ok := c.(string)
		if !ok || text == "" {
			return q, fmt.Errorf("choices: want texts, got %v", c)
		}
		q.choices = append(q.choices, text)
	}
	if len(q.choices) < 2 {
		return q, fmt.Errorf("choices: want a list of at least two texts, got %v", row["choices"])
	}
	q.answer, err = findAnswer(row["answer"], q.choices)
	return q, err
}

// findAnswer reads an answer: the place of a choice from 0, its letter from A, or its text.
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
		if i = slices.Index(choices, v); i < 0 && len(v) == 1 {
			i = strings.Index("ABCDEFGHIJKLMNOPQRSTUVWXYZ", strings.ToUpper(v))
		}
	}
	if i < 0 || i >= len(choices) {
		return 0, fmt.Errorf("answer: want the place of a choice from 0, its letter or its text, got %v", v)
	}
	return i, nil
}

// scoreQuestions returns the choice that the model finds likeliest for each question, and the tokens it scored.
func scoreQuestions(ctx context.Context, m *recipe.Model, questions []question) (list []chosen, tokens int, err error) {
	next, stop := iter.Pull2(m.Score(ctx, pairsOf(m, questions), mamba.ScoreOptions{}))
	defer stop()
	for i, q := range questions {
		c := chosen{Row: i, Answer: q.answer}
		norms := make([]float64, len(q.choices))
		for k, choice := range q.choices {
			s, err, ok := next()
			if err != nil {
				return nil, 0, err
			}
			if !ok {
				return nil, 0, fmt.Errorf("row %d was not scored", i)
			}
			tokens += s.Tokens
			c.LogLikes = append(c.LogLikes, -s.NLL)
			norms[k] = -s.NLL / float64(utf8.RuneCountInString(choice))
		}
		c.Choice, c.ChoiceNorm = largest(c.LogLikes), largest(norms)
		list = append(list, c)
	}
	return list, tokens, nil
}

func largest(v []float64) int { return slices.Index(v, slices.Max(v)) }

// pairsOf gives every choice after its context; the context's tokens do not count.
func pairsOf(m *recipe.Model, questions []question) iter.Seq[mamba.Document] {
	return func(yield func(mamba.Document) bool) {
		for _, q := range questions {
			for _, choice := range q.choices {
				if !yield(pairOf(m.Tokenizer, q.context, choice)) {
					return
				}
			}
		}
	}
}

// pairOf tokenises context and choice as one text. Spaces at the end of the context go to the choice, where byte-level
// tokens have them. Without a context the text begins with the token that begins texts.
func pairOf(t *tokenizer.Tokenizer, context, choice string) mamba.Document {
	trimmed := strings.TrimRight(context, " \t\n")
	whole := t.Encode(trimmed + context[len(trimmed):] + " " + choice)
	prefix := len(t.Encode(trimmed))
	if trimmed == "" {
		if id, ok := t.BOS(); ok {
			whole, prefix = append([]int{id}, t.Encode(choice)...), 1
		}
	}
	d := mamba.Document{Tokens: whole, Labels: slices.Clone(whole)}
	for i := range min(prefix, len(whole)) {
		d.Labels[i] = label.Ignored
	}
	return d
}
