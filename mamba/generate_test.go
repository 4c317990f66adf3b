package mamba

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestGenerate compares greedy decoding, the repetition penalty, and beam search with the reference.
func TestGenerate(t *testing.T) {
	for _, model := range goldenModels {
		m := loadGolden(t, model+"/model")
		f := golden(t, model, "generate.safetensors")
		prompt := sequences(t, f, "input_ids")
		for tensor, change := range map[string]func(*GenerateOptions){
			"greedy":                        func(*GenerateOptions) {},
			"greedy_repetition_penalty_1.3": func(o *GenerateOptions) { o.RepetitionPenalty = 1.3 },
			"beam3":                         func(o *GenerateOptions) { o.NumBeams = 3 },
		} {
			t.Run(model+"/"+tensor, func(t *testing.T) {
				o := m.DefaultGenerate()
				o.MaxNewTokens, o.EOS = 16, nil
				change(&o)
				got, err := m.Generate(context.Background(), prompt, o)
				if err != nil {
					t.Fatal(err)
				}
				if want := sequences(t, f, tensor)[0][len(prompt[0]):]; !slices.Equal(got[0].IDs, want) {
					t.Errorf("ids\n%v, want\n%v", got[0].IDs, want)
				}
			})
		}
	}
}

// TestSampling compares the probabilities after each sampling control with the reference.
func TestSampling(t *testing.T) {
	f := golden(t, "sampling.safetensors")
	seen, logits := sequences(t, f, "input_ids"), floats(t, f, "logits")
	v := len(logits) / len(seen)
	for tensor, control := range map[string]func(*GenerateOptions){
		"temperature_0.7":        func(o *GenerateOptions) { o.Temperature = 0.7 },
		"top_k_5":                func(o *GenerateOptions) { o.TopK = 5 },
		"top_p_0.8":              func(o *GenerateOptions) { o.TopP = 0.8 },
		"min_p_0.1":              func(o *GenerateOptions) { o.MinP = 0.1 },
		"typical_p_0.6":          func(o *GenerateOptions) { o.TypicalP = 0.6 },
		"repetition_penalty_1.5": func(o *GenerateOptions) { o.RepetitionPenalty = 1.5 },
		"no_repeat_ngram_3":      func(o *GenerateOptions) { o.NoRepeatNGramSize = 3 },
		"all": func(o *GenerateOptions) {
			o.RepetitionPenalty, o.Temperature, o.TopK, o.TopP = 1.2, 0.8, 20, 0.9
		},
	} {
		t.Run(tensor, func(t *testing.T) {
			o := GenerateOptions{Temperature: 1, TopP: 1, TypicalP: 1, RepetitionPenalty: 1}
			control(&o)
			want := floats(t, f, "probs."+tensor)
			for i := range seen {
				scores := make([]float64, v)
				widen(scores, logits[i*v:(i+1)*v])
				o.penalize(scores, seen[i], 0)
				o.warp(scores)
				for id, p := range softmax(scores) {
					if w := float64(want[i*v+id]); math.Abs(p-w) > probAbs {
						t.Errorf("row %d, id %d: probability %.7f, want %.7f", i, id, p, w)
					}
				}
			}
		})
	}
}

// sampling returns options with everything turned on.
func sampling(m *Model) GenerateOptions {
	o := m.DefaultGenerate()
	o.DoSample, o.Temperature, o.TopK, o.TopP, o.Seed, o.MaxNewTokens = true, 0.9, 30, 0.95, 11, 20
	o.RepetitionPenalty = 1.1
	return o
}

// TestBatch checks that every prompt of a batch gives the same tokens as on its own, although texts end at different
// times. Run with -race, it also checks that concurrent calls share no state.
func TestBatch(t *testing.T) { eachFamily(t, testBatch) }

