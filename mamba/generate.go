package mamba

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"mambatrain/internal/fault"
)

// GenerateOptions control how text is generated. [Model.DefaultGenerate] returns the model's own settings. The fields
// have the same meaning as in transformers and are applied in the same order: penalties and bans first, then, when
// sampling, temperature, top-k, top-p, min-p, and typical-p.
type GenerateOptions struct {
	MaxNewTokens int
	MinNewTokens int // no EOS id is chosen before this many tokens
	MaxLength    int // length including the prompt, instead of MaxNewTokens; 0: off
	MinLength    int // length including the prompt, as for MinNewTokens; the larger limit applies

	DoSample    bool // sample from the distribution; otherwise choose the most probable token
	Temperature float64
	TopK        int     // 0: off
	TopP        float64 // 1: off
	MinP        float64 // 0: off
	TypicalP    float64 // 1: off
	Seed        uint64  // with the prompt's number, determines every draw, independent of the batch
	First       int     // number of the first prompt

	RepetitionPenalty float64 // 1: off
	NoRepeatNGramSize int     // 0: off

	NumBeams      int // above 1: beam search, with the beams of one prompt in a batch; not with DoSample
	LengthPenalty float64
	EarlyStopping EarlyStopping // of beam search

	EOS       []int // ids that end a text and are included in it
	IgnoreEOS bool  // continue after an EOS id, without suppressing it
	// Vocab is the number of ids that have a token, or 0 for all. The remaining rows of the table are padding and are
	// never chosen.
	Vocab int
	// Suppress lists additional ids that are never chosen.
	Suppress []int

	// Stop is called after each token and reports whether the new tokens complete the text. Nil means that they never do.
	Stop func(prompt int, tokens []int) bool
	// OnToken, if not nil, is called with each token as it is chosen. Beam search calls it at the end.
	OnToken func(prompt, id int)
	// OnDone, if not nil, is called with each text when it ends, while others may still be running.
	OnDone func(prompt int, g Generation)
	// State is the state from which the prompts continue, one sequence for each; it is advanced. The last token of a
	// text remains pending in it and is fed when the text is continued. If it is nil, each prompt starts a new text.
	State *State
	// Prefill feeds the prompts, all but their last tokens. If it is nil, a [Decoder] does so on the CPU.
	Prefill Feeder
}

// EarlyStopping determines when beam search ends once it has NumBeams finished texts.
type EarlyStopping int

// The values correspond to transformers' false, true, and "never".
const (
	StopUnlikely EarlyStopping = iota // when no running beam, at its current length, is better than the worst finished text
	StopFirst                         // immediately
	StopNever                         // when no running beam can become better than the worst finished text
)

// FinishReason is the reason why a text ended.
type FinishReason string

// The reasons. A text is interrupted if it was still running when the context ended.
const (
	FinishLength      FinishReason = "length"
	FinishEOS         FinishReason = "eos"
	FinishStop        FinishReason = "stop"
	FinishInterrupted FinishReason = "interrupted"
)

// Generation is the continuation of one prompt.
type Generation struct {
	IDs          []int // the new tokens
	FinishReason FinishReason
	PromptTokens int
}

// Generate continues all prompts in one batch and removes each text from it as it finishes. Each prompt gets the same
// result as on its own. When ctx ends, Generate returns the texts so far and ctx's error.
func (m *Model) Generate(ctx context.Context, prompts [][]int, o GenerateOptions) ([]Generation, error) {
	if err := o.validateFor(m); err != nil {
		return nil, fmt.Errorf("mamba: generate: %w", err)
	}
	state := o.State
	if state == nil {
		state = m.NewState(len(prompts))
	}
	if err := state.fits(m); err != nil {
		return nil, err
	}
	if state.Sequences() != len(prompts) {
		return nil, fmt.Errorf("mamba: generate: want one prompt for each of the %d sequences of the state, got %d", state.Sequences(), len(prompts))
	}
	if err := checkIDs(prompts, m.Config.VocabSize); err != nil {
		return nil, err
	}
	out := make([]Generation, len(prompts))
	limits := make([]int, len(prompts))
	for i, ids := range prompts {
		if len(ids) == 0 && state.Fed[i] == len(state.Tokens[i]) {
			return nil, fmt.Errorf("mamba: generate: prompt %d is empty; want at least one token", o.First+i)
		}
		out[i] = Generation{PromptTokens: len(ids), FinishReason: FinishInterrupted}
		if limits[i] = o.maxNew(len(state.Tokens[i]) + len(ids)); limits[i] < 1 {
			return nil, fmt.Errorf("mamba: generate: prompt %d: its length of %d leaves no room for new tokens within max_length %d", o.First+i, len(ids), o.MaxLength)
		}
	}
	d := m.NewDecoder(0)
	feeder := o.Prefill
	if feeder == nil {
		feeder = d
	}
	if err := prefill(ctx, feeder, state, prompts); err != nil {
		return out, err
	}
	if o.NumBeams > 1 {
		return out, beamSearch(ctx, d, state, out, limits, o)
	}
	b := &batch{d: d, o: o, all: state, current: state, out: out, limits: limits}
	for i := range prompts {
		b.active = append(b.active, i)
		b.random = append(b.random, rand.New(rand.NewPCG(o.Seed, uint64(o.First+i))))
	}
	return out, b.run(ctx)
}

