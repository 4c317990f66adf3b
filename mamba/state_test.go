package mamba

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"mambatrain/autograd/kernel"
)

var ctx = context.Background()

// small is a Mamba-1 model with odd sizes, biases, and an untied head.
func small(t testing.TB) *Model {
	t.Helper()
	c := Default()
	c.Expand, c.IntermediateSize, c.TimeStepRank = 1.5, 30, 3
	return smallOf(t, c)
}

// smallOf returns a random model of c's family with small sizes.
func smallOf(t testing.TB, c Config) *Model {
	t.Helper()
	c.VocabSize, c.HiddenSize, c.NumHiddenLayers, c.StateSize, c.ConvKernel = 53, 20, 2, 5, 3
	c.UseBias, c.TieWordEmbeddings = true, false
	c.derive()
	m, err := New(c, InitHF, rand.New(rand.NewPCG(1, 2)), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 4)) // biases are zero initially, which would hide errors
	for _, p := range m.Params() {
		if end := strings.TrimSuffix(p.Name, ".bias"); end == p.Name || strings.HasSuffix(end, "dt_proj") {
			continue
		}
		for i, v := 0, p.Float32s(); i < len(v); i++ {
			v[i] = float32(0.3 * r.NormFloat64())
		}
	}
	return m
}

// eachFamily runs a test on a small model of each family.
func eachFamily(t *testing.T, test func(t *testing.T, m *Model)) {
	falcon, mamba2 := falconDefaults(), mamba2Defaults()
	falcon.TimeStepRank, falcon.MixerRMSEps = 3, 0.01
	mamba2.NumHeads, mamba2.HeadDim, mamba2.NGroups = 8, 5, 2
	mamba2.TimeStepLimit.Min, mamba2.TimeStepLimit.Max = 0.005, 0.05
	for _, m := range []*Model{small(t), smallOf(t, falcon), smallOf(t, mamba2)} {
		t.Run(m.Config.ModelType, func(t *testing.T) { test(t, m) })
	}
}

func ids(r *rand.Rand, v, n int) []int {
	x := make([]int, n)
	for i := range x {
		x[i] = r.IntN(v)
	}
	return x
}

// TestDecode compares logits and states with the reference, after a prompt and after single steps.
func TestDecode(t *testing.T) {
	for _, model := range goldenModels {
		m := loadGolden(t, model+"/model")
		for _, c := range cases(t, model, "decode_*") {
			t.Run(model+"/"+c, func(t *testing.T) {
				f := golden(t, model, c+".safetensors")
				all := sequences(t, f, "input_ids")
				x, _ := f.Tensor("prefill.logits")
				prompt := x.Shape[1]
				out, err := m.Run(ctx, Input{IDs: columns(all, 0, prompt)}, Want{Logits: AllPositions})
				if err != nil {
					t.Fatal(err)
				}
				near(t, "prefill logits", out.Logits.Data, floats(t, f, "prefill.logits"))
				nearStates(t, m, f.Names(), func(name string) []float32 { return floats(t, f, name) }, "prefill.", out.State)
				d := m.NewDecoder(0)
				for i := range len(all[0]) - prompt {
					logits, err := d.Next(ctx, out.State, columns(all, prompt+i, prompt+i+1))
					if err != nil {
						t.Fatal(err)
					}
					near(t, name("logits of step %d", i), logits.Data, floats(t, f, name("step%d.logits", i)))
				}
				nearStates(t, m, f.Names(), func(name string) []float32 { return floats(t, f, name) }, "final.", out.State)
			})
		}
	}
}

