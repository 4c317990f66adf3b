package vulkan

import "mambatrain/autograd/kernel"

// pairHeads is the number of heads per group of threads in ssd_pairs.comp.
const pairHeads = 4

// ssdGrad is the backward pass of [ssd].
type ssdGrad struct {
	*ssd
	g     kernel.SSDGrad[float32]
	dy    kernel.Mat[float32]
	after []float32 // (chunks, heads, p, n): the gradient of the state after each chunk
	pairs []float32 // W of ssd.glsl, as partial sums
	w     []float32 // the sum of pairs
	v     []float32 // V of ssd.glsl, (chunks, heads, ssdChunk, ssdChunk)
	dots  []float32 // (tiles, 4, rows, heads): the dot products of ssd_x_grad.comp
	daLog []float32 // partial gradients of A_log, dt_bias, and D, (chunks, heads)
	dBias []float32
	dSkip []float32
}

// gradScratch returns the sizes of the arrays of ssdGrad, in order.
func (s ssdSizes) gradScratch() []int {
	shares := s.chunks * s.heads
	return []int{
		s.stateSize(), s.blocks() * s.gramSize(), s.gramSize(), shares * ssdChunk * ssdChunk, s.tiles() * 4 * s.rows * s.heads, shares, shares, shares,
	}
}

// blocks returns the number of blocks of heads per group.
func (s ssdSizes) blocks() int { return ceilDiv(s.each, pairHeads) }

// tiles returns the number of tiles of channels per head.
func (s ssdSizes) tiles() int { return ceilDiv(s.p, ssdTile) }

// SSDGrad implements [kernel.Device]. It recomputes the states and does not read saved.
func (d *Device) SSDGrad(k *kernel.SSD[float32], g kernel.SSDGrad[float32], dy kernel.Mat[float32], _, dhOut []float32) {
	b := ssdGrad{g: g, dy: dy}
	var parts [][]float32
	b.ssd, parts = d.newSSD(k, true)
	b.after, b.pairs, b.w, b.v, b.dots, b.daLog, b.dBias, b.dSkip = parts[0], parts[1], parts[2], parts[3], parts[4], parts[5], parts[6], parts[7]
	if b.rows == 0 || d.failing() {
		return
	}
	b.forward(nil)
	b.chunkStates(b.after, dy, k.C, true)
	b.carry(ssdCarry{states: b.after, start: dhOut, end: g.H0, backward: true})
	b.sumPairs()
	b.xGrad()
	b.bcGrad(g.B, g.Fresh.B, true)
	b.bcGrad(g.C, g.Fresh.C, false)
	b.dtGrad()
}

// sumPairs computes W and V.
func (b *ssdGrad) sumPairs() {
	c := b.product("ssd_pairs", pairHeads)
	c.writeVector(b.pairs, b.v)
	c.read(b.dy)
	c.read(b.X)
	c.readVector(b.gram)
	b.run(c, []int{b.p, b.each, b.chunks}, b.blocks(), b.Groups, b.chunks)
	b.partSum(kernel.Dense(b.w, 1, len(b.w)), kernel.Set).add(b.pairs, b.blocks(), len(b.w), 0)
}

// xGrad computes dx and the dot products that dtGrad needs.
func (b *ssdGrad) xGrad() {
	mode := freshMode(b.g.Fresh.X)
	c := b.product("ssd_x_grad")
	c.store(b.g.X, mode)
	c.writeVector(b.dots)
	for _, m := range []kernel.Mat[float32]{b.dy, b.X, b.B, b.C} {
		c.read(m)
	}
	c.readVector(b.gram, b.states, b.after, b.D)
	b.run(c, []int{b.p, b.n, b.each, int(mode)}, b.tiles(), 1, b.chunks*b.heads)
}

// bcGrad computes dB if ofB is set, else dC.
func (b *ssdGrad) bcGrad(d kernel.Mat[float32], fresh, ofB bool) {
	if d.Absent() {
		return
	}
	other, x, states := b.B, b.dy, b.states
	if ofB {
		other, x, states = b.C, b.X, b.after
	}
	mode := freshMode(fresh)
	c := b.product("ssd_bc_grad", uint32(flags(ofB)))
	c.store(d, mode)
	c.readVector(b.w)
	c.read(other)
	c.read(x)
	c.readVector(states)
	b.run(c, []int{b.p, b.n, b.each, int(mode)}, ceilDiv(b.n, ssdTile), b.Groups, b.chunks)
}

// dtGrad computes the gradients of dt, dt_bias, A_log, and D.
func (b *ssdGrad) dtGrad() {
	mode := freshMode(b.g.Fresh.DT)
	c := b.call("ssd_dt_grad")
	c.store(b.g.DT, mode)
	c.writeVector(b.daLog, b.dBias, b.dSkip)
	c.read(b.DT)
	c.readVector(b.DTBias, b.ALog, b.all)
	c.updateVector(b.v)
	c.readVector(b.dots, b.states, b.after, b.delta, b.sum, b.sumLow)
	c.address(b.first)
	c.uints(b.rows, b.heads, b.p*b.n, b.tiles(), int(mode))
	c.floats(b.limits())
	c.run(b.chunks*b.heads, 1, 1)
	b.addParts(b.g.ALog, b.daLog, b.chunks)
	b.addParts(b.g.DTBias, b.dBias, b.chunks)
	b.addParts(b.g.D, b.dSkip, b.chunks)
}
