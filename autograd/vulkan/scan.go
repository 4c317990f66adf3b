package vulkan

import "mambatrain/autograd/kernel"

const (
	// scanChunk is CHUNK in scan.glsl. It is the same as in package kernel, because saved has room for one state before
	// each chunk.
	scanChunk = 64
	// scanRows is ROWS in scan_grad.comp.
	scanRows = 8
	// maxScanStates is the maximum number of states per channel. Each thread has a quarter of them in registers.
	maxScanStates = 64
)

// scan is a selective scan on the device.
type scan struct {
	*Device
	*kernel.Scan[float32]
	scanSizes
	first uint64
}

type scanSizes struct {
	rows, d, n       int
	chunks, channels int // channels per group of threads
}

func sizesOfScan(rows, d, n int) scanSizes {
	// A group's contributions to dB and dC must fit into shared memory.
	channels := max(1, min(16, sharedMemory/(4*scanRows*2*n)))
	return scanSizes{rows, d, n, ceilDiv(rows, scanChunk), channels}
}

// scratch returns the sizes of Scan's arrays: each chunk's sums of Δ, and its states.
func (s scanSizes) scratch() []int { return []int{s.chunks * s.d, s.stateSize()} }

// gradScratch returns the sizes of ScanGrad's arrays: each chunk's sums of Δ, the gradients of the states after each
// chunk, the contributions of groups to dB and dC, and those of chunks to dA and dD.
func (s scanSizes) gradScratch() []int {
	return []int{s.chunks * s.d, s.stateSize(), s.blocks() * s.rows * 2 * s.n, s.stateSize(), s.chunks * s.d}
}

// stateSize returns the number of elements of the states of all chunks.
func (s scanSizes) stateSize() int { return s.chunks * s.d * s.n }

// blocks returns the number of groups of threads that share a chunk.
func (s scanSizes) blocks() int { return ceilDiv(s.d, s.channels) }

func (d *Device) scan(s *kernel.Scan[float32]) scan {
	return scan{d, s, sizesOfScan(s.U.Rows, s.U.Cols, s.B.Cols), d.firstRows(s.First, s.U.Rows)}
}

// call begins a dispatch in which four threads share a channel.
func (s *scan) call(shader string) *call {
	return s.Device.call(shader, uint32(s.n), uint32(s.channels), uint32(4*s.channels))
}

// run records one group for each chunk and each s.channels channels.
func (s *scan) run(c *call) {
	c.address(s.first)
	c.uints(s.rows, s.d)
	c.run(s.blocks(), s.chunks, 1)
}

// Scan implements [kernel.Device].
func (d *Device) Scan(k *kernel.Scan[float32], y kernel.Mat[float32], saved, hOut []float32) {
	s := d.scan(k)
	parts := d.scratchParts(s.scratch()...)
	sums, states := parts[0], parts[1]
	if saved != nil {
		states = saved[:s.stateSize()]
	}
	if s.rows == 0 || d.failing() {
		return
	}
	c := s.call("scan_chunk")
	c.read(k.U)
	c.read(k.DT)
	c.read(k.B)
	c.readVector(k.ALog)
	c.writeVector(states, sums)
	s.run(c)
	s.carry(scanCarry{states: states, sums: sums, start: stateBefore(k.First, k.H0), end: hOut})
	c = s.call("scan_out")
	c.write(y)
	s.readInputs(c)
	c.readVector(k.ALog, k.D, states)
	s.run(c)
}

// readInputs adds the matrices that the scan reads.
func (s *scan) readInputs(c *call) {
	for _, m := range []kernel.Mat[float32]{s.U, s.DT, s.B, s.C, s.Z} {
		c.read(m)
	}
}

// scanCarry are the operands of scan_carry.comp.
type scanCarry struct {
	states, sums, start, end []float32
	backward                 bool // from the last chunk to the first, adding to end
}

func (s *scan) carry(o scanCarry) {
	c := s.Device.call("scan_carry", uint32(s.n), uint32(flags(o.backward)))
	c.updateVector(o.states)
	c.readVector(o.sums, s.ALog, o.start)
	mode := kernel.Set
	if o.backward {
		mode = kernel.Add
		c.updateVector(o.end)
	} else {
		c.writeVector(o.end)
	}
	c.uints(s.chunks, s.d, int(mode))
	c.run(ceilDiv(s.d*s.n, 64), 1, 1)
}

// stateBefore returns the state that row 0 starts from, or nil for zeros. If a document starts there, h0 is the state of
// another document. It may not be finite, so multiplying it by zero is not enough.
func stateBefore(first []int, h0 []float32) []float32 {
	if first == nil || first[0] >= 0 {
		return nil
	}
	return h0
}

// ScanGrad implements [kernel.Device].
func (d *Device) ScanGrad(k *kernel.Scan[float32], g kernel.ScanGrad[float32], dy kernel.Mat[float32], saved, dhOut []float32) {
	s := d.scan(k)
	parts := d.scratchParts(s.gradScratch()...)
	if s.rows == 0 || d.failing() {
		return
	}
	sums, after, part, da, dskip := parts[0], parts[1], parts[2], parts[3], parts[4]
	if g.ALog == nil {
		da = nil
	}
	if g.D == nil {
		dskip = nil
	}
	s.chunkGrads(dy, after, sums)
	s.carry(scanCarry{states: after, sums: sums, start: dhOut, end: g.H0, backward: true})
	c := s.call("scan_grad")
	c.indirect = true
	s.readInputs(c)
	c.readVector(k.ALog, k.D, saved[:s.stateSize()], after)
	c.read(dy)
	modes := [3]kernel.Mode{freshMode(g.Fresh.U), freshMode(g.Fresh.DT), freshMode(g.Fresh.Z)}
	for i, m := range []kernel.Mat[float32]{g.U, g.DT, g.Z} {
		c.store(m, modes[i])
	}
	c.writeVector(part, da, dskip)
	c.address(s.first)
	c.uints(s.rows, s.d, int(modes[0]), int(modes[1]), int(modes[2]))
	c.run(s.blocks(), s.chunks, 1)
	d.partSum(g.B, kernel.Add).add(part, s.blocks(), 2*s.n, 0)
	d.partSum(g.C, kernel.Add).add(part, s.blocks(), 2*s.n, s.n)
	d.addParts(g.ALog, da, s.chunks)
	d.addParts(g.D, dskip, s.chunks)
}

// chunkGrads computes the gradient that each chunk passes to the previous one.
func (s *scan) chunkGrads(dy kernel.Mat[float32], after, sums []float32) {
	c := s.call("scan_chunk_grad")
	c.read(dy)
	c.read(s.DT)
	c.read(s.C)
	c.read(s.Z)
	c.readVector(s.ALog)
	c.writeVector(after, sums)
	s.run(c)
}

// freshMode returns Set for a gradient that has not been written yet, else Add.
func freshMode(fresh bool) kernel.Mode {
	if fresh {
		return kernel.Set
	}
	return kernel.Add
}
