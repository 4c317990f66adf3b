package models

import (
	"context"
	"time"

	"mambatrain/mamba"
	"mambatrain/studio"
	"mambatrain/trainer/recipe"
)

// options are the controls of the page. What is not set is the model's own.
type options struct {
	MaxNewTokens      *int     `json:"max_new_tokens"`
	DoSample          *bool    `json:"do_sample"`
	Temperature       *float64 `json:"temperature"`
	TopK              *int     `json:"top_k"`
	TopP              *float64 `json:"top_p"`
	MinP              *float64 `json:"min_p"`
	RepetitionPenalty *float64 `json:"repetition_penalty"`
	Seed              *uint64  `json:"seed"`
}

// over lays the options over those of a model.
func (o options) over(c mamba.GenerationConfig) (recipe.TextOptions, error) {
	g := c.GenerateOptions
	g.NumBeams = 1 // beams cannot be shown as they come
	set(&g.DoSample, o.DoSample)
	set(&g.Temperature, o.Temperature)
	set(&g.TopK, o.TopK)
	set(&g.TopP, o.TopP)
	set(&g.MinP, o.MinP)
	set(&g.RepetitionPenalty, o.RepetitionPenalty)
	set(&g.Seed, o.Seed)
	if o.MaxNewTokens != nil {
		g.MaxNewTokens, g.MaxLength = *o.MaxNewTokens, 0
		g.MinNewTokens = max(0, min(g.MinNewTokens, g.MaxNewTokens))
	}
	return recipe.TextOptions{GenerateOptions: g, StopTexts: c.StopStrings}, g.Validate()
}

func set[V any](to *V, given *V) {
	if given != nil {
		*to = *given
	}
}

// promptEvent is what the model reads, once it is known.
type promptEvent struct {
	Text   string `json:"text"`
	Tokens int    `json:"tokens"`
}

// doneEvent says how a text has ended.
type doneEvent struct {
	Tokens  int                `json:"tokens"`
	Reason  mamba.FinishReason `json:"reason"`
	Seconds float64            `json:"seconds"`
}

// answer writes what follows a prompt, or answers a conversation.
func answer(ctx context.Context, m *recipe.Model, q question, out *studio.Stream) error {
	o, err := q.Options.over(m.GenerationConfig())
	if err != nil {
		return err
	}
	p := recipe.ChatPrompt{Text: q.Prompt}
	if len(q.Messages) > 0 {
		f, err := m.ChatFormat()
		if err != nil {
			return err
		}
		if p, err = f.Prompt(ctx, q.Messages); err != nil {
			return err
		}
		o = f.Options(o)
	} else if p.IDs, err = m.Encode(q.Prompt); err != nil {
		return err
	}
	out.Send("prompt", promptEvent{p.Text, len(p.IDs)})
	began := time.Now()
	o.Stream = func(text string) {
		if text != "" {
			out.Send("text", text)
		}
	}
	texts, err := m.Continue(ctx, [][]int{p.IDs}, o)
	if err != nil {
		return err
	}
	out.Send("done", doneEvent{len(texts[0].IDs), texts[0].FinishReason, time.Since(began).Seconds()})
	return nil
}
