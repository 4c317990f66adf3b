package recipe

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"mambatrain/data/tokenizer"
	"mambatrain/internal/fault"
	"mambatrain/mamba"
)

// TextOptions are the options of [Model.Continue].
type TextOptions struct {
	mamba.GenerateOptions          // Continue sets EOS, Vocab, First, Stop, OnToken, and OnDone, and adds to Suppress
	StopTexts             []string // text ends before the first of these; special tokens are matched by their spelling
	EndOfTurn             []int    // ids that end a text like those in EOS
	// Stream is called with the text as it is generated, in complete characters. It requires a single prompt, a
	// tokenizer, and no beam search.
	Stream func(text string)
	// Done is called with the text of prompt i as soon as it ends, while others may continue. It may be nil.
	Done func(i int, t Text)
}

// Text is the continuation of a prompt.
type Text struct {
	IDs          []int  // including those of a stop text
	Text         string // "" without a tokenizer
	FinishReason mamba.FinishReason
	PromptTokens int
}

// atOnce is the number of prompts continued in one batch.
const atOnce = 32

// Continue continues prompts in batches; batching does not affect the results. If ctx is canceled, it returns the texts
// so far with ctx's error.
func (m *Model) Continue(ctx context.Context, prompts [][]int, o TextOptions) ([]Text, error) {
	if err := stopTexts(o.StopTexts).check(m); err != nil {
		return nil, err
	}
	size := atOnce
	if o.State != nil {
		size = len(prompts)
	}
	if err := m.checkMemory(min(size, len(prompts)), o.GenerateOptions); err != nil {
		return nil, err
	}
	texts := make([]Text, 0, len(prompts))
	for first := 0; first < len(prompts); first += size {
		o.First = first
		batch, err := m.continueBatch(ctx, prompts[first:min(first+size, len(prompts))], o)
		texts = append(texts, batch...)
		if err != nil {
			return texts, err
		}
	}
	return texts, nil
}

// checkMemory returns an error if the given number of prompts at once does not fit in memory.
func (m *Model) checkMemory(prompts int, o mamba.GenerateOptions) error {
	need := m.GenerateMemory(prompts, o) + ownMemory
	for _, p := range m.Params() {
		need += p.Bytes()
	}
	return checkMemoryFor("generation", need, "try fewer beams or prompts")
}

// continueBatch continues a batch of prompts; o.First is the index of the first one.
func (m *Model) continueBatch(ctx context.Context, prompts [][]int, o TextOptions) ([]Text, error) {
	g := o.GenerateOptions
	g.EOS = append(m.DefaultGenerate().EOS, o.EndOfTurn...)
	size, holes := m.vocabulary()
	g.Vocab, g.Suppress = size, append(slices.Clone(g.Suppress), holes...)
	g.Stop, g.OnToken = nil, nil
	shown := make([]*shownText, len(prompts))
	if m.Tokenizer != nil {
		for i := range shown {
			shown[i] = m.newShownText(o)
		}
		g.OnToken = func(i, id int) { shown[i].next(id) }
	}
	if len(o.StopTexts) > 0 {
		g.Stop = func(i int, ids []int) bool { return shown[i].done }
		if g.NumBeams > 1 {
			g.Stop = func(_ int, ids []int) bool { return m.stops(ids, o.StopTexts) }
		}
	}
	finish := func(i int, x mamba.Generation) Text {
		t := Text{IDs: x.IDs, FinishReason: x.FinishReason, PromptTokens: x.PromptTokens}
		if shown[i] != nil {
			t.Text = shown[i].end()
		}
		return t
	}
	if o.Done != nil {
		g.OnDone = func(i int, x mamba.Generation) { o.Done(o.First+i, finish(i, x)) }
	}
	out, err := m.Generate(ctx, prompts, g)
	texts := make([]Text, len(out))
	for i, x := range out {
		texts[i] = finish(i, x)
	}
	return texts, err
}

// stops reports whether the text of ids contains a stop text.
func (m *Model) stops(ids []int, stops stopTexts) bool {
	s := m.newShownText(TextOptions{StopTexts: stops})
	for _, id := range ids {
		s.next(id)
	}
	return s.done
}

// stopTexts are texts that end a continuation.
type stopTexts []string

func (s stopTexts) check(m *Model) error {
	if len(s) == 0 {
		return nil
	}
	for _, stop := range s {
		if stop == "" {
			return fault.Fault{Path: "stop", Problem: "must not be empty"}
		}
		if err := fault.CheckText("stop", stop); err != nil {
			return err
		}
	}
	return m.NeedTokenizer("stop texts")
}

// cut returns the length of the text before the first stop text.
func (s stopTexts) cut(text []byte) (before int, found bool) {
	before = len(text)
	for _, stop := range s {
		if i := bytes.Index(text, []byte(stop)); i >= 0 {
			before, found = min(before, i), true
		}
	}
	return before, found
}

// overlap returns the length of the longest suffix of text that may be the beginning of a stop text.
func (s stopTexts) overlap(text []byte) (length int) {
	for _, stop := range s {
		for n := min(len(stop)-1, len(text)); n > length; n-- {
			if bytes.HasSuffix(text, []byte(stop[:n])) {
				length = n
			}
		}
	}
	return length
}

// shownText is the visible part of a text as its tokens arrive: without special tokens and only up to a stop text. It
// holds back text that may be the beginning of a stop text.
type shownText struct {
	tokens *tokenizer.Tokenizer
	chars  tokenizer.TextStream
	stops  stopTexts
	stream func(string) // nil: none
	text   strings.Builder
	held   []byte // includes special tokens, which stop texts may name
	hidden []bool // for each byte of held, whether it belongs to a special token
	done   bool   // nothing more will be shown
}

func (m *Model) newShownText(o TextOptions) *shownText {
	return &shownText{tokens: m.Tokenizer, stops: o.StopTexts, stream: o.Stream}
}

func (s *shownText) next(id int) {
	if s.done {
		return
	}
	b, special := s.tokens.Bytes(id)
	s.held = append(s.held, b...)
	for range b {
		s.hidden = append(s.hidden, special)
	}
	n, found := s.stops.cut(s.held)
	if !found {
		n -= s.stops.overlap(s.held)
	}
	s.show(n)
	s.done = found
}

// show shows the first n bytes of the held text.
func (s *shownText) show(n int) {
	var visible []byte
	for i, b := range s.held[:n] {
		if !s.hidden[i] {
			visible = append(visible, b)
		}
	}
	s.write(s.chars.Add(visible))
	s.held, s.hidden = s.held[n:], s.hidden[n:]
}

func (s *shownText) write(text string) {
	s.text.WriteString(text)
	if s.stream != nil {
		s.stream(text)
	}
}

// end shows the held text when no more tokens follow and returns all text shown.
func (s *shownText) end() string {
	if !s.done {
		s.show(len(s.held))
		s.done = true
	}
	s.write(s.chars.Rest())
	return s.text.String()
}
