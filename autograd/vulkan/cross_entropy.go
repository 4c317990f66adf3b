package vulkan

import "mambatrain/autograd/kernel"

// CrossEntropy implements [kernel.Device].
func (d *Device) CrossEntropy(l kernel.DeviceLoss) {
	rows := l.Logits.Rows
	c := d.call("cross_entropy")
	c.writeVector(l.NLL[:rows], l.Hits)
	c.write(l.DLogits)
	c.read(l.Logits)
	c.address(d.integers(l.Targets))
	c.uints(l.Logits.Cols)
	c.floats(l.Scale, float32(l.Smoothing))
	c.run(rows, 1, 1)
}
