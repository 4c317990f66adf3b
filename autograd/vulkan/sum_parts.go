package vulkan

import "mambatrain/autograd/kernel"

// partSum adds partial sums that groups computed independently, in ascending order.
type partSum struct {
	d    *Device
	y    kernel.Mat[float32]
	mode kernel.Mode
}

// partSum returns a partSum with destination y.
func (d *Device) partSum(y kernel.Mat[float32], mode kernel.Mode) partSum { return partSum{d, y, mode} }

// add sums the parts of x (parts, rows, width), starting at column from.
func (s partSum) add(x []float32, parts, width, from int) {
	if s.y.Absent() || x == nil {
		return
	}
	rows, cols := s.y.Rows, s.y.Cols
	c := s.d.call("sum_parts")
	c.store(s.y, s.mode)
	c.readVector(x[:parts*rows*width])
	c.uints(rows, cols, parts, width, from, int(s.mode))
	c.run(ceilDiv(rows*cols, 64), 1, 1)
}

// addParts adds the parts of x (parts, len(y)) to y.
func (d *Device) addParts(y, x []float32, parts int) {
	if y != nil {
		d.partSum(kernel.Dense(y, 1, len(y)), kernel.Add).add(x, parts, len(y), 0)
	}
}
