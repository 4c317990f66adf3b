package vulkan

// Operations of reduce.comp.
const (
	reduceSquares uint32 = iota
	reduceNotFinite
	reducePlain
)

// SumSquares implements [kernel.Device].
func (d *Device) SumSquares(sum, x []float32) { d.reduce(reduceSquares, sum, x) }

// CountNotFinite implements [kernel.Device].
func (d *Device) CountNotFinite(count, x []float32) { d.reduce(reduceNotFinite, count, x) }

// reduceBlock is the number of elements that a group of threads sums. The partial sums are then summed in the same way
// until one is left.
const reduceBlock = 1 << 14

func (d *Device) reduce(operation uint32, dst, x []float32) {
	parts := d.scratchParts(ceilDiv(len(x), reduceBlock), ceilDiv(ceilDiv(len(x), reduceBlock), reduceBlock))
	for i := 0; ; i++ {
		n := ceilDiv(len(x), reduceBlock)
		to := dst[:1]
		if n > 1 {
			to = parts[i%2][:n]
		}
		c := d.call("reduce", operation)
		c.writeVector(to)
		c.readVector(x)
		c.uints(len(x), reduceBlock)
		c.run(max(n, 1), 1, 1)
		if n <= 1 {
			return
		}
		operation, x = reducePlain, to
	}
}