// TestRun_pendingTokens checks that Run does not skip tokens that a state has not been fed.
func TestRun_pendingTokens(t *testing.T) {
	m := small(t)
	s := m.NewState(1)
	s.Tokens[0] = []int{1, 2}
	if _, err := m.Run(ctx, Input{IDs: [][]int{{3}}}, Want{State: s}); err == nil || !strings.Contains(err.Error(), "2 pending tokens") {
		t.Errorf("error %v, want one that counts the pending tokens", err)
	}
	if err := m.NewDecoder(0).Feed(ctx, s, [][]int{nil}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Run(ctx, Input{IDs: [][]int{{3}}}, Want{State: s}); err != nil || !slices.Equal(s.Tokens[0], []int{1, 2, 3}) || s.Fed[0] != 3 {
		t.Errorf("%d of %v have been fed: %v", s.Fed[0], s.Tokens[0], err)
	}
}

func columns(rows [][]int, from, to int) [][]int {
	part := make([][]int, len(rows))
	for i := range rows {
		part[i] = rows[i][from:to]
	}
	return part
}

// nearStates compares a state with the reference's, which contains one more input of the convolution and is
// transposed, (d, k).
func nearStates(t *testing.T, m *Model, names []string, read func(string) []float32, prefix string, s *State) {
	t.Helper()
	if !slices.Contains(names, prefix+"ssm_states.0") {
		t.Fatalf("no states %s*", prefix)
	}
	k := m.Config.ConvKernel
	for l, b := range m.Layers {
		conv, _ := b.Mixer.StateSize()
		d := conv / (k - 1)
		near(t, name("%sssm_states.%d", prefix, l), s.SSM[l], read(name("%sssm_states.%d", prefix, l)))
		all := read(name("%sconv_states.%d", prefix, l))
		want := make([]float32, 0, len(s.Conv[l]))
		for i := range s.Sequences() {
			for j := 1; j < k; j++ {
				for c := range d {
					want = append(want, all[(i*d+c)*k+j])
				}
			}
		}
		near(t, name("%sconv_states.%d", prefix, l), s.Conv[l], want)
	}
}

// TestPieces checks that a text split at random, in chunks of random size, gives the same state and logits as one run
// over the whole text. Token by token is the extreme case.
func TestPieces(t *testing.T) { eachFamily(t, testPieces) }

func testPieces(t *testing.T, m *Model) {
	r := rand.New(rand.NewPCG(5, 6))
	for round := range 30 {
		text := ids(r, m.Config.VocabSize, 1+r.IntN(70))
		whole, err := m.Run(ctx, Input{IDs: [][]int{text}}, Want{Logits: 1})
		if err != nil {
			t.Fatal(err)
		}
		d, s := m.NewDecoder(1+r.IntN(9)), m.NewState(1)
		var logits kernel.Mat[float32]
		for rest := text; len(rest) > 0; {
			n := 1
			if round > 0 { // the first round feeds single tokens
				n = 1 + r.IntN(len(rest))
			}
			if logits, err = d.Next(ctx, s, [][]int{rest[:n]}); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		within(t, "logits", logits.Data, whole.Logits.Data, selfAbs, selfAbs)
		sameState(t, s, whole.State)
	}
}

func sameState(t *testing.T, got, want *State) {
	t.Helper()
	for l := range want.Conv {
		within(t, name("conv state %d", l), got.Conv[l], want.Conv[l], selfAbs, selfAbs)
		within(t, name("scan state %d", l), got.SSM[l], want.SSM[l], selfAbs, selfAbs)
	}
	for i := range want.Tokens {
		if !slices.Equal(got.Tokens[i], want.Tokens[i]) || got.Fed[i] != want.Fed[i] {
			t.Errorf("sequence %d: %d of tokens %v, want %d of %v", i, got.Fed[i], got.Tokens[i], want.Fed[i], want.Tokens[i])
		}
	}
}

// TestPaddedBatch checks that sequences of different lengths in one batch, padded on either side with arbitrary tokens,
// give the same results as each on its own, in further steps too.
func TestPaddedBatch(t *testing.T) { eachFamily(t, testPaddedBatch) }

func testPaddedBatch(t *testing.T, m *Model) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 20 {
		n, longest := 1+r.IntN(5), 0
		texts := make([][]int, n)
		for i := range texts {
			texts[i] = ids(r, m.Config.VocabSize, 1+r.IntN(20))
			longest = max(longest, len(texts[i]))
		}
		in := Input{}
		for _, text := range texts {
			row, mask := ids(r, m.Config.VocabSize, longest), make([]int, longest)
			at := r.IntN(2) * (longest - len(text)) // left or right padding
			for t, id := range text {
				row[at+t], mask[at+t] = id, 1
			}
			in.IDs, in.Mask = append(in.IDs, row), append(in.Mask, mask)
		}
		together, err := m.Run(ctx, in, Want{Logits: 1})
		if err != nil {
			t.Fatal(err)
		}
		step := make([][]int, n)
		for i := range step {
			step[i] = ids(r, m.Config.VocabSize, 1+r.IntN(3))
		}
		next, err := m.NewDecoder(4).Next(ctx, together.State, step)
		if err != nil {
			t.Fatal(err)
		}
		for i, text := range texts {
			alone, err := m.Run(ctx, Input{IDs: [][]int{text}}, Want{Logits: 1})
			if err != nil {
				t.Fatal(err)
			}
			within(t, "logits in a batch", together.Logits.Row(i), alone.Logits.Data, selfAbs, selfAbs)
			after, err := m.NewDecoder(0).Next(ctx, alone.State, [][]int{step[i]})
			if err != nil {
				t.Fatal(err)
			}
			within(t, "continued in a batch", next.Row(i), after.Data, selfAbs, selfAbs)
			sameState(t, together.State.Select(i), alone.State)
		}
	}
}

// TestAllMasked checks that a sequence that is all padding is skipped and keeps its state.
func TestAllMasked(t *testing.T) { eachFamily(t, testAllMasked) }

func testAllMasked(t *testing.T, m *Model) {
	out, err := m.Run(ctx, Input{IDs: [][]int{{1, 2}, {3, 4}}, Mask: [][]int{{0, 0}, {1, 1}}}, Want{Logits: AllPositions})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Places) != 2 || out.Places[0] != (Place{1, 0}) || out.State.Fed[0] != 0 {
		t.Errorf("places %v, fed %v", out.Places, out.State.Fed)
	}
}

