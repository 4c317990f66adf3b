package optim

import (
	"math"

	"mambatrain/autograd/kernel"
)

// adafactor stores the mean squared gradient of a matrix per row and per column. Shazeer & Stern 2018, with a given
// learning rate and clipped updates, as the Hugging Face Trainer runs it (no relative step, no parameter scaling, no
// momentum).
type adafactor struct{}

const (
	adafactorEps   = 1e-30 // added to the squared gradient
	adafactorClip  = 1     // maximum root mean square of an update
	adafactorPower = -0.8  // the running averages decay by 1 − step^-0.8
)

func newAdafactor(Config) rule { return adafactor{} }

func (adafactor) memory(shape []int) []memory {
	n := len(shape)
	if n < 2 {
		return []memory{{name: "exp_avg_sq", shape: shape}}
	}
	col := append(append([]int{}, shape[:n-2]...), shape[n-1])
	return []memory{{name: "exp_avg_sq_row", shape: shape[:n-1]}, {name: "exp_avg_sq_col", shape: col}}
}

func (adafactor) update(c *cell, w, g []float32, h stepParams) {
	if h.scale != 1 {
		kernel.Scale(g, h.scale)
	}
	keep := float32(1 - math.Pow(float64(h.step), adafactorPower))
	if len(c.memory) == 1 {
		scaleByVector(g, c.memory[0].data, keep)
	} else {
		shape := c.Param.Shape()
		rows, cols := shape[len(shape)-2], shape[len(shape)-1]
		for i := 0; i*rows*cols < len(g); i++ { // one matrix per index of the leading axes
			scaleByFactors(g[i*rows*cols:][:rows*cols], c.memory[0].data[i*rows:][:rows], c.memory[1].data[i*cols:][:cols], keep)
		}
	}
	rms := math.Sqrt(kernel.SumSquares(g) / float64(len(g)))
	rate := float32(h.rate / max(1, rms/adafactorClip))
	decay := float32(h.rate * h.decay)
	for i, u := range g {
		w[i] -= decay*w[i] + rate*u
	}
}

// scaleByVector divides g by the square root of its running mean square.
func scaleByVector(g, sq []float32, keep float32) {
	for i, x := range g {
		sq[i] = keep*sq[i] + (1-keep)*(x*x+adafactorEps)
		g[i] = x / float32(math.Sqrt(float64(sq[i])))
	}
}

// scaleByFactors divides the matrix g by the square root of row·colᵀ / mean(row), the rank-one approximation of its
// running mean square.
func scaleByFactors(g, row, col []float32, keep float32) {
	n := len(col)
	colSum, rowMean := make([]float64, n), 0.0
	for i := range row {
		sum := 0.0
		for j, x := range g[i*n:][:n] {
			q := float64(x*x + adafactorEps)
			sum += q
			colSum[j] += q
		}
		row[i] = keep*row[i] + (1-keep)*float32(sum/float64(n))
		rowMean += float64(row[i]) / float64(len(row))
	}
	for j := range col {
		col[j] = keep*col[j] + (1-keep)*float32(colSum[j]/float64(len(row)))
		colSum[j] = 1 / math.Sqrt(float64(col[j]))
	}
	for i := range row {
		r := math.Sqrt(rowMean / float64(row[i]))
		for j := range col {
			g[i*n+j] *= float32(r * colSum[j])
		}
	}
}