func testBatch(t *testing.T, m *Model) {
	r := rand.New(rand.NewPCG(1, 5))
	prompts := make([][]int, 7)
	for i := range prompts {
		prompts[i] = ids(r, m.Config.VocabSize, 1+r.IntN(12))
	}
	for _, o := range []GenerateOptions{m.DefaultGenerate(), sampling(m)} {
		what := name("sampling=%v", o.DoSample)
		o.EOS = ids(r, m.Config.VocabSize, 15) // some texts end early
		together, err := m.Generate(context.Background(), prompts, o)
		if err != nil {
			t.Fatal(err)
		}
		reasons := map[FinishReason]int{}
		var wg sync.WaitGroup
		for i := range prompts {
			reasons[together[i].FinishReason]++
			wg.Go(func() {
				// A prompt's number determines its draws, so keep the prompts before it.
				got, err := m.Generate(context.Background(), prompts[:i+1], o)
				if err != nil {
					t.Error(err)
					return
				}
				if !slices.Equal(got[i].IDs, together[i].IDs) || got[i].FinishReason != together[i].FinishReason {
					t.Errorf("%s: prompt %d gives %v (%s) among %d, %v (%s) among %d", what, i,
						got[i].IDs, got[i].FinishReason, i+1, together[i].IDs, together[i].FinishReason, len(prompts))
				}
			})
		}
		wg.Wait()
		if reasons[FinishEOS] == 0 || len(together[0].IDs) == 0 {
			t.Errorf("%s: no text ended early: %v", what, reasons)
		}
	}
}

// TestSeed checks that the same seed reproduces a text and a different one does not.
func TestSeed(t *testing.T) { eachFamily(t, testSeed) }

func testSeed(t *testing.T, m *Model) {
	o := sampling(m)
	text := func() []int {
		got, err := m.Generate(context.Background(), [][]int{{1, 2, 3}}, o)
		if err != nil {
			t.Fatal(err)
		}
		return got[0].IDs
	}
	first, again := text(), text()
	o.Seed++
	if other := text(); !slices.Equal(first, again) || slices.Equal(first, other) {
		t.Errorf("seed 11: %v and %v; seed 12: %v", first, again, other)
	}
	twice, err := m.Generate(context.Background(), [][]int{{1, 2, 3}, {1, 2, 3}}, o)
	if err != nil {
		t.Fatal(err)
	}
	if slices.Equal(twice[0].IDs, twice[1].IDs) {
		t.Error("one prompt given twice draws the same text twice")
	}
}

// TestContinue checks that a text generated in two parts, with the state saved in between, equals one generated in a
// single call, and so does one continued from a clone.
func TestContinue(t *testing.T) { eachFamily(t, testContinue) }

func testContinue(t *testing.T, m *Model) {
	o := m.DefaultGenerate()
	o.EOS, o.MaxNewTokens = nil, 20
	want, err := m.Generate(context.Background(), [][]int{{4, 5}, {6}}, o)
	if err != nil {
		t.Fatal(err)
	}
	o.MaxNewTokens, o.State = 10, m.NewState(2)
	first, err := m.Generate(context.Background(), [][]int{{4, 5}, {6}}, o)
	if err != nil {
		t.Fatal(err)
	}
	o.State = o.State.Clone()
	second, err := m.Generate(context.Background(), [][]int{nil, nil}, o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if got := append(first[i].IDs, second[i].IDs...); !slices.Equal(got, want[i].IDs) {
			t.Errorf("prompt %d: in halves %v, at once %v", i, got, want[i].IDs)
		}
	}
	if got := o.State.Tokens[1]; !slices.Equal(got, append([]int{6}, want[1].IDs...)) {
		t.Errorf("the state has seen %v", got)
	}
}

// TestStops checks every way in which a text ends or is kept from ending.
func TestStops(t *testing.T) { eachFamily(t, testStops) }

