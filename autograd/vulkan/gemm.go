package vulkan

import "mambatrain/autograd/kernel"

// tile is the part of a product that one group of threads computes: rows × cols elements, with depth terms of the sum
// per step, and threadRows × threadCols elements per thread.
type tile struct{ rows, cols, depth, threadRows, threadCols int }

var (
	largeTile  = tile{128, 128, 8, 8, 8}
	squareTile = tile{64, 64, 16, 4, 4}
	tallTile   = tile{64, 16, 16, 4, 4} // for few columns, such as an adapter's rank
	wideTile   = tile{16, 64, 16, 4, 4}
)

func (t tile) threads() int { return t.rows / t.threadRows * (t.cols / t.threadCols) }

func (t tile) count(m, n int) int { return ceilDiv(m, t.rows) * ceilDiv(n, t.cols) }

// unrolled returns the number of steps that shaders unroll for a tile. Software devices take long to compile many.
func (d *Device) unrolled(depth int) uint32 {
	if d.quickCompile {
		return 1
	}
	return uint32(depth)
}

// manyTiles is enough tiles to fill most devices.
const manyTiles = 160

// tileFor selects the tile for an (m, n) result. Software devices take long to compile the large one.
func (d *Device) tileFor(m, n int) tile {
	switch {
	case n <= 16:
		return tallTile
	case m <= 16:
		return wideTile
	case !d.quickCompile && largeTile.count(m, n) >= manyTiles:
		return largeTile
	}
	return squareTile
}

const (
	// splitDepth is the minimum number of terms in each part of a split sum.
	splitDepth = 256
	// splitTiles is the desired number of tiles, including parts. A result with fewer tiles is split into parts.
	splitTiles = 128
	// splitScratch is the maximum number of elements of all parts.
	splitScratch = splitTiles * 64 * 64
)

// parts returns the number of parts of a sum with k terms, given the number of tiles of the result. It depends on the
// shape alone.
func parts(tiles, k int) int { return max(1, min(splitTiles/tiles, k/splitDepth)) }

// Multiply implements [kernel.Device].
func (d *Device) Multiply(p kernel.DeviceProduct) {
	k := p.A.Cols
	if p.TransposeA {
		k = p.A.Rows
	}
	if p.C.Rows == 0 || p.C.Cols == 0 {
		return
	}
	if n := parts(d.tileFor(p.C.Rows, p.C.Cols).count(p.C.Rows, p.C.Cols), k); n > 1 && p.Bias == nil && p.A2.Absent() {
		d.multiplyParts(p, k, n)
		return
	}
	d.multiply(p, k, k)
}

// multiplyParts splits the sum into n parts, for results too small to fill a device.
func (d *Device) multiplyParts(p kernel.DeviceProduct, k, n int) {
	rows, cols := p.C.Rows, p.C.Cols
	part := ceilDiv(k, n)
	n = ceilDiv(k, part)
	all := d.scratchFor(n * rows * cols)
	if all == nil {
		return
	}
	sum := d.partSum(p.C, p.Mode)
	p.C, p.Mode = kernel.Dense(all, n*rows, cols), kernel.Set
	d.multiply(p, k, part)
	sum.add(all, n, cols, 0)
}

// multiply records a product of k terms. If part is less than k, C receives the partial sums, one after the other.
func (d *Device) multiply(p kernel.DeviceProduct, k, part int) {
	n, groups := p.C.Cols, max(1, ceilDiv(k, max(part, 1)))
	m := p.C.Rows / groups
	k2 := p.A2.Cols
	if p.TransposeA {
		k2 = p.A2.Rows
	}
	t := d.tileFor(m, n)
	c := d.call("gemm", uint32(t.rows), uint32(t.cols), uint32(t.depth), uint32(t.threadRows), uint32(t.threadCols),
		uint32(flags(p.TransposeA)), uint32(flags(p.TransposeB)), uint32(flags(p.BF16)), d.unrolled(t.depth), uint32(t.threads()))
	c.store(p.C, p.Mode)
	c.read(p.A)
	c.readHalf(p.B, p.BF16)
	c.read(p.A2)
	c.read(p.B2)
	c.readVector(p.Bias)
	c.uints(m, n, k, k2, part, int(p.Mode))
	c.floats(p.Alpha, p.Alpha2)
	c.work = 2 * float64(m) * float64(n) * float64(k+k2)
	c.run(ceilDiv(n, t.cols), ceilDiv(m, t.rows), groups)
}

// readHalf is read for a matrix that may be bfloat16, in which case it has half as many elements.
func (c *call) readHalf(m kernel.Mat[float32], bf16 bool) {
	if !bf16 {
		c.read(m)
		return
	}
	c.readVector(m.Data[:ceilDiv((m.Rows-1)*m.Stride+m.Cols, 2)])
	c.strides = append(c.strides, uint32(m.Stride))
}
