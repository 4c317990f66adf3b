package vulkan

import "mambatrain/autograd/kernel"

// RMSNorm implements [kernel.Device].
func (d *Device) RMSNorm(y, x kernel.Mat[float32], w []float32, eps float64) {
	c := d.call("rmsnorm")
	c.write(y)
	c.read(x)
	c.readVector(w)
	c.uints(x.Cols)
	c.floats(float32(eps))
	c.run(x.Rows, 1, 1)
}

// blockRows is the number of rows in each partial sum of a weight's gradient.
const blockRows = 64

// RMSNormGrad implements [kernel.Device].
func (d *Device) RMSNormGrad(mode kernel.Mode, dx kernel.Mat[float32], dw []float32, dy, x kernel.Mat[float32], w []float32, eps float64) {
	rows, m := x.Rows, x.Cols
	blocks := ceilDiv(rows, blockRows)
	var inverse, part []float32
	if dw != nil {
		s := d.scratchParts(rows, blocks*m)
		inverse, part = s[0], s[1]
	}
	if dw != nil && overlaps([]span{d.matrix(dx)}, d.matrix(dy)) {
		// The weight's gradient reads dy, which dx overwrites, so dx comes last.
		d.rmsNormRows(mode, kernel.Mat[float32]{}, inverse, dy, x, w, eps)
		d.rmsNormWeightGrad(dw, part, dy, x, inverse)
		dw, inverse = nil, nil
	}
	if !dx.Absent() || dw != nil {
		d.rmsNormRows(mode, dx, inverse, dy, x, w, eps)
	}
	if dw != nil {
		d.rmsNormWeightGrad(dw, part, dy, x, inverse)
	}
}

// rmsNormRows computes dx, and each row's factor unless inverse is nil.
func (d *Device) rmsNormRows(mode kernel.Mode, dx kernel.Mat[float32], inverse []float32, dy, x kernel.Mat[float32], w []float32, eps float64) {
	c := d.call("rmsnorm_grad")
	c.store(dx, mode)
	c.read(dy)
	c.read(x)
	c.readVector(w)
	c.writeVector(inverse)
	c.uints(x.Cols, int(mode))
	c.floats(float32(eps))
	c.run(x.Rows, 1, 1)
}

func (d *Device) rmsNormWeightGrad(dw, part []float32, dy, x kernel.Mat[float32], inverse []float32) {
	rows, m := x.Rows, x.Cols
	blocks := ceilDiv(rows, blockRows)
	c := d.call("rmsnorm_weight_grad")
	c.writeVector(part)
	c.read(dy)
	c.read(x)
	c.readVector(inverse)
	c.uints(rows, m)
	c.run(ceilDiv(m, 64), blocks, 1)
	d.addParts(dw, part, blocks)
}
