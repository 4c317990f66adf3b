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

// TestLoad_shorterFile checks that truncating a file of blocks while the model is in use causes a panic with an
// explanation in the goroutine that called the model, whichever thread hit the fault.
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
	for _, rows := range []int{1, 300} { // one row multiplies the blocks, 300 rows dequantize them
		func() {
			defer func() {
				if err := mappedfile.Explain(recover()); err == nil || !strings.Contains(err.Error(), "x.gguf: the file shrank") {
					t.Errorf("%d rows: got %v", rows, err)
				}
			}()
			_, err := m.Run(ctx, Input{IDs: [][]int{make([]int, rows)}}, Want{Logits: AllPositions})
			t.Errorf("%d rows: the model still computes: %v", rows, err)
		}()
	}
}
