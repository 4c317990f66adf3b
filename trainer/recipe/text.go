package recipe

import (
	"context"
	"strings"

	"mambatrain/data/tokenizer"
	"mambatrain/internal/fault"
	"mambatrain/mamba"
)

// TextOptions are the options of [Model.Continue].
type TextOptions struct {
	mamba.GenerateOptions          // Continue sets EOS, Vocab, Suppress, Stop and OnToken
	StopTexts             []string // text ends before the first of these
	// Stream is called with the text as it appears, in whole characters. It takes a single prompt, a tokenizer and no beams.
	Stream func(text string)
}

// Text is what followed a prompt.
type Text struct {
	IDs          []int  // with those of a stop text
	Text         string // "" without a tokenizer
	FinishReason mamba.FinishReason
	PromptTokens int
}

// Continue continues prompts, all in one batch. When ctx ends it returns what there is, with ctx's error.
func (m *Model) Continue(ctx context.Context, prompts [][]int, o TextOptions) ([]Text, error) {
	stops := stopTexts(o.StopTexts)
	if err := stops.check(m); err != nil {
		return nil, err
	}
	g := o.GenerateOptions
	g.EOS = m.DefaultGenerate().EOS
	g.Vocab, g.Suppress = m.vocabulary()
	g.Stop, g.OnToken = nil, nil
	if len(stops) > 0 {
		g.Stop = func(_ int, ids []int) bool {
			_, found := stops.cut(m.Tokenizer.DecodeText(ids))
			return found
		}
	}
	need := mamba.GenerateMemory(m.Config, len(prompts), g) + ownMemory
	for _, p := range m.Params() {
		need += p.Bytes()
	}
	if err := checkMemoryFor("the generation", need, "try fewer beams or prompts"); err != nil {
		return nil, err
	}
	if o.Stream != nil {
		s := stream{tokens: m.Tokenizer.Stream(), stops: stops, write: o.Stream}
		g.OnToken = func(_, id int) { s.next(id) }
		defer s.end()
	}
	out, err := m.Generate(ctx, prompts, g)
	texts := make([]Text, len(out))
	for i, x := range out {
		texts[i] = Text{IDs: x.IDs, FinishReason: x.FinishReason, PromptTokens: x.PromptTokens}
		if m.Tokenizer != nil {
			texts[i].Text, _ = stops.cut(m.Tokenizer.DecodeText(x.IDs))
		}
	}
	return texts, err
}

// stopTexts end a text.
type stopTexts []string

func (s stopTexts) check(m *Model) error {
	if len(s) == 0 {
		return nil
	}
	for _, stop := range s {
		if stop == "" {
			return fault.Fault{Path: "stop", Problem: "must not be empty"}
		}
	}
	return m.NeedTokenizer("a stop text")
}

// cut ends a text before the first of the stop texts.
func (s stopTexts) cut(text string) (before string, found bool) {
	end := len(text)
	for _, stop := range s {
		if i := strings.Index(text, stop); i >= 0 {
			end = min(end, i)
		}
	}
	return text[:end], end < len(text)
}

// overlap is the length of the end of text that may be the beginning of a stop text.
func (s stopTexts) overlap(text string) (length int) {
	for _, stop := range s {
		for n := min(len(stop)-1, len(text)); n > length; n-- {
			if strings.HasSuffix(text, stop[:n]) {
				length = n
			}
		}
	}
	return length
}

// stream writes a text as its tokens come. What may be the beginning of a stop text is held back.
type stream struct {
	tokens *tokenizer.TextStream
	stops  stopTexts
	write  func(string)
	held   string
	done   bool
}

func (s *stream) next(id int) {
	if s.done {
		return
	}
	s.held += s.tokens.Next(id)
	before, found := s.stops.cut(s.held)
	if s.done = found; found {
		s.write(before)
		return
	}
	n := len(s.held) - s.stops.overlap(s.held)
	s.write(s.held[:n])
	s.held = s.held[n:]
}

// end writes what was held back when the text has ended.
func (s *stream) end() {
	if !s.done {
		s.write(s.held + s.tokens.Rest())
	}
}
