package autograd

// Work counts the floating-point operations of matrix products: 2·m·n·k for each product that is needed. Look-ups,
// scans, convolutions, norms, and other elementwise operations are not counted.
type Work struct{ Forward, Backward float64 }

// Total returns the work of a step.
func (w Work) Total() float64 { return w.Forward + w.Backward }

// Worker is implemented by an Op that multiplies matrices.
type Worker interface {
	// Work counts a call with the given input shapes. In Backward it counts only the gradients of inputs for which need
	// is set.
	Work(in [][]int, need []bool) Work
}

// Work counts one run of everything recorded, at full capacity. labels is the number of rows that predict a label.
func (g *Graph) Work(labels int) (sum Work) {
	for _, r := range g.records {
		shapes := make([][]int, len(r.in))
		for i, v := range r.in {
			if shapes[i] = r.shapes[i]; v != nil && v == g.inputs[labelsInput] {
				shapes[i] = []int{labels}
			}
		}
		w := r.exec.work(shapes, r.needs())
		sum.Forward += w.Forward
		sum.Backward += w.Backward
	}
	return sum
}

// addIf adds a product to Backward if it is needed.
func (w *Work) addIf(needed bool, product float64) {
	if needed {
		w.Backward += product
	}
}

// projectionWork counts the product of a (rows, in) matrix with w (out, in), and the branch through a (r, in) and b
// (out, r), which are nil without a branch. need is for x, w, a, and b.
func projectionWork(rows int, w, a, b []int, need [4]bool) Work {
	product := func(m []int) float64 { return 2 * float64(rows) * float64(m[0]) * float64(m[1]) }
	dx, dw, da, db := need[0], need[1], need[2], need[3]
	sum := Work{Forward: product(w)}
	sum.addIf(dx, product(w))
	sum.addIf(dw, product(w))
	if a == nil {
		return sum
	}
	down, up := product(a), product(b)
	sum.Forward += down + up
	sum.addIf(dx || da || db, up) // the gradient of x·Aᵀ
	sum.addIf(dx, down)
	sum.addIf(da, down)
	sum.addIf(db, up)
	return sum
}