// TestThreads checks that results do not depend on the number of threads, bit for bit.
func TestThreads(t *testing.T) {
	m, text := small(t), ids(rand.New(rand.NewPCG(9, 9)), 53, 300)
	defer kernel.SetThreads(kernel.Threads())
	var want []float32
	for _, threads := range []int{1, 2, 3, 8} {
		kernel.SetThreads(threads)
		out, err := m.Run(ctx, Input{IDs: [][]int{text}}, Want{Logits: AllPositions})
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = out.Logits.Data
		}
		if !slices.Equal(out.Logits.Data, want) {
			t.Errorf("%d threads give different bits from 1", threads)
		}
	}
}

// TestStateFile checks that a state restored from a file continues like the saved one, bit for bit.
func TestStateFile(t *testing.T) { eachFamily(t, testStateFile) }

func testStateFile(t *testing.T, m *Model) {
	r := rand.New(rand.NewPCG(10, 11))
	s, d := m.NewState(2), m.NewDecoder(0)
	if err := d.Feed(ctx, s, [][]int{ids(r, 53, 9), ids(r, 53, 1)}); err != nil {
		t.Fatal(err)
	}
	s.Tokens[1] = append(s.Tokens[1], 7) // pending
	path := filepath.Join(t.TempDir(), "state.safetensors")
	if err := s.Save(path); err != nil {
		t.Fatal(err)
	}
	restored, err := m.LoadState(path)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(restored.Fed, []int{9, 1}) || !slices.Equal(restored.Tokens[1], s.Tokens[1]) {
		t.Fatalf("restored %v of %v", restored.Fed, restored.Tokens)
	}
	want, err := d.Next(ctx, s, [][]int{{5}, {6}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.NewDecoder(0).Next(ctx, restored, [][]int{{5}, {6}})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Data, want.Data) {
		t.Error("the restored state continues differently")
	}
	if _, err := loadGolden(t, "base/model").LoadState(path); err == nil {
		t.Error("a state of another model was accepted")
	}
	for want, change := range map[string]func(s *State){
		"contains no sequence":          func(s *State) { *s = *s.Select() },
		"but this one has 2":            func(s *State) { s.Conv, s.SSM = s.Conv[:1], s.SSM[:1] },
		"the recurrence of layer 0 has": func(s *State) { s.SSM[0] = s.SSM[0][:len(s.SSM[0])-2] },
		"it has processed 20":           func(s *State) { s.Fed[1] = 20 },
		"it is for a Llama model":       func(s *State) { s.Origin.Family = "Llama" },
	} {
		other := s.Clone()
		change(other)
		if err := other.Save(path); err != nil {
			t.Fatal(err)
		}
		if _, err := m.LoadState(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

// TestStateCopies checks that copies share no memory.
func TestStateCopies(t *testing.T) { eachFamily(t, testStateCopies) }

func testStateCopies(t *testing.T, m *Model) {
	s, d := m.NewState(2), m.NewDecoder(0)
	feed := func(s *State, tokens ...[]int) {
		t.Helper()
		if err := d.Feed(ctx, s, tokens); err != nil {
			t.Fatal(err)
		}
	}
	feed(s, []int{1, 2, 3}, []int{4})
	c := s.Clone()
	feed(s, []int{9}, nil)
	sameState(t, s.Select(1), c.Select(1))
	if slices.Equal(s.Select(0).SSM[0], c.Select(0).SSM[0]) {
		t.Error("the copy changed together with the original")
	}
	c.Set(1, s, 0)
	sameState(t, c.Select(1, 1), s.Select(0, 0))
}

// TestConstantMemory checks that a long prompt takes no more memory than a short one, apart from its token ids.
func TestConstantMemory(t *testing.T) { eachFamily(t, testConstantMemory) }

func testConstantMemory(t *testing.T, m *Model) {
	d, s := m.NewDecoder(64), m.NewState(1)
	text := ids(rand.New(rand.NewPCG(1, 1)), 53, 20_000)
	if err := d.Feed(ctx, s, [][]int{text[:64]}); err != nil { // allocates the buffers
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if err := d.Feed(ctx, s, [][]int{text}); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	const perToken = 8 * 2.5 // the id, in a growing slice
	if grown := int(after.HeapAlloc) - int(before.HeapAlloc); float64(grown) > perToken*float64(len(text))+1<<16 {
		t.Errorf("the heap grew by %d bytes for %d tokens", grown, len(text))
	}
}

// TestScore checks that documents of any length, split anywhere, have the loss that the model computes for each.
func TestScore(t *testing.T) { eachFamily(t, testScore) }

func testScore(t *testing.T, m *Model) {
	r := rand.New(rand.NewPCG(12, 13))
	for round := range 10 {
		docs := make([]Document, 1+r.IntN(8))
		for i := range docs {
			docs[i].Tokens = ids(r, m.Config.VocabSize, r.IntN(30))
			if r.IntN(2) == 0 {
				docs[i].Labels = slices.Clone(docs[i].Tokens)
				for j := range docs[i].Labels {
					if r.IntN(3) == 0 {
						docs[i].Labels[j] = -100
					}
				}
			}
		}
		i := 0
		for got, err := range m.Score(ctx, slices.Values(docs), ScoreOptions{Rows: 1 + r.IntN(1+4*round), PerToken: true}) {
			if err != nil {
				t.Fatal(err)
			}
			checkScore(t, m, docs[i], got)
			i++
		}
		if i != len(docs) {
			t.Fatalf("%d scores for %d documents", i, len(docs))
		}
	}
}

func checkScore(t *testing.T, m *Model, doc Document, got DocumentScore) {
	t.Helper()
	labels := doc.Labels
	if labels == nil {
		labels = doc.Tokens
	}
	out, err := m.Run(ctx, Input{IDs: [][]int{doc.Tokens}, Labels: [][]int{labels}}, Want{Logits: AllPositions})
	if err != nil {
		t.Fatal(err)
	}
	correct := 0
	for i := range max(0, len(doc.Tokens)-1) {
		target := labels[i+1]
		if d := got.PerToken[i+1] - out.TokenLoss[i]; d > selfAbs || d < -selfAbs {
			t.Errorf("token %d costs %v, want %v", i+1, got.PerToken[i+1], out.TokenLoss[i])
		}
		if target >= 0 && argmax(out.Logits.Row(i)) == target {
			correct++
		}
	}
	if got.Tokens != out.Tokens || got.Correct != correct {
		t.Errorf("%d tokens, %d correct; want %d and %d", got.Tokens, got.Correct, out.Tokens, correct)
	}
	if d := got.NLL - out.Loss*float64(out.Tokens); d > 1e-4 || d < -1e-4 {
		t.Errorf("loss %v, want %v", got.NLL, out.Loss*float64(out.Tokens))
	}
}

func argmax(x []float32) int {
	b := 0
	for i, v := range x {
		if v > x[b] {
			b = i
		}
	}
	return b
}

// TestBadTokens checks that ids outside the vocabulary are reported, never looked up, and leave the state unchanged.
func TestBadTokens(t *testing.T) { eachFamily(t, testBadTokens) }

func testBadTokens(t *testing.T, m *Model) {
	s := m.NewState(1)
	_, runErr := m.Run(ctx, Input{IDs: [][]int{{1, 53}}}, Want{})
	_, labelErr := m.Run(ctx, Input{IDs: [][]int{{1, 2}}, Labels: [][]int{{1, 99}}}, Want{})
	_, genErr := m.Generate(ctx, [][]int{{-1}}, m.DefaultGenerate())
	_, emptyErr := m.Generate(ctx, [][]int{{}}, m.DefaultGenerate())
	var scoreErr error
	for _, err := range m.Score(ctx, slices.Values([]Document{{Tokens: []int{1, 2, 1000}}}), ScoreOptions{}) {
		scoreErr = err
	}
	for i, err := range []error{runErr, labelErr, genErr, emptyErr, scoreErr, m.NewDecoder(0).Feed(ctx, s, [][]int{{53}})} {
		if err == nil {
			t.Errorf("call %d accepted a bad token", i)
		}
	}
	if s.Fed[0] != 0 || len(s.Tokens[0]) != 0 {
		t.Error("the state changed")
	}
}

// TestInterrupted checks that the work stops between chunks when the context ends.
func TestInterrupted(t *testing.T) { eachFamily(t, testInterrupted) }

func testInterrupted(t *testing.T, m *Model) {
	done, cancel := context.WithCancel(ctx)
	cancel()
	if err := m.NewDecoder(2).Feed(done, m.NewState(1), [][]int{{1, 2, 3}}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
