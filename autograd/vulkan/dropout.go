package vulkan

import "mambatrain/autograd/kernel"

// Drop implements [kernel.Device].
func (d *Device) Drop(y, x kernel.Mat[float32], o kernel.Dropout) {
	numbers := make([]uint32, x.Rows)
	for t := range numbers {
		row := t
		if o.Rows != nil {
			row = o.Rows[t]
		}
		numbers[t] = uint32(o.First + row)
	}
	c := d.call("dropout")
	c.write(y)
	c.read(x)
	c.address(d.argument(numbers))
	c.address(o.Seed)
	c.uints(x.Cols, int(uint32(o.Share*(1<<32))))
	c.floats(float32(1 / (1 - o.Share)))
	c.run(ceilDiv(x.Cols, 64), x.Rows, 1)
}
