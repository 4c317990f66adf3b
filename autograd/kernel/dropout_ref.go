package kernel

import "mambatrain/internal/splitmix"

// dropRef writes x, row number row, to y without the elements that d drops.
func dropRef[T Float](y, x []T, d Dropout, row int) {
	keep := T(1 / (1 - d.Share))
	limit := uint64(d.Share * (1 << 32))
	place := uint64(row * len(x))
	for i, v := range x {
		if splitmix.Derive(d.Seed, place+uint64(i))>>32 < limit {
			v = 0
		}
		y[i] = v * keep
	}
}
