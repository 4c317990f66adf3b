package kernel

// mulRef is the plain loop of mul.
func (f *factor[T]) mulRef(mode Mode, c, b Mat[T], shape triangle) {
	for i := range f.m {
		k0, k1 := f.steps(shape, i, i+1)
		row := c.Row(i)
		if shape == lowerOut {
			row = row[:i+1]
		}
		if mode == Set {
			clear(row)
		}
		for l := k0; l < k1; l++ {
			a, bl := f.at(i, l), b.Row(l)
			for j := range row {
				row[j] += a * bl[j]
			}
		}
	}
}

// at returns element (i, l).
func (f *factor[T]) at(i, l int) T {
	if f.transposed {
		return f.mat.Data[l*f.mat.Stride+i]
	}
	return f.mat.Data[i*f.mat.Stride+l]
}
