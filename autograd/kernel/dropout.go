package kernel

// Dropout determines which elements of an array are dropped. The choice depends only on the seed and an element's
// position.
type Dropout struct {
	Seed  uint64
	Share float64 // of the elements, below 1
	// First is added to a row's number, which is taken from Rows, or is its index in the matrix if Rows is nil.
	First int
	Rows  []int
}

// Drop writes x to y with a share of its elements set to zero and the others divided by 1−Share. y may be x. Element i
// of row r is dropped if the upper half of splitmix.Derive(Seed, r·cols + i) is below Share·2³².
func Drop[T Float](y, x Mat[T], d Dropout) {
	y.check("drop y", x.Rows, x.Cols)
	if dev := on(y); dev != nil {
		dev.Drop(f32Mat(y), f32Mat(x), d)
		return
	}
	For(x.Rows, 1, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			dropRef(y.Row(t), x.Row(t), d, d.row(t))
		}
	})
}

// row returns the number of row t of the matrix.
func (d Dropout) row(t int) int {
	if d.Rows != nil {
		t = d.Rows[t]
	}
	return d.First + t
}
