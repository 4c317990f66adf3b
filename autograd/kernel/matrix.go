package kernel

import "fmt"

// Mat is a row-major view: element (i, j) is Data[i*Stride+j]. Stride ≥ Cols, so a Mat can be a range of columns of a
// wider one. The zero Mat means "absent".
type Mat[T Float] struct {
	Data               []T
	Rows, Cols, Stride int
}

// Dense returns data as a rows × cols view without gaps.
func Dense[T Float](data []T, rows, cols int) Mat[T] {
	return Mat[T]{data, rows, cols, cols}
}

// Row returns row i, Cols elements long.
func (m Mat[T]) Row(i int) []T {
	o := i * m.Stride
	return m.Data[o : o+m.Cols : o+m.Cols]
}

// Slice returns rows [r0, r1) and columns [c0, c1) of m, sharing its data.
func (m Mat[T]) Slice(r0, r1, c0, c1 int) Mat[T] {
	if r0 == r1 || c0 == c1 {
		return Dense[T](nil, r1-r0, c1-c0)
	}
	return Mat[T]{m.Data[r0*m.Stride+c0 : (r1-1)*m.Stride+c1], r1 - r0, c1 - c0, m.Stride}
}

// Absent reports whether m is the zero Mat, which means that an operand is missing or a result is not needed.
func (m Mat[T]) Absent() bool { return m.Data == nil && m.Rows == 0 && m.Cols == 0 }

// check panics unless m is rows × cols and its data is long enough. Shapes are checked when a graph is recorded, so a
// mismatch here is a bug in the caller.
func (m Mat[T]) check(name string, rows, cols int) {
	if m.Rows != rows || m.Cols != cols {
		panic(fmt.Sprintf("kernel: %s is (%d, %d), want (%d, %d)", name, m.Rows, m.Cols, rows, cols))
	}
	if rows > 0 && cols > 0 && (m.Stride < cols || len(m.Data) < (rows-1)*m.Stride+cols) {
		panic(fmt.Sprintf("kernel: %s is (%d, %d) with stride %d in %d elements", name, rows, cols, m.Stride, len(m.Data)))
	}
}

// Mode specifies what happens to the destination.
type Mode uint8

const (
	Set Mode = iota // overwrite the destination
	Add             // add to the destination
)
