package models

import (
	"context"
	"time"

	"mambatrain/mamba"
	"mambatrain/studio"
	"mambatrain/trainer/recipe"
)

// options are the controls on the page. Those that are not set default to the model's own values.
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

// over returns the generation options of a model with o applied on top.
func (o options) over(c mamba.GenerationConfig) (recipe.TextOptions, error) {
	g := c.GenerateOptions
	g.NumBeams = 1 // beam search cannot be streamed
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

// promptEvent is the text the model reads, sent once it is known.
type promptEvent struct {
	Text   string `json:"text"`
	Tokens int    `json:"tokens"`
}

// doneEvent reports how generation ended.
type doneEvent struct {
	Tokens  int                `json:"tokens"`
	Reason  mamba.FinishReason `json:"reason"`
	Seconds float64            `json:"seconds"`
}

// answer streams the continuation of a prompt or the reply in a conversation.
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
