package autograd

import "mambatrain/autograd/kernel"

// drop writes x with a share p of its elements set to zero and the others divided by 1−p into y, which may be x. rows are
// the numbers of x's rows in the batch, nil for all of them in turn. Which elements stay depends on the call's seed and
// their place alone, so a replay and the backward pass see the same ones.
func drop[T kernel.Float](c *Call[T], y, x kernel.Mat[T], p float64, rows []int) {
	kernel.Drop(y, x, kernel.Dropout{Seed: c.Seed, Share: p, First: c.FirstRow, Rows: rows})
}
