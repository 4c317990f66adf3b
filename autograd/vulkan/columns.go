package vulkan

import "mambatrain/autograd/kernel"

// Operations of columns.comp.
const (
	columnSums uint32 = iota
	columnSquares
	columnProducts
)

// SumRows implements [kernel.Device].
func (d *Device) SumRows(dst []float32, x kernel.Mat[float32]) {
	d.columns(columnSums, dst, x, kernel.Mat[float32]{}, nil)
}

// AddColumnSquares implements [kernel.Device].
func (d *Device) AddColumnSquares(dst []float32, x kernel.Mat[float32]) {
	d.columns(columnSquares, dst, x, kernel.Mat[float32]{}, nil)
}

// DotColumns implements [kernel.Device].
func (d *Device) DotColumns(dst []float32, x, y kernel.Mat[float32], factor []float32) {
	d.columns(columnProducts, dst, x, y, factor)
}

// columns adds sums over the rows of x to dst.
func (d *Device) columns(operation uint32, dst []float32, x, y kernel.Mat[float32], factor []float32) {
	blocks := ceilDiv(x.Rows, blockRows)
	part := d.scratchFor(blocks * x.Cols)
	if part == nil || blocks == 0 {
		return
	}
	c := d.call("columns", operation)
	c.writeVector(part)
	c.read(x)
	c.read(y)
	c.readVector(factor)
	c.uints(x.Rows, x.Cols)
	c.run(ceilDiv(x.Cols, 64), blocks, 1)
	d.addParts(dst[:x.Cols], part, blocks)
}

// ScaleColumns implements [kernel.Device].
func (d *Device) ScaleColumns(mode kernel.Mode, y, x kernel.Mat[float32], a, b []float32) {
	c := d.call("scale_columns")
	c.store(y, mode)
	c.read(x)
	c.readVector(a, b)
	c.uints(y.Cols, int(mode))
	c.run(ceilDiv(y.Cols, 64), y.Rows, 1)
}

// InverseRowNorms implements [kernel.Device].
func (d *Device) InverseRowNorms(dst []float32, x kernel.Mat[float32]) {
	c := d.call("inverse_row_norms")
	c.writeVector(dst[:x.Rows])
	c.read(x)
	c.uints(x.Cols)
	c.run(x.Rows, 1, 1)
}
