package contenthash_test

import (
	"testing"

	"mambatrain/internal/contenthash"
)

// Caches and checkpoints record these sums, so they must never change.
func TestSum(t *testing.T) {
	const want = "43ee655579de01ca"
	if got := contenthash.Sum([]byte("ab"), []byte("c")); got[:16] != want {
		t.Errorf("got %.16s, want %s", got, want)
	}
	if contenthash.Sum([]byte("a"), []byte("bc")) == contenthash.Sum([]byte("ab"), []byte("c")) {
		t.Error("moving a boundary does not change the sum")
	}
}