func testStops(t *testing.T, m *Model) {
	free := m.DefaultGenerate()
	free.EOS, free.MaxNewTokens = nil, 12
	all := generate(t, m, free).IDs
	for what, c := range map[string]struct {
		change func(*GenerateOptions)
		want   []int
		reason FinishReason
	}{
		"length": {func(o *GenerateOptions) {}, all, FinishLength},
		"eos":    {func(o *GenerateOptions) { o.EOS = []int{50, all[0]} }, all[:1], FinishEOS},
		"ignore": {func(o *GenerateOptions) { o.EOS, o.IgnoreEOS = []int{all[0]}, true }, all, FinishLength},
		"stop":   {func(o *GenerateOptions) { o.Stop = func(_ int, ids []int) bool { return len(ids) == 5 } }, all[:5], FinishStop},
	} {
		o := free
		c.change(&o)
		if got := generate(t, m, o); !slices.Equal(got.IDs, c.want) || got.FinishReason != c.reason {
			t.Errorf("%s: %v (%s), want %v (%s)", what, got.IDs, got.FinishReason, c.want, c.reason)
		}
	}
	o := free
	o.EOS, o.MinNewTokens = make([]int, m.Config.VocabSize-1), 4 // every id except the last ends the text
	for id := range o.EOS {
		o.EOS[id] = id
	}
	if got := generate(t, m, o); len(got.IDs) < 5 || slices.Min(got.IDs[:4]) != m.Config.VocabSize-1 {
		t.Errorf("no end before 4 tokens: %v", got.IDs)
	}
	o = free
	o.Suppress, o.Vocab = []int{all[0]}, 20
	for _, id := range generate(t, m, o).IDs {
		if id == all[0] || id >= 20 {
			t.Errorf("id %d is suppressed or has no token", id)
		}
	}
	o.Vocab, o.Suppress = 1, []int{0}
	for _, o.NumBeams = range []int{1, 2, 3} {
		if _, err := m.Generate(context.Background(), [][]int{{1}}, o); err == nil {
			t.Errorf("%d beams: nothing is left to choose, but no error", o.NumBeams)
		}
	}
}

// TestNotFinite checks that a logit that is not finite is an error, and that a low temperature does not cause one.
func TestNotFinite(t *testing.T) {
	m := small(t)
	o := m.DefaultGenerate()
	o.EOS = nil
	want := generate(t, m, o).IDs
	cold := o
	cold.DoSample, cold.Temperature = true, math.SmallestNonzeroFloat64
	if got := generate(t, m, cold).IDs; !slices.Equal(got, want) {
		t.Errorf("at the lowest temperature %v, want the most probable tokens %v", got, want)
	}
	sampled, beams := o, o
	sampled.DoSample, sampled.Temperature, beams.NumBeams = true, 1, 2
	w := m.Head.Weight
	w.Float32s()[5*w.Shape()[1]] = float32(math.NaN()) // in the row of id 5
	w.Invalidate()
	for what, o := range map[string]GenerateOptions{"greedy": o, "sampling": sampled, "beams": beams} {
		if _, err := m.Generate(context.Background(), [][]int{{1}}, o); !errors.Is(err, errNoToken) {
			t.Errorf("%s: error %v, want %v", what, err, errNoToken)
		}
	}
}

func generate(t *testing.T, m *Model, o GenerateOptions) Generation {
	t.Helper()
	got, err := m.Generate(context.Background(), [][]int{{1, 2, 3}}, o)
	if err != nil {
		t.Fatal(err)
	}
	return got[0]
}

// TestGenerateOptions checks that all invalid settings are reported at once.
func TestGenerateOptions(t *testing.T) { eachFamily(t, testGenerateOptions) }

func testGenerateOptions(t *testing.T, m *Model) {
	o := GenerateOptions{DoSample: true, MinP: 2, NumBeams: 3, Vocab: 1000}
	_, err := m.Generate(context.Background(), [][]int{{1}}, o)
	for _, want := range []string{"max new tokens", "repetition_penalty", "temperature", "top_p", "typical_p", "min_p", "num_beams", "1000 ids"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v\nwant one with %q", err, want)
		}
	}
}

// TestGenerateInterrupted checks that an interrupt ends the text, keeps what has been generated, and leaves a state
// that can be continued.
func TestGenerateInterrupted(t *testing.T) { eachFamily(t, testGenerateInterrupted) }

func testGenerateInterrupted(t *testing.T, m *Model) {
	o := m.DefaultGenerate()
	o.EOS, o.MaxNewTokens = nil, 12
	want := generate(t, m, o).IDs
	ctx, cancel := context.WithCancel(context.Background())
	o.State = m.NewState(1)
	o.OnToken = func(_, id int) {
		if id == want[3] {
			cancel()
		}
	}
	got, err := m.Generate(ctx, [][]int{{1, 2, 3}}, o)
	cut := slices.Index(want, want[3]) + 1
	if !errors.Is(err, context.Canceled) || !slices.Equal(got[0].IDs, want[:cut]) || got[0].FinishReason != FinishInterrupted {
		t.Fatalf("%v, %v", got, err)
	}
	o.OnToken, o.MaxNewTokens = nil, 12-cut
	got, err = m.Generate(context.Background(), [][]int{nil}, o)
	if err != nil || !slices.Equal(got[0].IDs, want[cut:]) {
		t.Errorf("then %v, want %v: %v", got[0].IDs, want[cut:], err)
	}
}

