package vulkan

import (
	"math"

	"mambatrain/autograd/kernel"
)

// ssdChunk is CHUNK in ssd.glsl. It is shorter than a chunk in package kernel, because the backward pass recomputes the
// states.
const ssdChunk = 64

// The tiles in ssd_tile.glsl.
const (
	ssdTile      = 64 // rows and columns
	ssdTileDepth = 16
)

// ssd runs one state space duality (SSD) layer on the device.
type ssd struct {
	*Device
	*kernel.SSD[float32]
	ssdSizes
	first              uint64
	delta, sum, sumLow []float32 // Δ and s of ssd.glsl, (rows, heads)
	all                []float32 // (chunks, heads)
	gram               []float32 // (chunks, groups, ssdChunk, ssdChunk)
	states             []float32 // (chunks, heads, p, n): the state before each chunk
}

type ssdSizes struct {
	rows, heads, p, n, groups int
	chunks, each              int // heads per group
}

func sizesOfSSD(rows, heads, p, n, groups int) ssdSizes {
	return ssdSizes{rows, heads, p, n, groups, ceilDiv(rows, ssdChunk), heads / groups}
}

// newSSD allocates the memory that forward and backward share and, if backward is set, that of the backward pass, which
// it returns.
func (d *Device) newSSD(k *kernel.SSD[float32], backward bool) (*ssd, [][]float32) {
	heads := k.DT.Cols
	z := sizesOfSSD(k.X.Rows, heads, k.X.Cols/heads, k.B.Cols/k.Groups, k.Groups)
	s := &ssd{Device: d, SSD: k, ssdSizes: z, first: d.firstRows(k.First, k.X.Rows)}
	sizes := z.scratch()
	common := len(sizes)
	if backward {
		sizes = append(sizes, z.gradScratch()...)
	}
	parts := d.scratchParts(sizes...)
	s.delta, s.sum, s.sumLow, s.all, s.gram, s.states = parts[0], parts[1], parts[2], parts[3], parts[4], parts[5]
	return s, parts[common:]
}

// scratch returns the sizes of the arrays of ssd, in order.
func (s ssdSizes) scratch() []int {
	perRow := s.rows * s.heads
	return []int{perRow, perRow, perRow, s.chunks * s.heads, s.gramSize(), s.stateSize()}
}

// stateSize returns the number of elements of the states of all chunks.
func (s ssdSizes) stateSize() int { return s.chunks * s.heads * s.p * s.n }

// gramSize returns the number of elements of gram.
func (s ssdSizes) gramSize() int { return s.chunks * s.groups * ssdChunk * ssdChunk }

// SSD implements [kernel.Device]. It does not use saved.
func (d *Device) SSD(k *kernel.SSD[float32], y kernel.Mat[float32], _, hOut []float32) {
	s, _ := d.newSSD(k, false)
	if s.rows == 0 || d.failing() {
		return
	}
	s.forward(hOut)
	c := s.product("ssd_out")
	c.write(y)
	c.read(k.X)
	c.read(k.C)
	c.readVector(s.gram, s.states, k.D)
	s.run(c, []int{s.p, s.n, s.each}, ceilDiv(s.p, ssdTile), 1, s.chunks*s.heads)
}

// forward computes everything that y and the backward pass depend on.
func (s *ssd) forward(hOut []float32) {
	s.decays()
	s.grams()
	s.chunkStates(s.states, s.X, s.B, false)
	s.carry(ssdCarry{states: s.states, start: stateBefore(s.First, s.H0), end: hOut})
}

// call begins a dispatch whose arguments are in memory: the fields of g in the shader.
func (s *ssd) call(shader string) *call {
	c := s.Device.call(shader)
	c.indirect = true
	return c
}

// product begins a dispatch of a shader that uses ssd_tile.glsl.
func (s *ssd) product(shader string, constants ...uint32) *call {
	c := s.Device.call(shader, append([]uint32{s.unrolled(ssdTileDepth)}, constants...)...)
	c.indirect = true
	return c
}

// run adds the final arguments of all shaders that use ssd.glsl, and records the groups.
func (s *ssd) run(c *call, sizes []int, x, y, z int) {
	c.readVector(s.delta)
	s.runWithoutDelta(c, sizes, x, y, z)
}

func (s *ssd) runWithoutDelta(c *call, sizes []int, x, y, z int) {
	c.readVector(s.sum, s.sumLow)
	c.address(s.first)
	c.uints(s.rows, s.heads)
	c.uints(sizes...)
	c.run(x, y, z)
}

// limits returns the limits of Δ as finite numbers, because shaders may be compiled without support for infinity.
func (s *ssd) limits() (lowest, highest float32) {
	return float32(s.Limit[0]), float32(min(s.Limit[1], math.MaxFloat32))
}

func (s *ssd) decays() {
	c := s.call("ssd_decay")
	c.writeVector(s.delta, s.sum, s.sumLow, s.all)
	c.read(s.DT)
	c.readVector(s.DTBias, s.ALog)
	c.address(s.first)
	c.uints(s.rows, s.heads)
	c.floats(s.limits())
	c.run(ceilDiv(s.chunks*s.heads, 64), 1, 1)
}

func (s *ssd) grams() {
	c := s.product("ssd_gram")
	c.writeVector(s.gram)
	c.read(s.B)
	c.read(s.C)
	s.runWithoutDelta(c, []int{s.n, s.Groups}, 1, s.Groups, s.chunks)
}

// chunkStates computes the state after each chunk, starting from zero. In the backward pass it computes the gradient of
// the state before each chunk, from a gradient of zero after it.
func (s *ssd) chunkStates(states []float32, x, b kernel.Mat[float32], backward bool) {
	c := s.product("ssd_state", uint32(flags(backward)))
	c.writeVector(states)
	c.read(x)
	c.read(b)
	s.run(c, []int{s.p, s.n, s.each}, ceilDiv(s.n, ssdTile), ceilDiv(s.p, ssdTile), s.chunks*s.heads)
}

// ssdCarry are the operands of ssd_carry.comp.
type ssdCarry struct {
	states, start, end []float32
	backward           bool // from the last chunk to the first, adding to end
}

func (s *ssd) carry(o ssdCarry) {
	c := s.Device.call("ssd_carry", uint32(flags(o.backward)))
	c.updateVector(o.states)
	c.readVector(s.all, o.start)
	mode := kernel.Set
	if o.backward {
		mode = kernel.Add
		c.updateVector(o.end)
	} else {
		c.writeVector(o.end)
	}
	c.uints(s.chunks, s.heads, s.p*s.n, int(mode))
	c.run(ceilDiv(s.heads*s.p*s.n, 64), 1, 1)
}
