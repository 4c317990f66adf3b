package vulkan

import "mambatrain/autograd/kernel"

// GatedNorm implements [kernel.Device].
func (d *Device) GatedNorm(n *kernel.GatedNorm[float32], o kernel.Mat[float32]) {
	c := d.call("gated_norm")
	c.write(o)
	c.read(n.Y)
	c.read(n.Z)
	c.readVector(n.W)
	c.uints(n.Y.Cols / n.Groups)
	c.floats(float32(n.Eps))
	c.run(n.Y.Rows, n.Groups, 1)
}

// GatedNormGrad implements [kernel.Device].
func (d *Device) GatedNormGrad(n *kernel.GatedNorm[float32], g kernel.GatedNormGrad[float32], do kernel.Mat[float32]) {
	rows, blocks := n.Y.Rows, ceilDiv(n.Y.Rows, blockRows)
	var inverse, part []float32
	if g.W != nil {
		s := d.scratchParts(rows*n.Groups, blocks*n.Y.Cols)
		inverse, part = s[0], s[1]
	}
	c := d.call("gated_norm_grad")
	c.store(g.Y, freshMode(g.Fresh.Y))
	c.store(g.Z, freshMode(g.Fresh.Z))
	for _, m := range []kernel.Mat[float32]{do, n.Y, n.Z} {
		c.read(m)
	}
	c.readVector(n.W)
	c.writeVector(inverse)
	c.uints(n.Y.Cols/n.Groups, n.Groups, int(freshMode(g.Fresh.Y)), int(freshMode(g.Fresh.Z)))
	c.floats(float32(n.Eps))
	c.run(rows, n.Groups, 1)
	if g.W != nil {
		d.gatedNormWeightGrad(n, g.W, part, inverse, do)
	}
}

func (d *Device) gatedNormWeightGrad(n *kernel.GatedNorm[float32], dw, part, inverse []float32, do kernel.Mat[float32]) {
	rows, channels := n.Y.Rows, n.Y.Cols
	blocks := ceilDiv(rows, blockRows)
	c := d.call("gated_norm_weight_grad")
	c.writeVector(part)
	for _, m := range []kernel.Mat[float32]{do, n.Y, n.Z} {
		c.read(m)
	}
	c.readVector(inverse)
	c.uints(rows, channels, channels/n.Groups, n.Groups)
	c.run(ceilDiv(channels, 64), blocks, 1)
	d.addParts(dw, part, blocks)
}