// TestBeams checks that beam search with as many beams as there are texts finds the most probable one, which greedy
// decoding may not.
func TestBeams(t *testing.T) { eachFamily(t, testBeams) }

func testBeams(t *testing.T, m *Model) {
	o := m.DefaultGenerate()
	o.EOS, o.MaxNewTokens, o.NumBeams = nil, 2, m.Config.VocabSize
	got := generate(t, m, o).IDs
	var docs []Document
	for a := range m.Config.VocabSize {
		for b := range m.Config.VocabSize {
			docs = append(docs, Document{Tokens: []int{1, 2, 3, a, b}, Labels: []int{-100, -100, -100, a, b}})
		}
	}
	bestText, bestLoss, i := []int(nil), math.Inf(1), 0
	for s, err := range m.Score(context.Background(), slices.Values(docs), ScoreOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if s.NLL < bestLoss {
			bestText, bestLoss = docs[i].Tokens[3:], s.NLL
		}
		i++
	}
	if !slices.Equal(got, bestText) {
		t.Errorf("beams found %v, the best is %v", got, bestText)
	}
	r := rand.New(rand.NewPCG(2, 5))
	o.MaxNewTokens, o.EarlyStopping = 12, StopFirst
	for range 20 { // a search that stops early returns a text that has ended
		o.EOS, o.NumBeams = ids(r, m.Config.VocabSize, m.Config.VocabSize/2), 2+r.IntN(2)
		if got := generate(t, m, o); got.FinishReason == FinishLength && len(got.IDs) < o.MaxNewTokens {
			t.Errorf("%d beams end by length with %d tokens of %d: %v", o.NumBeams, len(got.IDs), o.MaxNewTokens, got.IDs)
		}
	}
	o.EarlyStopping = StopUnlikely
	o.EOS, o.MaxNewTokens, o.NumBeams = []int{bestText[0]}, 5, 4
	o.State = m.NewState(1)
	end := generate(t, m, o)
	if end.FinishReason == FinishEOS && end.IDs[len(end.IDs)-1] != bestText[0] {
		t.Errorf("ended by eos with %v", end.IDs)
	}
	if tokens := o.State.Tokens[0]; !slices.Equal(tokens[3:], end.IDs) || o.State.Fed[0] != len(tokens)-1 {
		t.Errorf("the state has seen %d of %v after %v", o.State.Fed[0], tokens, end.IDs)
	}
}

// TestBatchStates checks that texts that leave the batch at different times each leave the state of their own
// tokens.
func TestBatchStates(t *testing.T) { eachFamily(t, testBatchStates) }

func testBatchStates(t *testing.T, m *Model) {
	o := m.DefaultGenerate()
	o.EOS, o.MaxNewTokens, o.State = nil, 9, m.NewState(3)
	o.Stop = func(prompt int, tokens []int) bool { return len(tokens) == 3*(3-prompt) } // the last prompt ends first
	out, err := m.Generate(context.Background(), [][]int{{1}, {2, 3}, {4, 5, 6}}, o)
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range o.State.Tokens {
		if len(out[i].IDs) != 3*(3-i) || !slices.Equal(text[i+1:], out[i].IDs) || o.State.Fed[i] != len(text)-1 {
			t.Fatalf("prompt %d: %d of %v after %v", i, o.State.Fed[i], text, out[i].IDs)
		}
		alone := m.NewState(1)
		if err := m.NewDecoder(0).Feed(context.Background(), alone, [][]int{text[:len(text)-1]}); err != nil {
			t.Fatal(err)
		}
		got := o.State.Select(i)
		got.Tokens[0] = got.Tokens[0][:got.Fed[0]]
		sameState(t, got, alone)
	}
}