// GenerateMemory estimates the bytes that [Model.Generate] needs for the given number of prompts in addition to the
// model: states, logits, and candidates.
func (m *Model) GenerateMemory(prompts int, o GenerateOptions) int64 {
	const float32Bytes, candidateBytes = 4, 24
	v, state := float64(m.Config.VocabSize), float64(m.StateBytes())
	width := 0 // of a layer's activations: about the total width of its projections' inputs and outputs
	for _, b := range m.Layers {
		sum := 0
		for _, s := range b.Mixer.Slots() {
			sum += s.Linear.In() + s.Linear.Out()
		}
		width = max(width, sum)
	}
	bytes := float32Bytes*defaultChunk*float64(width) +
		float64(prompts)*(2*state+float32Bytes*v) // the active states are copied when other texts finish
	if beams := float64(o.NumBeams); beams > 1 {
		bytes += beams * (3*state + float32Bytes*v + 2*candidateBytes*min(2*beams, v))
	}
	return int64(min(bytes, 1<<60))
}

// maxNew returns the maximum number of new tokens after a prompt of the given length.
func (o GenerateOptions) maxNew(before int) int {
	if o.MaxLength > 0 {
		return o.MaxLength - before
	}
	return o.MaxNewTokens
}

// Validate returns a [fault.List] of everything that is wrong with the options for any model, or nil.
func (o GenerateOptions) Validate() error { return o.faults().Err() }

func (o GenerateOptions) faults() (faults fault.List) {
	if o.MaxNewTokens < 1 || o.MinNewTokens < 0 || o.MinNewTokens > o.MaxNewTokens && o.MaxLength == 0 {
		faults.Add("min and max new tokens", "want 0 ≤ min ≤ max and max above 0, got %d and %d", o.MinNewTokens, o.MaxNewTokens)
	}
	share := func(name string, x float64) {
		if !(x > 0 && x <= 1) {
			faults.Add(name, "must be above 0 and at most 1, got %s", fault.Number(x))
		}
	}
	if o.MaxLength < 0 || o.MinLength < 0 {
		faults.Add("min and max length", "must not be negative, got %d and %d", o.MinLength, o.MaxLength)
	}
	faults.Positive("repetition_penalty", o.RepetitionPenalty)
	if o.DoSample {
		faults.Positive("temperature", o.Temperature)
		share("top_p", o.TopP)
		share("typical_p", o.TypicalP)
		if !(o.MinP >= 0 && o.MinP <= 1) {
			faults.Add("min_p", "must be between 0 and 1, got %s", fault.Number(o.MinP))
		}
	}
	if o.TopK < 0 || o.NoRepeatNGramSize < 0 {
		faults.Add("top_k, no_repeat_ngram_size", "must not be negative, got %d and %d", o.TopK, o.NoRepeatNGramSize)
	}
	if o.NumBeams < 1 || o.NumBeams > 1 && o.DoSample {
		faults.Add("num_beams", "must be 1 or more, and 1 when sampling, got %d", o.NumBeams)
	}
	if math.IsNaN(o.LengthPenalty) || math.IsInf(o.LengthPenalty, 0) {
		faults.Add("length_penalty", "must be a finite number, got %s", fault.Number(o.LengthPenalty))
	}
	return faults
}

// validateFor is like Validate and also checks the options against m.
func (o GenerateOptions) validateFor(m *Model) error {
	faults := o.faults()
	if o.Vocab < 0 || o.Vocab > m.Config.VocabSize {
		faults.Add("", "the tokenizer has %d ids, but the model only %d", o.Vocab, m.Config.VocabSize)
	}
	return faults.Err()
}

