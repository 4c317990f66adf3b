package vulkan

import "mambatrain/autograd/kernel"

// Operations of elementwise.comp.
const (
	operationCopy uint32 = iota
	operationAdd
	operationAddRow
)

// Copy implements [kernel.Device].
func (d *Device) Copy(y, x kernel.Mat[float32]) { d.elementwise(operationCopy, y, x) }

// Add implements [kernel.Device].
func (d *Device) Add(y, x kernel.Mat[float32]) { d.elementwise(operationAdd, y, x) }

// AddRow implements [kernel.Device].
func (d *Device) AddRow(y kernel.Mat[float32], b []float32) {
	d.elementwise(operationAddRow, y, kernel.Dense(b, 1, len(b)))
}

func (d *Device) elementwise(operation uint32, y, x kernel.Mat[float32]) {
	c := d.call("elementwise", operation)
	if operation == operationCopy {
		c.write(y)
	} else {
		c.update(y)
	}
	c.read(x)
	c.uints(y.Cols)
	c.run(ceilDiv(y.Cols, 64), y.Rows, 1)
}

// Operations of vector.comp.
const (
	operationScale uint32 = iota
	operationInverseRoot
)

// Scale implements [kernel.Device].
func (d *Device) Scale(x []float32, k float32) { d.vectorwise(operationScale, x, k) }

// InverseRoots implements [kernel.Device].
func (d *Device) InverseRoots(x []float32) { d.vectorwise(operationInverseRoot, x, 0) }

func (d *Device) vectorwise(operation uint32, x []float32, k float32) {
	c := d.call("vector", operation)
	c.updateVector(x)
	c.uints(len(x))
	c.floats(k)
	c.run(ceilDiv(len(x), 256), 1, 1)
}
