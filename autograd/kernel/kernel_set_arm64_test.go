package kernel

import "testing"

func TestBlocksFor(t *testing.T) {
	for _, c := range []struct {
		l1, l2       int
		steps, share int
	}{
		{64 << 10, 1 << 20, 256, 192 * 256},
		{0, 0, 256, 192 * 256},
		{32 << 10, 256 << 10, 128, 192 * 64},
		{128 << 10, 3 << 20, kBlock, 3 * 192 * 256},
		{8 << 10, 4 << 10, 4 * stepUnit, 4 * stepUnit * neonHeight},
	} {
		got := blocksFor(Processor{L1: c.l1, L2: c.l2})
		if want := (productBlocks{c.steps, c.steps, c.share, c.share}); got != want {
			t.Errorf("caches of %d and %d bytes: got %+v, want %+v", c.l1, c.l2, got, want)
		}
	}
}
