package autograd_test

import (
	"context"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	ag "mambatrain/autograd"
	"mambatrain/autograd/gradtest"
)

// Each test in this file guards against a property of Gorgonia that would silently give wrong numbers.

// param returns a trainable float32 parameter with fixed pseudorandom values.
func param(t *testing.T, name string, seed uint64, shape ...int) *ag.Param {
	t.Helper()
	p := ag.Zeros(name, shape...)
	rng := rand.New(rand.NewPCG(seed, 2))
	for i := range p.Float32s() {
		p.Float32s()[i] = float32(0.4 * rng.NormFloat64())
	}
	if err := p.Train(); err != nil {
		t.Fatal(err)
	}
	return p
}

func step(t *testing.T, p *ag.Program, b ag.Batch) ag.Loss {
	t.Helper()
	l, err := p.Step(context.Background(), ag.Step{Batch: b, Scale: 1, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func batch(lengths ...int) ag.Batch { return gradtest.Batch(lengths, 11, rand.New(rand.NewPCG(9, 9))) }

func compile(t *testing.T, g *ag.Graph, loss ag.Var, keep ...ag.Var) *ag.Program {
	t.Helper()
	p, err := g.Compile(loss, keep...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Gorgonia merges equal ops on equal inputs unless their hashes differ. Two dropouts must stay separate.
func TestEqualOpsStaySeparate(t *testing.T) {
	table, w, a, b := param(t, "table", 1, 11, 8), param(t, "w", 2, 8, 8), param(t, "a", 3, 2, 8), param(t, "b", 4, 8, 2)
	g := ag.NewGraph(ag.Options{Rows: 9})
	x := lookup(g, g.Param(table))
	branch := func() ag.Var {
		return ag.Linear(x, g.Param(w), ag.Var{}, ag.LowRank{A: g.Param(a), B: g.Param(b), Scale: 1, Dropout: 0.5})
	}
	y, z := branch(), branch()
	prog := compile(t, g, ag.CrossEntropy(ag.Add(y, z), g.Param(table), ag.LowRank{}, ag.LossOptions{}), y, z)
	step(t, prog, batch(9))
	first, second := prog.Float32s(y), prog.Float32s(z)
	for i := range first {
		if first[i] != second[i] {
			return
		}
	}
	t.Fatal("two dropouts drew the same mask: their nodes were merged")
}

// Gorgonia also merges inputs with the same name and shape.
func TestEqualNamesStaySeparate(t *testing.T) {
	table, one, two := param(t, "table", 1, 11, 4), param(t, "w", 2, 4), param(t, "w", 3, 4)
	g := ag.NewGraph(ag.Options{Rows: 5})
	x := lookup(g, g.Param(table))
	y, z := ag.RMSNorm(x, g.Param(one), 1e-5), ag.RMSNorm(x, g.Param(two), 1e-5)
	prog := compile(t, g, ag.Var{}, y, z)
	if _, err := prog.Eval(context.Background(), batch(5)); err != nil {
		t.Fatal(err)
	}
	if prog.Float32s(y)[0] == prog.Float32s(z)[0] {
		t.Fatal("two parameters named w became one input")
	}
}

// Gorgonia's Add writes to its first operand, which must never be a parameter, its gradient, or a value that is read
// later.
func TestValuesSurviveRun(t *testing.T) {
	table := param(t, "table", 1, 11, 4)
	before := append([]float32(nil), table.Float32s()...)
	g := ag.NewGraph(ag.Options{Rows: 8})
	x := lookup(g, g.Param(table))
	y := ag.Add(ag.Columns(x, 0, 4), ag.Columns(x, 0, 4))
	prog := compile(t, g, ag.CrossEntropy(y, g.Param(table), ag.LowRank{}, ag.LossOptions{}), x)
	b := batch(5, 3)
	step(t, prog, b)
	once := append([]float32(nil), table.GradFloat32s()...)
	step(t, prog, b)
	for i, v := range table.GradFloat32s() {
		if math.Abs(float64(v-2*once[i])) > roundTolerance {
			t.Fatalf("gradient %d after two runs is %v, want twice %v", i, v, once[i])
		}
		if table.Float32s()[i] != before[i] {
			t.Fatalf("a run changed parameter element %d", i)
		}
	}
	if _, err := prog.Eval(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	for r, id := range b.Tokens {
		for j := range 4 {
			if prog.Float32s(x)[r*4+j] != before[id*4+j] {
				t.Fatalf("kept value changed in row %d", r)
			}
		}
	}
}

// Without Reset the machine silently does nothing on the second run.
func TestSecondRunSeesNewWeights(t *testing.T) {
	table := param(t, "table", 1, 11, 4)
	g := ag.NewGraph(ag.Options{Rows: 5})
	prog := compile(t, g, ag.CrossEntropy(lookup(g, g.Param(table)), g.Param(table), ag.LowRank{}, ag.LossOptions{}))
	a := step(t, prog, batch(5)).Sum
	for i := range table.Float32s() {
		table.Float32s()[i] *= 2
	}
	if b := step(t, prog, batch(5)).Sum; a == b {
		t.Fatal("the second run did not compute")
	}
}

type panics[T float32 | float64] struct{}

func (panics[T]) Name() string                    { return "panics" }
func (panics[T]) Shape(in [][]int) ([]int, error) { return in[0], nil }
func (panics[T]) Forward(c *ag.Call[T])           { _ = c.In[0].Data[len(c.In[0].Data)] }
func (panics[T]) Backward(*ag.Call[T])            {}

// Gorgonia runs ops on a separate goroutine, where a panic would kill the process.
func TestPanicBecomesError(t *testing.T) {
	table := param(t, "table", 1, 11, 4)
	g := ag.NewGraph(ag.Options{Rows: 5})
	y := ag.Apply(panics[float32]{}, panics[float64]{}, lookup(g, g.Param(table)))
	_, err := compile(t, g, ag.Var{}, y).Eval(context.Background(), batch(5))
	if err == nil || !strings.Contains(err.Error(), "panics") {
		t.Fatalf("got error %v, want one that names the op", err)
	}
}

// A failed run must leave the program usable and must not leak goroutines.
func TestRunAfterError(t *testing.T) {
	table := param(t, "table", 1, 11, 4)
	g := ag.NewGraph(ag.Options{Rows: 5})
	prog := compile(t, g, ag.CrossEntropy(lookup(g, g.Param(table)), g.Param(table), ag.LowRank{}, ag.LossOptions{}))
	good, bad := batch(5), batch(5)
	bad.Tokens[3] = 11
	want := step(t, prog, good).Sum
	before := runtime.NumGoroutine()
	for range 20 {
		_, err := prog.Step(context.Background(), ag.Step{Batch: bad, Scale: 1})
		if err == nil || !strings.Contains(err.Error(), "token id 11 in row 3 is outside the vocabulary of 11") {
			t.Fatalf("got error %v", err)
		}
	}
	if got := step(t, prog, good).Sum; got != want {
		t.Fatalf("after errors the loss is %v, before it was %v", got, want)
	}
	for runtime.NumGoroutine() > before+2 { // never ends if goroutines leak
		time.Sleep(time.Millisecond)
	}
}

// Programs that share weights may run concurrently.
func TestProgramsShareWeights(t *testing.T) {
	build, shapes := model(modelOptions{})
	var params []*ag.Param
	for i, s := range shapes {
		p := param(t, "p", uint64(i), s...)
		p.Freeze()
		params = append(params, p)
	}
	b := batch(7, 4)
	losses := make([]float64, 4)
	var wg sync.WaitGroup
	for k := range losses {
		wg.Go(func() {
			g := ag.NewGraph(ag.Options{Rows: 16})
			var vars []ag.Var
			for _, p := range params {
				vars = append(vars, g.Param(p))
			}
			prog, err := g.Compile(build(g, vars))
			if err != nil {
				t.Error(err)
				return
			}
			for range 5 {
				l, err := prog.Eval(context.Background(), b)
				if err != nil {
					t.Error(err)
				}
				losses[k] = l.Sum
			}
		})
	}
	wg.Wait()
	for _, l := range losses {
		if l != losses[0] {
			t.Fatalf("losses differ: %v", losses)
		}
	}
}

// Features of Gorgonia that must not be used, with the reason.
var banned = map[string]string{
	"NewLispMachine(":   "yields zero gradients for ops that are only SDOps",
	"NewAdamW(":         "never changes the weights",
	"NewAdamSolver(":    "couples weight decay and allocates four times the parameters a step",
	"BindDualValues(":   "doubles gradient memory",
	"TraceExec(":        "copies every value",
	".UnbindAll(":       "returns shared weights to a pool",
	".RemoveNode(":      "breaks lookup by id",
	"GlorotN(":          "is seeded with the time",
	"gorgonia.Gaussian": "is seeded with the time",
	"G.Mul(":            "transposes shared weights in place",
}

func TestBannedFeaturesAreNotUsed(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for name, why := range banned {
			if strings.Contains(string(text), name) {
				t.Errorf("%s uses %s, which %s", f, name, why)
			}
		}
	}
}
