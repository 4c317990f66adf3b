//go:build unix

package mamba

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"mambatrain/internal/mappedfile"
)

// TestLoad_shorterFile: a file of blocks that loses its contents while the model is in use is a panic of the goroutine that computes,
// whichever thread met it, and is explained.
func TestLoad_shorterFile(t *testing.T) {
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
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	for _, rows := range []int{1, 300} { // blocks are multiplied, and dequantized
		func() {
			defer func() {
				if err := mappedfile.Explain(recover()); err == nil || !strings.Contains(err.Error(), "x.gguf: became shorter") {
					t.Errorf("%d rows: got %v", rows, err)
				}
			}()
			_, err := m.Run(ctx, Input{IDs: [][]int{make([]int, rows)}}, Want{Logits: AllPositions})
			t.Errorf("%d rows: the model still computes: %v", rows, err)
		}()
	}
}