// prefill adds the prompts to the state and feeds all but their last tokens. The first decoding step feeds those: no
// logits are needed before.
func prefill(ctx context.Context, f Feeder, s *State, prompts [][]int) error {
	last := make([]int, len(prompts))
	for i := range prompts {
		s.Tokens[i] = append(s.Tokens[i], prompts[i]...)
		end := len(s.Tokens[i]) - 1
		last[i], s.Tokens[i] = s.Tokens[i][end], s.Tokens[i][:end]
	}
	err := f.Feed(ctx, s, make([][]int, len(prompts)))
	for i := range prompts {
		s.Tokens[i] = append(s.Tokens[i], last[i])
	}
	return err
}

// batch contains the texts being generated, one row each.
type batch struct {
	d       *Decoder
	o       GenerateOptions
	out     []Generation
	limits  []int  // maximum number of new tokens for each prompt
	all     *State // of all prompts; out of date for unfinished texts
	current *State // of the active prompts, in order; equal to all until the first text finishes
	active  []int
	random  []*rand.Rand // for each prompt
}

func (b *batch) run(ctx context.Context) error {
	for len(b.active) > 0 {
		logits, err := b.d.Next(ctx, b.current, make([][]int, len(b.active)))
		if err != nil {
			b.saveStates()
			return err
		}
		scores := make([]float64, logits.Cols)
		var unfinished []int // rows
		for row, prompt := range b.active {
			widen(scores, logits.Row(row))
			id, err := b.o.choose(scores, b.current.Tokens[row], len(b.out[prompt].IDs), b.random[prompt])
			if err != nil {
				b.saveStates()
				return err
			}
			b.current.Tokens[row] = append(b.current.Tokens[row], id)
			if !b.add(prompt, id) {
				unfinished = append(unfinished, row)
			}
		}
		b.dropFinished(unfinished)
	}
	return nil
}

// add records a token and reports whether it ends the text.
func (b *batch) add(prompt, id int) bool {
	g := &b.out[prompt]
	g.IDs = append(g.IDs, id)
	if b.o.OnToken != nil {
		b.o.OnToken(prompt, id)
	}
	switch {
	case !b.o.IgnoreEOS && slices.Contains(b.o.EOS, id):
		g.FinishReason = FinishEOS
	case b.o.Stop != nil && b.o.Stop(prompt, g.IDs):
		g.FinishReason = FinishStop
	case len(g.IDs) == b.limits[prompt]:
		g.FinishReason = FinishLength
	default:
		return false
	}
	if b.o.OnDone != nil {
		b.o.OnDone(prompt, *g)
	}
	return true
}

// dropFinished removes finished texts from the batch and saves their states.
func (b *batch) dropFinished(unfinished []int) {
	if len(unfinished) == len(b.active) {
		return
	}
	b.saveStates()
	active := make([]int, len(unfinished))
	for i, row := range unfinished {
		active[i] = b.active[row]
	}
	b.current, b.active = b.current.Select(unfinished...), active
}

// saveStates copies the states of the active texts back to all.
func (b *batch) saveStates() {
	if b.current == b.all {
		return
	}
	for row, prompt := range b.active {
		b.all.Set(prompt, b.current, row)
	}
}

func widen(dst []float64, src []float32) {
	for i, x := range src {
		dst[i] = float64(x)
	}
}

var errNoToken = errors.New("mamba: generate: no token can be chosen: the logits are not finite or every token is suppressed")

// choose picks the next token of a text from the logits, which it overwrites. seen is the whole text so far, and its
// last tokens ids are new.
func (o GenerateOptions) choose(scores []float64, seen []int, tokens int, r *rand.Rand) (int, error) {
	o.penalize(scores, seen, tokens)
	if top := slices.Max(scores); math.IsInf(top, 0) || math.IsNaN(top) { // NaN if any score is
		return 0, errNoToken
	}
	if !o.DoSample {
		return best(scores), nil
	}
	o.warp(scores)
	return draw(scores, r), nil
}

// penalize applies the controls shared by greedy decoding, beam search, and sampling.
func (o GenerateOptions) penalize(scores []float64, seen []int, tokens int) {
	repetitionPenalty(scores, seen, o.RepetitionPenalty)
	noRepeatNGram(scores, seen, o.NoRepeatNGramSize)
	if tokens < o.MinNewTokens || len(seen) < o.MinLength {
		remove(scores, o.EOS...)
	}
	remove(scores, o.Suppress...)
	if o.Vocab > 0 {
		for id := o.Vocab; id < len(scores); id++ {
			scores[id] = math.Inf(-1)
		}
	}
}

// warp shapes the distribution to sample from.
func (o GenerateOptions) warp(scores []float64) {
	temperature(scores, o.Temperature)
	topK(scores, o.TopK)
	topP(scores, o.TopP)
	minP(scores, o.MinP)
	typicalP(scores, o.TypicalP)
}
