package autograd

import "mambatrain/autograd/kernel"

// drop writes x to y, which may be x, with a fraction p of its elements set to zero and the others divided by 1−p. rows
// are the row numbers of x in the batch; nil means 0, 1, 2, and so on. The choice depends only on the call's seed and an
// element's position, so a replay and the backward pass drop the same elements.
func drop[T kernel.Float](c *Call[T], y, x kernel.Mat[T], p float64, rows []int) {
	kernel.Drop(y, x, kernel.Dropout{Seed: c.Seed, Share: p, First: c.FirstRow, Rows: rows})
}
