package weights

import (
	"fmt"
	"io"
)

// resized returns the matrix with the given number of rows. Missing rows are the mean of the old ones.
func (x Tensor) resized(rows int) (Tensor, error) {
	if len(x.Shape) != 2 || rows < 1 {
		return Tensor{}, fmt.Errorf("weights: tensor %s: shape %v cannot be resized to %d rows", x.Name, x.Shape, rows)
	}
	if rows <= x.Shape[0] {
		return x.shortened(rows), nil
	}
	width := x.Shape[1]
	sums, at := make([]float64, width), 0
	err := x.Pieces(func(v []float32) {
		for _, f := range v {
			sums[at%width] += float64(f)
			at++
		}
	})
	if err != nil {
		return Tensor{}, err
	}
	mean := make([]float32, width)
	for i, sum := range sums {
		mean[i] = float32(sum / float64(x.Shape[0]))
	}
	y := x
	if x.stored != nil {
		s := *x.stored
		s.mean, s.more = mean, rows-x.Shape[0]
		y.Shape, y.stored = []int{rows, width}, &s
		return y, nil
	}
	y.Shape, y.offset = []int{rows, width}, 0
	y.data = grownData{x.data, x.offset, x.bytes(), encodeFloat32s(mean, x.DType)}
	return y, nil
}

// shortened returns the first rows of the matrix.
func (x Tensor) shortened(rows int) Tensor {
	width := x.Shape[1]
	x.Shape = []int{rows, width}
	if x.stored != nil {
		s := *x.stored
		s.Dims, s.more = []int{width, min(rows, s.Dims[1])}, max(0, rows-s.Dims[1])
		x.stored = &s
	}
	return x
}

// grownData is a tensor's data followed by endless copies of one row.
type grownData struct {
	of     io.ReaderAt
	offset int64
	size   int64
	row    []byte
}

func (g grownData) ReadAt(p []byte, off int64) (n int, err error) {
	if off < g.size {
		old := p[:min(int64(len(p)), g.size-off)]
		if n, err = g.of.ReadAt(old, g.offset+off); n < len(old) {
			return n, err
		}
	}
	for n < len(p) {
		n += copy(p[n:], g.row[(off+int64(n)-g.size)%int64(len(g.row)):])
	}
	return n, nil
}

// Resize gives matrices of the checkpoint the given number of rows. It drops rows at the end or adds some, each of which
// is the mean of the old ones, as when transformers resizes a table, but without the small noise that it adds. The files
// do not change.
func (r *Reader) Resize(rows int, names ...string) error {
	for _, name := range names {
		x, err := r.byName[name].resized(rows)
		if err != nil {
			return err
		}
		r.byName[name] = x
	}
	return nil
}
