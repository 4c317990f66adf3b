//go:build unix

package mamba

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	ag "mambatrain/autograd"
	"mambatrain/autograd/kernel"
	"mambatrain/internal/mappedfile"
)

// TestLoad_shorterFile checks that truncating a file of blocks while the model is in use causes a panic with an
// explanation in the goroutine that called the model, whichever thread hit the fault.
func TestLoad_shorterFile(t *testing.T) {
	m := shrunk(t)
	for _, rows := range []int{1, 300} { // one row multiplies the blocks, 300 rows dequantize them
		wantShrunk(t, func() error {
			_, err := m.Run(ctx, Input{IDs: [][]int{make([]int, rows)}}, Want{Logits: AllPositions})
			return err
		})
	}
}

// TestProgram_shorterFile checks the same of programs, which run their ops on another goroutine.
func TestProgram_shorterFile(t *testing.T) {
	m := shrunk(t)
	if err := m.NormF.Weight.Train(); err != nil {
		t.Fatal(err)
	}
	g := ag.NewGraph(ag.Options{Rows: 300})
	program, err := g.Compile(m.Loss(g))
	if err != nil {
		t.Fatal(err)
	}
	defer kernel.SetThreads(kernel.Threads())
	for _, threads := range []int{1, 4} {
		kernel.SetThreads(threads)
		for _, rows := range []int{2, 300} {
			ids := make([]int, rows)
			b := ag.Batch{Tokens: ids, Labels: ids, Starts: []int{0}}
			wantShrunk(t, func() error {
				_, err := program.Eval(ctx, b)
				return err
			})
			wantShrunk(t, func() error {
				_, err := program.Step(ctx, ag.Step{Batch: b, Scale: 1})
				return err
			})
		}
	}
}

// shrunk returns a model whose weights are in a file that has been truncated.
func shrunk(t *testing.T) *Model {
	t.Helper()
	whole, err := os.ReadFile("testdata/gguf/mamba2/Q4_K_M.gguf")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.gguf")
	if err := os.WriteFile(path, whole, 0o666); err != nil {
		t.Fatal(err)
	}
	m := loadFile(t, path)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	return m
}

// wantShrunk fails the test unless run panics with a fault that is explained by the truncated file.
func wantShrunk(t *testing.T, run func() error) {
	t.Helper()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		t.Helper()
		r := recover()
		if err := mappedfile.Explain(r); err == nil || !strings.Contains(err.Error(), "x.gguf: the file shrank") {
			t.Errorf("got the panic %v, explained by %v", r, err)
		}
	}()
	t.Errorf("the model still computes: %v", run())
}
