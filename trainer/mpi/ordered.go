package mpi

import (
	"mambatrain/autograd/kernel"
	"mambatrain/trainer"
)

// AllReduce replaces x with its sum over all ranks, in buckets: one call for 520 MB takes several times as long as 130
// calls for 4 MB.
func (c *Comm) AllReduce(x []float32) error {
	reduce := c.reduceOrdered
	if c.config.Native {
		reduce = c.reduceNative
	}
	return c.do(request{name: "all-reduce", run: func() error {
		bucket := c.config.BucketBytes / 4
		for len(x) > 0 {
			n := min(len(x), bucket)
			if err := reduce(x[:n]); err != nil {
				return err
			}
			x = x[n:]
		}
		return nil
	}})
}

func (c *Comm) reduceNative(x []float32) error {
	c.recv = grow(c.recv, len(x))
	if err := c.lib.sumFloat32s(c.recv, x); err != nil {
		return err
	}
	copy(x, c.recv)
	return nil
}

// reduceOrdered sends each rank one part of x from all ranks to sum, then sends the sums to all ranks. The data sent is
// the same as in a ring: 2·(P−1)/P of x for each of P ranks.
func (c *Comm) reduceOrdered(x []float32) error {
	sum, padded, err := c.scatter(x, (len(x)+c.size-1)/c.size)
	if err != nil {
		return err
	}
	if err := c.lib.allGather(padded, sum); err != nil {
		return err
	}
	if len(padded) > len(x) {
		copy(x, padded)
	}
	return nil
}

// scatter divides x into one part of the given length per rank. It returns the ordered sum of this rank's part and x
// padded to the total length of the parts; padded is x itself if no padding is needed.
func (c *Comm) scatter(x []float32, part int) (sum, padded []float32, err error) {
	padded = x
	if part*c.size > len(x) {
		c.pad = grow(c.pad, part*c.size)
		padded = c.pad
		clear(padded[copy(padded, x):])
	}
	c.recv = grow(c.recv, part*c.size)
	if err := c.lib.allToAll(c.recv, padded); err != nil {
		return nil, nil, err
	}
	addTree(c.recv, part)
	return c.recv[:part], padded, nil
}

// addTree sums the parts of x, each of the given length, into the first part: neighbors, then sums of neighbors, and so
// on. A group of 2, 4, 8 … parts that starts at a multiple of its size is a subtree. A rank that has summed such a
// group (its virtual shards) continues the same tree with the other ranks.
func addTree(x []float32, part int) {
	for step := part; step < len(x); step *= 2 {
		for at := 0; at+step < len(x); at += 2 * step {
			kernel.AddTo(x[at:at+part], x[at+step:at+step+part])
		}
	}
}

// ReduceScatter stores the ordered sum over all ranks in this rank's share of x; see [trainer.Share]. The other
// elements of x are unchanged.
func (c *Comm) ReduceScatter(x []float32) error {
	if len(x) == 0 {
		return nil
	}
	return c.do(request{name: "reduce-scatter", run: func() error {
		sum, _, err := c.scatter(x, trainer.SharePart(len(x), c.size))
		if err != nil {
			return err
		}
		lo, hi := trainer.Share(len(x), c.rank, c.size)
		copy(x[lo:hi], sum)
		return nil
	}})
}

// AllGather fills x with the shares of all ranks; see [trainer.Share].
func (c *Comm) AllGather(x []float32) error {
	if len(x) == 0 {
		return nil
	}
	return c.do(request{name: "all-gather", run: func() error {
		part := trainer.SharePart(len(x), c.size)
		lo, hi := trainer.Share(len(x), c.rank, c.size)
		c.pad = grow(c.pad, part)
		clear(c.pad[copy(c.pad, x[lo:hi]):])
		if part*c.size == len(x) {
			return c.lib.allGather(x, c.pad)
		}
		c.recv = grow(c.recv, part*c.size)
		if err := c.lib.allGather(c.recv, c.pad); err != nil {
			return err
		}
		copy(x, c.recv)
		return nil
	}})
}

// grow returns a slice of n elements, reusing x if its capacity suffices.
func grow(x []float32, n int) []float32 {
	if cap(x) < n {
		return make([]float32, n)
	}
	return x[:n]
}
