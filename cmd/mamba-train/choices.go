package main

import (
	"context"
	"fmt"

	"mambatrain/cmd/mamba-train/internal/cli"
	"mambatrain/internal/format"
	"mambatrain/trainer/recipe"
)

// choiceRow is a line of the per-row file of --choices.
type choiceRow struct {
	Row        int          `json:"row"`
	Answer     int          `json:"answer"`
	Choice     int          `json:"choice"`      // by plain log-likelihood
	ChoiceNorm int          `json:"choice_norm"` // by log-likelihood per character
	LogLikes   []cli.Finite `json:"log_likelihoods"`
	Set        string       `json:"data,omitempty"`
}

// choicesResult is the output of eval --choices --json.
type choicesResult struct {
	Rows         int     `json:"rows"`
	Tokens       int     `json:"tokens"` // in all choices
	Accuracy     float64 `json:"accuracy"`
	AccuracyNorm float64 `json:"accuracy_norm"`
}

// evalChoices scores multiple-choice rows.
func (a *app) evalChoices(ctx context.Context, m *recipe.Model, sets []recipe.TestSet, perRow string) error {
	if err := m.NeedTokenizer("--choices"); err != nil {
		return err
	}
	var r choicesResult
	var rows []choiceRow
	right, rightNorm := 0, 0
	for _, set := range sets {
		questions, err := recipe.ReadQuestions(ctx, set.Sources, set.Data.Config)
		if err != nil {
			return err
		}
		answers, err := m.Answer(ctx, questions)
		if err != nil {
			return fmt.Errorf("data %s: %w", set.Sources[0].Path, err)
		}
		name := ""
		if len(sets) > 1 {
			name = set.Name
		}
		for i, x := range answers {
			want := questions[i].Answer
			row := choiceRow{Row: i, Answer: want, Choice: x.Choice, ChoiceNorm: x.ChoiceNorm, Set: name}
			for _, l := range x.LogLikelihoods {
				row.LogLikes = append(row.LogLikes, cli.Finite(l))
			}
			rows = append(rows, row)
			r.Tokens += x.Tokens
			if x.Choice == want {
				right++
			}
			if x.ChoiceNorm == want {
				rightNorm++
			}
		}
	}
	r.Rows = len(rows)
	r.Accuracy, r.AccuracyNorm = float64(right)/float64(max(1, r.Rows)), float64(rightNorm)/float64(max(1, r.Rows))
	if perRow != "" {
		if err := writeRows(perRow, rows); err != nil {
			return err
		}
	}
	return a.Result(r, fmt.Sprintf("accuracy %s, length-normalized %s: %s, %s", format.Percent(r.Accuracy), format.Percent(r.AccuracyNorm),
		format.Counted(r.Rows, "row"), format.Counted(r.Tokens, "token")))
}
