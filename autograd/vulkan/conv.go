package vulkan

import "mambatrain/autograd/kernel"

// maxTaps is the maximum number of taps of a convolution.
const maxTaps = 16

// convBlock is the number of rows per thread in conv_grad.comp.
const convBlock = 32

// convScratch returns the size of the partial gradients of the weights and the bias.
func convScratch(rows, channels, taps int) int {
	return ceilDiv(rows, convBlock) * channels * (taps + 1)
}

// Conv implements [kernel.Device].
func (d *Device) Conv(conv kernel.Conv[float32], y, x kernel.Mat[float32], first []int, carry []float32) {
	c := d.convCall("conv", conv)
	c.write(y)
	c.readConv(conv, x, carry)
	c.address(d.firstRows(first, x.Rows))
	c.uints(x.Cols)
	c.run(ceilDiv(x.Cols, 64), x.Rows, 1)
}

func (d *Device) convCall(shader string, conv kernel.Conv[float32]) *call {
	return d.call(shader, uint32(conv.K), uint32(conv.Act))
}

// readConv adds the inputs of a convolution.
func (c *call) readConv(conv kernel.Conv[float32], x kernel.Mat[float32], carry []float32) {
	c.read(x)
	c.readVector(conv.W, conv.Bias, carry)
}

// ConvTail implements [kernel.Device].
func (d *Device) ConvTail(conv kernel.Conv[float32], carryOut []float32, x kernel.Mat[float32], first []int, carry []float32) {
	start := 1 - conv.K // no rows: the state does not change
	switch {
	case x.Rows > 0 && first == nil:
		start = 0
	case x.Rows > 0:
		start = first[x.Rows-1]
	}
	c := d.call("conv_tail", uint32(conv.K))
	c.writeVector(carryOut)
	c.read(x)
	c.readVector(carry)
	c.uints(x.Rows, x.Cols, start)
	c.run(ceilDiv(x.Cols, 64), 1, 1)
}

// ConvGrad implements [kernel.Device].
func (d *Device) ConvGrad(conv kernel.Conv[float32], g kernel.ConvGrad[float32], dy, x kernel.Mat[float32], first []int, carry, dTail []float32) {
	if x.Rows == 0 {
		return
	}
	if g.Carry != nil || dTail != nil {
		d.convCarryGrad(conv, g, dy, x, first, carry, dTail)
	}
	channels, blocks := x.Cols, ceilDiv(x.Rows, convBlock)
	var part []float32
	if g.W != nil || g.Bias != nil {
		part = d.scratchFor(convScratch(x.Rows, channels, conv.K))
	}
	c := d.convCall("conv_grad", conv)
	c.update(g.X)
	c.read(dy)
	c.readConv(conv, x, carry)
	c.writeVector(part)
	c.address(d.firstRows(first, x.Rows))
	c.uints(x.Rows, channels)
	c.run(ceilDiv(channels, 64), blocks, 1)
	if g.W != nil {
		d.partSum(kernel.Dense(g.W, channels, conv.K), kernel.Add).add(part, blocks, conv.K+1, 0)
	}
	if g.Bias != nil {
		d.partSum(kernel.Dense(g.Bias, channels, 1), kernel.Add).add(part, blocks, conv.K+1, conv.K)
	}
}

// convCarryGrad adds the gradients that are passed between batches.
func (d *Device) convCarryGrad(conv kernel.Conv[float32], g kernel.ConvGrad[float32], dy, x kernel.Mat[float32], first []int, carry, dTail []float32) {
	c := d.convCall("conv_carry_grad", conv)
	c.update(g.X)
	c.read(dy)
	c.readConv(conv, x, carry)
	c.updateVector(g.Carry)
	c.readVector(dTail)
	c.address(d.firstRows(first, x.Rows))
	c.uints(x.Rows, x.Cols)
	c.run(ceilDiv(x.Cols, 64), 1, 1)
}
