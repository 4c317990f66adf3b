package lora_test

import (
	"context"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ag "mambatrain/autograd"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn/weights"
)

// mergedLogits is the maximum difference between the logits of a merged and an adapted model, due to a different
// order of summation in float32.
const mergedLogits = 1e-5

// tiny returns a small model with weights from r. The head is tied, and the layers have biases, at random.
func tiny(t *testing.T, r *rand.Rand) *mamba.Model {
	t.Helper()
	return tinyOf(t, r, mamba.Default())
}

// families lists one preset of each family.
var families = []string{"mamba-130m", "falcon-7b", "mamba2-130m"}

// anyTiny is like tiny, but for a random family.
func anyTiny(t *testing.T, r *rand.Rand) *mamba.Model {
	t.Helper()
	return tinyPreset(t, r, families[r.IntN(len(families))])
}

func tinyPreset(t *testing.T, r *rand.Rand, name string) *mamba.Model {
	t.Helper()
	c, err := mamba.Preset(name)
	if err != nil {
		t.Fatal(err)
	}
	return tinyOf(t, r, c)
}

func tinyOf(t *testing.T, r *rand.Rand, c mamba.Config) *mamba.Model {
	t.Helper()
	c.VocabSize, c.HiddenSize, c.NumHiddenLayers, c.StateSize = 23+r.IntN(9), 12+r.IntN(9), 2, 3+r.IntN(4)
	c.IntermediateSize, c.TimeStepRank, c.ConvKernel = 2*c.HiddenSize, 2+r.IntN(3), 2+r.IntN(3)
	c.NumHeads, c.HeadDim, c.NGroups = 2, c.HiddenSize, 1+r.IntN(2)
	c.TieWordEmbeddings, c.UseBias = r.IntN(2) == 0, r.IntN(2) == 0
	m, err := mamba.New(c, mamba.InitMambaSSM, r, mamba.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// targets returns the names of a model's slots and of their row groups.
func targets(m *mamba.Model) (slots, groups []string) {
	for _, s := range m.Slots() {
		end := s.Path[strings.LastIndexByte(s.Path, '.')+1:]
		if slices.Contains(slots, end) {
			continue
		}
		slots = append(slots, end)
		for _, g := range s.Groups {
			groups = append(groups, end+"."+g.Name)
		}
	}
	return slots, groups
}

// randomConfig returns random settings for m.
func randomConfig(r *rand.Rand, m *mamba.Model) lora.Config {
	c := lora.Default()
	c.R = 1 + r.IntN(5)
	c.LoraAlpha = float64(c.R) * (0.5 + 2*r.Float64())
	names, groups := targets(m)
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	c.TargetModules = lora.Targets{Names: names[:1+r.IntN(len(names))]}
	switch r.IntN(6) {
	case 0:
		c.TargetModules = lora.Targets{Pattern: "all-linear"}
	case 1:
		c.TargetModules = lora.Targets{Pattern: `.*\.[01]\.mixer\.(in|out)_proj`}
	case 2:
		c.TargetModules = lora.Targets{Names: groups[len(groups)-2:]} // adjacent groups
	case 3:
		all := slices.DeleteFunc(groups, func(group string) bool { return !strings.HasPrefix(group, "in_proj.") })
		c.TargetModules = lora.Targets{Names: all}
	}
	if r.IntN(3) == 0 && c.TargetModules.Pattern == "" && !slices.Contains(names[:len(c.TargetModules.Names)], "embeddings") &&
		!slices.Contains(c.TargetModules.Names, "lm_head") && !slices.Contains(c.TargetModules.Names, "embeddings") {
		c.LayersToTransform = lora.Layers{1}
	}
	if r.IntN(3) == 0 {
		c.RankPattern = lora.Pattern[int]{{Key: "in_proj", Value: 3}, {Key: `.*_proj`, Value: 2}}
	}
	if r.IntN(3) == 0 {
		c.AlphaPattern = lora.Pattern[float64]{{Key: `layers\.1\.mixer\.\w+`, Value: 5}}
	}
	c.UseRSLora = r.IntN(3) == 0
	c.Bias = []string{"none", "all", "lora_only"}[r.IntN(3)]
	c.InitLoraWeights = []lora.Init{lora.InitTrue, lora.InitGaussian, lora.InitPissa}[r.IntN(3)]
	c.UseDora = c.InitLoraWeights != lora.InitPissa && r.IntN(3) == 0
	if r.IntN(3) == 0 {
		c.TargetParameters = []string{"A_log", "conv1d"}
	}
	if r.IntN(3) == 0 {
		c.ModulesToSave = []string{[]string{"norm_f", "lm_head", "embeddings"}[r.IntN(3)]}
		end := c.ModulesToSave[0]
		c.TargetModules.Names = slices.DeleteFunc(slices.Clone(c.TargetModules.Names), func(n string) bool { return n == end })
	}
	if len(c.TargetModules.Names) == 0 && c.TargetModules.Pattern == "" {
		c.TargetModules = lora.Targets{Names: []string{"out_proj"}}
	}
	return c
}

// stir changes every parameter of the adapter, as training does.
func stir(a *lora.Adapter, r *rand.Rand) {
	for _, p := range a.Params() {
		for i, v := 0, p.Float32s(); i < len(v); i++ {
			v[i] += 0.05 * float32(r.NormFloat64())
		}
		p.Invalidate()
	}
	a.Invalidate()
}

func probe(m *mamba.Model, r *rand.Rand) [][]int {
	ids := make([]int, 40)
	for i := range ids {
		ids[i] = r.IntN(m.Config.VocabSize)
	}
	return [][]int{ids[:29], ids[29:]}
}

func clone(t *testing.T, m *mamba.Model) *mamba.Model {
	t.Helper()
	dir := t.TempDir()
	if err := m.Save(dir, mamba.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	c, err := mamba.Load(dir, mamba.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestAdapterLifecycle checks, with random settings, that a new adapter changes nothing, that a saved one loads bit
// for bit and computes the same, that disabling it restores the base, and that merging changes nothing.
func TestAdapterLifecycle(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 3))
		m := anyTiny(t, r)
		c := randomConfig(r, m)
		base, ids := clone(t, m), probe(m, r)
		plain := directLogits(t, m, ids)
		a, err := lora.Inject(m, c, r)
		if err != nil {
			t.Fatalf("seed %d: %v\n%+v", seed, err, c)
		}
		near(t, "fresh adapter", directLogits(t, m, ids), plain, mergedLogits, mergedLogits)
		stir(a, r)
		adapted := directLogits(t, m, ids)

		dir := filepath.Join(t.TempDir(), "adapter")
		if err := a.Save(dir, lora.SaveOptions{BaseModel: "some/base"}); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		again, err := lora.Load(dir, base)
		if err != nil {
			t.Fatalf("seed %d: %v\n%+v", seed, err, c)
		}
		near(t, "loaded adapter", directLogits(t, base, ids), adapted, mergedLogits, mergedLogits)
		shapes, err := lora.Shapes(base, openDir(t, dir).ConfigFor(base))
		if trainable, _ := again.Share(); err != nil || elements(shapes) != trainable {
			t.Errorf("seed %d: %d elements for the loaded adapter, want %d: %v", seed, elements(shapes), trainable, err)
		}
		if diff := c.Differences(again.Config); c.InitLoraWeights != lora.InitPissa && len(diff) > 0 {
			t.Errorf("seed %d: settings changed: %v", seed, diff)
		}
		twice := filepath.Join(t.TempDir(), "again")
		if err := again.Save(twice, lora.SaveOptions{BaseModel: "some/base"}); err != nil {
			t.Fatal(err)
		}
		if c.InitLoraWeights != lora.InitPissa {
			sameFile(t, filepath.Join(dir, lora.WeightsFile), filepath.Join(twice, lora.WeightsFile))
		}

		a.Disable()
		tolerance := 0.0
		if c.InitLoraWeights == lora.InitPissa {
			tolerance = mergedLogits
		}
		near(t, "disabled adapter", directLogits(t, m, ids), plain, tolerance, tolerance)
		if err := a.Enable(); err != nil {
			t.Fatal(err)
		}
		if err := a.Merge(); err != nil {
			t.Fatal(err)
		}
		near(t, "merged adapter", directLogits(t, m, ids), adapted, mergedLogits, mergedLogits)
		near(t, "merged and saved model", directLogits(t, clone(t, m), ids), adapted, mergedLogits, mergedLogits)
		if t.Failed() {
			t.Fatalf("seed %d: %+v", seed, c)
		}
	}
}

// TestLoad_wholeTable checks that a table in target_parameters, with which the head is tied, can be trained further.
func TestLoad_wholeTable(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 1))
	m, base, c, dir := model(t, "base"), model(t, "base"), lora.Default(), t.TempDir()
	c.TargetModules, c.TargetParameters = lora.Targets{Names: []string{"in_proj"}}, []string{"embeddings"}
	a, err := lora.Inject(m, c, r)
	if err != nil {
		t.Fatal(err)
	}
	stir(a, r)
	if err := a.Save(dir, lora.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	again, err := lora.Load(dir, base)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Train(); err != nil {
		t.Fatal(err)
	}
	if len(again.Params()) != len(a.Params()) || !base.Embeddings.Weight.Trainable() || base.Tied() != m.Tied() {
		t.Errorf("%d parameters are trained, want %d; the head is tied: %v", len(again.Params()), len(a.Params()), base.Tied())
	}
	ids := probe(m, r)
	near(t, "loaded", directLogits(t, base, ids), directLogits(t, m, ids), 0, 0)
	shapes, err := lora.Shapes(base, openDir(t, dir).ConfigFor(base))
	if trainable, _ := again.Share(); err != nil || elements(shapes) != trainable {
		t.Errorf("%d elements, want %d: %v", elements(shapes), trainable, err)
	}
}

// TestMerge_ends checks that a merged adapter, which has no parameters left, is not enabled, trained, or saved.
func TestMerge_ends(t *testing.T) {
	m, dir := model(t, "base"), t.TempDir()
	a, err := lora.Inject(m, lora.Default(), rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Save(dir, lora.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := a.Merge(); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"enable": a.Enable(), "train": a.Train(), "save": a.Save(dir, lora.SaveOptions{}), "restore": a.Restore(dir), "merge": a.Merge()} {
		if want := "lora: " + what + ": the adapter has been merged into the model"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestRestore checks, with any settings, that a run resumed from a checkpoint gives the same bits as an uninterrupted
// run.
func TestRestore(t *testing.T) {
	for seed := range uint64(15) {
		inject := func() (*mamba.Model, *lora.Adapter) {
			r := rand.New(rand.NewPCG(seed, 4))
			m := anyTiny(t, r)
			c := randomConfig(r, m)
			a, err := lora.Inject(m, c, r)
			if err != nil {
				t.Fatal(err)
			}
			return m, a
		}
		m, a := inject()
		r := rand.New(rand.NewPCG(seed, 5))
		stir(a, r)
		dir := t.TempDir()
		if err := a.Save(dir, lora.SaveOptions{}); err != nil {
			t.Fatal(err)
		}
		again, b := inject()
		if err := b.Restore(dir); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for i, p := range a.Params() {
			if q := b.Params()[i]; !slices.Equal(p.Float32s(), q.Float32s()) {
				t.Errorf("seed %d: %s is not restored", seed, p.Name)
			}
		}
		ids := probe(m, r)
		near(t, "restored logits", directLogits(t, again, ids), directLogits(t, m, ids), 0, 0)
		c := lora.Default()
		c.R, c.TargetModules = 7, lora.Targets{Names: []string{"in_proj"}}
		other, err := lora.Inject(clone(t, m), c, r)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Restore(dir); err == nil || !strings.Contains(err.Error(), "was not saved from this adapter") {
			t.Errorf("seed %d: restored a different adapter: %v", seed, err)
		}
	}
}

// TestEveryTargetTrains checks that, with nonzero A and B, no gradient is zero everywhere.
func TestEveryTargetTrains(t *testing.T) {
	for _, family := range families {
		t.Run(family, func(t *testing.T) { testEveryTargetTrains(t, family) })
	}
}

func testEveryTargetTrains(t *testing.T, family string) {
	r := rand.New(rand.NewPCG(1, 1))
	slots, groups := targets(tinyPreset(t, r, family))
	for _, dora := range []bool{false, true} {
		for _, target := range append(slots, groups...) {
			m := tinyPreset(t, r, family)
			c := lora.Default()
			c.R, c.UseDora, c.TargetModules = 2, dora, lora.Targets{Names: []string{target}}
			c.TargetParameters = []string{"A_log", "D", "conv1d", "norm", map[bool]string{true: "dt_bias", false: "dt_proj.bias"}[family == "mamba2-130m"]}
			a, err := lora.Inject(m, c, r)
			if err != nil {
				t.Fatal(err)
			}
			stir(a, r)
			step(t, m, probe(m, r), 1)
			for _, p := range a.Params() {
				if !slices.ContainsFunc(p.GradFloat32s(), func(x float32) bool { return x != 0 }) {
					t.Errorf("%s, DoRA %v: gradient of %s is zero", target, dora, p.Name)
				}
			}
			for _, p := range m.Params() {
				if p.Trainable() != slices.Contains(a.Params(), p) {
					t.Errorf("%s: %s: trainable is %v", target, p.Name, p.Trainable())
				}
			}
		}
	}
}

// step runs one training step on documents of ids.
func step(t *testing.T, m *mamba.Model, documents [][]int, seed uint64) ag.Loss {
	t.Helper()
	var b ag.Batch
	for _, ids := range documents {
		b.Starts = append(b.Starts, len(b.Tokens))
		b.Tokens, b.Labels = append(b.Tokens, ids...), append(b.Labels, ids...)
	}
	g := ag.NewGraph(ag.Options{Rows: len(b.Tokens)})
	prog, err := g.Compile(m.Loss(g))
	if err != nil {
		t.Fatal(err)
	}
	l, err := prog.Step(context.Background(), ag.Step{Batch: b, Scale: 1 / float64(b.Counted()), Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestDropoutReplays checks that dropout drops the same elements when activations are recomputed.
func TestDropoutReplays(t *testing.T) {
	for seed := range uint64(4) {
		var grads [2][]float32
		for i, checkpointing := range []bool{false, true} {
			r := rand.New(rand.NewPCG(seed, 9))
			m := tiny(t, r)
			m.Checkpointing = checkpointing
			c := lora.Default()
			c.LoraDropout, c.UseDora = 0.4, seed%2 == 1
			c.TargetModules = lora.Targets{Names: []string{"embeddings", "in_proj", "x_proj", "dt_proj", "out_proj"}}
			a, err := lora.Inject(m, c, r)
			if err != nil {
				t.Fatal(err)
			}
			stir(a, r)
			step(t, m, probe(m, r), seed)
			for _, p := range a.Params() {
				grads[i] = append(grads[i], p.GradFloat32s()...)
			}
		}
		if !slices.Equal(grads[0], grads[1]) {
			t.Errorf("seed %d: gradients with checkpointing differ", seed)
		}
	}
}

// TestNamesThatMatchNothing checks that the error for names that match nothing lists all of them and the available
// ones.
func TestNamesThatMatchNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	m := tiny(t, r)
	c := lora.Default()
	c.TargetModules = lora.Targets{Names: []string{"in_proj", "q_proj", "in_proj.y"}}
	c.TargetParameters = []string{"A"}
	c.ModulesToSave = []string{"classifier"}
	_, err := lora.Inject(m, c, r)
	for _, want := range []string{`"q_proj", "in_proj.y" match no module`, "x_proj.dt", `target_parameters: "A"`, "A_log", `modules_to_save: "classifier"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not contain %s", err, want)
		}
	}
	for _, s := range m.Slots() {
		if s.LowRank() != nil {
			t.Errorf("%s: has an adapter after the error", s.Path)
		}
	}
}

// TestInit compares the initial values of an adapter with PEFT's rules.
func TestInit(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	m := tiny(t, r)
	c := lora.Default()
	c.R = 400 // for statistics
	if _, err := lora.Inject(m, c, r); err != nil {
		t.Fatal(err)
	}
	s := m.Slots()[1]
	bound := 1 / math.Sqrt(float64(s.Linear.In()))
	largest, sum := 0.0, 0.0
	for _, x := range s.LowRank().A.Float32s() {
		largest, sum = math.Max(largest, math.Abs(float64(x))), sum+float64(x)
	}
	if largest > bound || largest < 0.99*bound || math.Abs(sum) > 0.05*bound*float64(s.LowRank().A.Size()) {
		t.Errorf("A of %s reaches %v, want ±%v", s.Path, largest, bound)
	}
	e := m.Slots()[0].LowRank()
	if zero(e.A) != true || zero(e.B) != false || zero(s.LowRank().B) != true {
		t.Errorf("an embedding starts with A zero, a projection with B zero")
	}
}

// TestDoRA_rowOfZeros checks that an output of the base that is zero remains zero with a new adapter and after
// merging it.
func TestDoRA_rowOfZeros(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 8))
	m, c := tiny(t, r), lora.Default()
	c.TargetModules, c.UseDora = lora.Targets{Names: []string{"in_proj", "embeddings"}}, true
	in := m.Layers[0].Mixer.(*mamba.Mamba1).InProj.Weight
	clear(in.Float32s()[:in.Shape()[1]])
	table := m.Embeddings.Weight
	for i := 0; i < table.Size(); i += table.Shape()[1] {
		table.Float32s()[i] = 0
	}
	ids := probe(m, r)
	want := directLogits(t, m, ids)
	a, err := lora.Inject(m, c, r)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "adapted", directLogits(t, m, ids), want, mergedLogits, mergedLogits)
	if err := a.Merge(); err != nil {
		t.Fatal(err)
	}
	near(t, "merged", directLogits(t, m, ids), want, mergedLogits, mergedLogits)
}

func zero(p *ag.Param) bool {
	return !slices.ContainsFunc(p.Float32s(), func(x float32) bool { return x != 0 })
}

func sameFile(t *testing.T, a, b string) {
	t.Helper()
	x, y := openTensors(t, a), openTensors(t, b)
	if !slices.Equal(x.Names(), y.Names()) {
		t.Errorf("%s and %s contain different tensors", a, b)
		return
	}
	for _, name := range x.Names() {
		s, _ := x.Tensor(name)
		u, _ := y.Tensor(name)
		if same, err := weights.Equal(s, u); err != nil || !same {
			t.Errorf("%s: differs between %s and %s (%v)", name, a, b, err)
		}
	}
}

// elements returns the total number of elements of tensors with the given shapes.
func elements(shapes [][]int) (total int) {
	for _, shape := range shapes {
		n := 1
		for _, dim := range shape {
			n *= dim
		}
		total += n
	}
	return total
}

// TestShapes checks that Shapes predicts the shapes of an adapter's parameters.
func TestShapes(t *testing.T) {
	r := rand.New(rand.NewPCG(31, 1))
	for range 40 {
		m := anyTiny(t, r)
		c := randomConfig(r, m)
		c.ModulesToSave = nil // saving a tied head in full unties it first
		shapes, wrong := lora.Shapes(m, c)
		want := elements(shapes)
		a, err := lora.Inject(m, c, r)
		if (err == nil) != (wrong == nil) {
			t.Fatalf("%+v: Shapes returns %v, Inject %v", c, wrong, err)
		}
		if err != nil {
			continue
		}
		got := 0
		for _, p := range a.Params() {
			got += p.Size()
		}
		if got != want {
			t.Errorf("%+v: %d elements, Shapes give %d", c, got, want)
		}
	}
}
